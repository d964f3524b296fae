"""Tag compliance and drift as text: tables for people, JSON with every digit."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

from finops_pipeline.query.dimensions import NONE
from finops_pipeline.query.show import one_line, plain, rounded
from finops_pipeline.query.show_parts import text_table
from finops_pipeline.query.tagging import Drift, Spell, State, Tagged, Tagging

_STATES: tuple[State, ...] = get_args(State)


def show_tagging(found: Tagging, form: str = "table") -> str:
    """Compliance and drift in one of the formats, ending with a line break."""
    return _as_json(found) if form == "json" else _as_table(found)


def tagging_warnings(found: Tagging) -> list[str]:
    """What the figures do not hold, one line a currency; empty when they hold everything."""
    return [
        f"Not in these figures: {rows:,} rows of {rounded(cost)} {currency}, no exchange rate "
        "known."
        for currency, (rows, cost) in found.without_rate.items()
    ]


def percent(share: Fraction | None) -> str:
    """A share in percent, one digit, half up (away from zero); empty where there is none."""
    if share is None:
        return ""
    tenths = (abs(share) * 1000 + Fraction(1, 2)).__floor__()
    return f"{'-' if share < 0 and tenths else ''}{tenths // 10}.{tenths % 10}"


def _as_json(found: Tagging) -> str:
    content = {
        "currency": found.currency,
        "tags": [
            {
                "key": one.key,
                "owner": one.owner,
                "account": one.account,
                "cost": {state: plain(one.costs[state]) for state in _STATES},
                "percent": {state: percent(one.share(state)) or None for state in _STATES},
            }
            for one in found.tagged
        ],
        "drifted": dict(found.drifted),
        "drift": [_drift(d) for d in found.drifts],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _drift(drift: Drift) -> dict[str, Any]:
    return {
        "source": drift.source,
        "account": drift.account,
        "resource": drift.resource,
        "key": drift.key,
        "values": [
            {
                "value": s.value,
                "first_day": s.first.isoformat(),
                "last_day": s.last.isoformat(),
                "cost": plain(s.cost),
            }
            for s in drift.spells
        ],
    }


def _as_table(found: Tagging) -> str:
    if not found.drifted:
        return "The rules look at no tag: write `tags` into rules.yaml (see docs/allocation.md).\n"
    head = ("tag", "owner", "account", f"cost {found.currency or ''}", "valid %", "invalid %",
            "none %")  # fmt: skip
    parts = [text_table(head, [_line(one) for one in found.tagged], (3, 4, 5, 6))]
    for key, number in found.drifted.items():
        if number:
            rows = [_told(d) for d in found.drifts if d.key == key]
            more = f", the {len(rows)} costliest" if len(rows) < number else ""
            parts.append(
                f"Drift of {one_line(key)}: {number:,} resources{more}\n"
                + text_table(("resource", "values"), rows, ())
            )
    return "\n\n".join([*parts, *tagging_warnings(found)]) + "\n"


def _line(one: Tagged) -> tuple[str, ...]:
    shares = (percent(one.share(state)) for state in _STATES)
    return (one.key, one.owner, one.account or NONE, rounded(Decimal(one.total)), *shares)


def _told(drift: Drift) -> tuple[str, str]:
    return drift.resource, " → ".join(_spell(s) for s in drift.spells)


def _spell(spell: Spell) -> str:
    days = f"{spell.first}" if spell.first == spell.last else f"{spell.first} to {spell.last}"
    return f"{NONE if spell.value is None else spell.value} ({days}, {rounded(spell.cost)})"
