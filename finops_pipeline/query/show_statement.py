"""Statements as text: tables for people, JSON and CSV for programs, a page to print.

Tables and the page round to two digits; JSON and CSV carry every digit. What a statement is made
of is elsewhere (`statement.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from finops_pipeline.query.drivers import DRIVERS
from finops_pipeline.query.show import plain, rounded, signed
from finops_pipeline.query.show_parts import text_table
from finops_pipeline.query.statement import PARTS, Amount, Statement, Statements
from finops_pipeline.query.statement_page import as_page

Format = Literal["table", "json", "csv", "html"]


def show_statements(found: Statements, form: Format = "table") -> str:
    """The statements in one of the formats, ending with a line break."""
    writers: dict[Format, Callable[[Statements], str]] = {
        "table": _as_table, "json": _as_json, "csv": _as_csv, "html": as_page
    }  # fmt: skip
    return writers[form](found)


def statement_warnings(found: Statements) -> list[str]:
    """What the figures do not hold, one line a currency; empty when they hold everything."""
    return [
        f"Not in these statements: {rows:,} rows of {rounded(cost)} {currency} in {found.previous} "
        f"and {found.month}, no exchange rate known."
        for currency, (rows, cost) in found.without_rate.items()
    ]


def _as_json(found: Statements) -> str:
    content = {
        "month": found.month,
        "previous_month": found.previous,
        "currency": found.currency,
        "statements": [
            {
                "owner": s.owner,
                **_amounts(s.total),
                "parts": {name: _amounts(a) for name, a in s.parts.items()},
                "drivers": {name: plain(effect) for name, effect in s.drivers.items()},
                "services": [{"service": name, **_amounts(a)} for name, a in s.services],
            }
            for s in found.statements
        ],
        "without_rate": [
            {"currency": currency, "rows": rows, "cost": plain(cost)}
            for currency, (rows, cost) in found.without_rate.items()
        ],
        "note": found.note,
        "problems": statement_warnings(found),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _amounts(amount: Amount) -> dict[str, str]:
    return {
        "before": plain(amount.before), "now": plain(amount.now), "change": plain(amount.change)
    }  # fmt: skip


def _as_csv(found: Statements) -> str:
    """A row for each owner."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = tuple(PARTS.values())
    writer.writerow(
        ["owner", "month", "currency", *parts, "total", "total_before", "change", *DRIVERS]
    )
    for s in found.statements:
        amounts = [s.parts.get(name, Amount()).now for name in parts]
        amounts += [s.total.now, s.total.before, s.total.change, *_in_order(s.drivers)]
        writer.writerow([s.owner, found.month, found.currency, *map(plain, amounts)])
    return out.getvalue()


def _in_order(drivers: Mapping[str, Decimal]) -> list[Decimal]:
    return [drivers[name] for name in DRIVERS]


def _as_table(found: Statements) -> str:
    told = [_statement(found, s) for s in found.statements]
    told += statement_warnings(found)
    if found.note:
        told.append(found.note)
    return "\n\n".join(told) + "\n"


def _statement(found: Statements, statement: Statement) -> str:
    head = (f"{statement.owner}, {found.currency}", found.previous, found.month, "change")
    rows: list[Any] = [_row(name, amount) for name, amount in statement.parts.items()]
    rows.append(_row("total", statement.total))
    because = [
        (f"  {name.replace('_', ' ')}", "", "", signed(effect))
        for name, effect in statement.drivers.items()
        if effect
    ]
    if because:
        rows += [("because of", "", "", ""), *because]
    return text_table(head, rows, (1, 2, 3))


def _row(name: str, amount: Amount) -> tuple[str, str, str, str]:
    return name, rounded(amount.before), rounded(amount.now), signed(amount.change)
