"""How the commands on rules show what they found: for people, or as JSON with every digit."""

from __future__ import annotations

import json
from collections.abc import Sequence

from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.query.rules_diff import RulesDiff
from finops_pipeline.query.show import plain
from finops_pipeline.query.show_parts import plain_json, text_table
from finops_pipeline.store.audit import RuleChange


def show_rules_diff(diff: RulesDiff, form: str = "table") -> str:
    """The difference of two rule sets as text."""
    if form == "json":
        return _json(
            {
                "old": diff.old,
                "new": diff.new,
                "days": diff.days,
                "owners": [
                    {"currency": c, "owner": o, "before": b, "after": a, "change": change}
                    for (c, o), (b, a) in diff.totals.items()
                    for change in [EXACT.subtract(a, b)]
                ],
                "moves": [
                    {
                        "currency": m.currency, "from": m.source_owner, "to": m.target_owner,
                        "cost": m.cost, "by_old_rules": m.before, "by_new_rules": m.after,
                    }
                    for m in diff.moves
                ],
            }
        )  # fmt: skip
    days = sum(len(d) for d in diff.days.values())
    if not days:
        return f"{diff.old} → {diff.new}: no stored charge day would be made otherwise\n"
    owners = [
        (c, o, plain(b), plain(a), plain(EXACT.subtract(a, b)))
        for (c, o), (b, a) in diff.totals.items()
        if a != b
    ]
    moves = [
        (m.currency, m.source_owner, m.target_owner, plain(m.cost), f"{m.before} → {m.after}")
        for m in diff.moves
    ]
    spans = [
        f"{source}: {len(d)} charge days, {d[0]} to {d[-1]}" for source, d in diff.days.items() if d
    ]
    parts = [f"{diff.old} → {diff.new}", *spans]
    if owners:
        parts.append("EffectiveCost by owner")
        parts.append(text_table(("", "owner", "before", "after", "change"), owners, (2, 3, 4)))
    else:
        parts.append("The EffectiveCost of every owner stays as it is")
    if moves:
        parts.append("Moves")
        parts.append(text_table(("", "from", "to", "cost", "charges of"), moves, (3,)))
    return "\n".join(parts) + "\n"


def show_rule_changes(changes: Sequence[RuleChange], form: str = "table") -> str:
    """The audit log as text, the newest entry first."""
    if form == "json":
        return _json([{"changed_at": c.changed_at, **c.values} for c in changes])
    rows = [
        (
            f"{c.changed_at:%Y-%m-%d %H:%M:%S}",
            str(c.values["who"]),
            str(c.values["source"]),
            str(c.values["previous"] or "")[:12],
            str(c.values["rule_set"])[:12],
            f"{c.values['first_day']} to {c.values['last_day']} ({c.values['days']})",
            f"{c.values['owner']} {c.values['currency']}",
            *(
                "" if c.values[n] is None else plain(c.values[n])
                for n in ("cost_before", "cost_after")
            ),
        )
        for c in changes
    ]
    head = ("when (UTC)", "who", "source", "from", "to", "days", "owner", "before", "after")
    return text_table(head, rows, (7, 8)) + "\n"


def _json(value: object) -> str:
    return json.dumps(plain_json(value), indent=2, ensure_ascii=False) + "\n"
