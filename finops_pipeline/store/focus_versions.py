"""The versions of FOCUS that are exported: which columns, in which order, and what they hold.

1.2 is what the lake holds. 1.4 has other names for who provides, and columns that only some data
has: those of a charge that was split, and those that a provider of 1.3 or later delivers, which
the lake keeps in `x_OtherColumns` (FOCUS 1.4, "Columns").
"""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_type
from finops_pipeline.contracts.tables import Column, focus_columns, read_facts
from finops_pipeline.engine.functions import json_member

VERSIONS = ("1.2", "1.4")


@cache
def version_columns(version: str) -> tuple[Column, ...]:
    """The columns of a version of FOCUS, in its order."""
    if version == "1.2":
        return focus_columns()
    return tuple(Column(f["column"], f["type"], True, f["description"]) for f in _facts())  # type: ignore[arg-type]


def version_values(version: str, rows: ir.Table) -> dict[str, ir.Value]:
    """What each column of a version holds for `focus_costs` or `allocated_costs`.

    The costs by owner are a day's: their charge period is the day, and what the daily grain does
    not keep is null.
    """
    if version == "1.2":
        return {c.name: rows[c.name] for c in focus_columns()}
    typed = zip(_facts(), version_columns(version), strict=True)
    return {column.name: _value(rows, fact, column) for fact, column in typed}


def _value(rows: ir.Table, fact: dict[str, str], column: Column) -> ir.Value:
    name, none = fact["from"], ibis.null(ibis_type(column))
    if fact["kind"] == "column" and name.startswith("ChargePeriod") and name not in rows.columns:
        after = ibis.interval(days=int(name == "ChargePeriodEnd"))
        return (rows.x_ChargeDay + after).cast(ibis_type(column))
    if fact["kind"] == "column" or (fact["kind"] == "allocated" and name in rows.columns):
        return rows[name] if name in rows.columns else none
    if "x_OtherColumns" not in rows.columns:
        return rows[name] if fact["kind"] == "host" else none
    delivered = json_member(rows.x_OtherColumns, fact["column"])
    return delivered.coalesce(rows[name]) if fact["kind"] == "host" else delivered


@cache
def _facts() -> tuple[dict[str, str], ...]:
    return tuple(read_facts("contracts/data/focus_1_4_columns.csv"))
