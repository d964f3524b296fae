"""What nobody owns as text: tables for people, JSON with every digit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

from finops_pipeline.query.answer import Answer
from finops_pipeline.query.dimensions import NONE
from finops_pipeline.query.show import one_line, plain, rounded, warnings
from finops_pipeline.query.show_parts import text_table
from finops_pipeline.query.unallocated import SOMEONE, Suggestion, Unallocated


def show_unallocated(found: Unallocated, form: str = "table") -> str:
    """The rankings and the suggestions in one of the formats, ending with a line break."""
    return _as_json(found) if form == "json" else _as_table(found)


def _as_json(found: Unallocated) -> str:
    content = {
        "currency": found.total.currency,
        "total": plain(_total(found)),
        "by": {
            name: [{"value": value, "cost": plain(cost)} for value, cost in _ranked(answer)]
            for name, answer in found.rankings.items()
        },
        "suggestions": [
            {
                "kind": s.kind,
                "text": s.text,
                "owner": None if s.owner == SOMEONE else s.owner,
                "effect": [
                    {"currency": c, "moved": plain(moved), "left": plain(s.left[c])}
                    for c, moved in s.moved.items()
                ],
            }
            for s in found.suggestions
        ],
        "problems": warnings(found.total),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _as_table(found: Unallocated) -> str:
    currency = found.total.currency or ""
    parts = [f"Unallocated: {rounded(_total(found))} {currency}".rstrip()]
    for name, answer in found.rankings.items():
        if answer.rows:
            rows = [
                (NONE if value is None else value, rounded(cost)) for value, cost in _ranked(answer)
            ]
            parts.append(text_table((name, f"EffectiveCost {currency}"), rows, (1,)))
    parts += [_told(i, s) for i, s in enumerate(found.suggestions, 1)]
    return "\n\n".join(parts) + "\n"


def _ranked(answer: Answer) -> Iterator[tuple[str | None, Decimal]]:
    for value, cost in answer.rows:
        yield None if value is None else str(value), Decimal(cost or 0)


def _total(found: Unallocated) -> Decimal:
    return found.total.total or Decimal(0)


def _told(number: int, s: Suggestion) -> str:
    effect = "; ".join(
        f"moves {rounded(moved)} {c}, leaves {rounded(s.left[c])}" for c, moved in s.moved.items()
    )
    return f"Suggestion {number}: {one_line(s.text)}\n  {effect}"
