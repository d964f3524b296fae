"""A `CostQuery` as an Ibis expression, and which files of a table can hold what it asks for.

User values enter as Ibis literals only; nothing here writes SQL. Which table is read is decided in
`sources.py`; running the expression and reading its result is elsewhere (`answer.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, ibis_schema
from finops_pipeline.contracts.tables import Table, tables
from finops_pipeline.engine.functions import json_member
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.query.dimensions import NONE, TABLE, Dimension, dimension
from finops_pipeline.query.model import QUANTITY, REPORTING, CostQuery

# Kinds of result row. Both come from one aggregate, so the files are read once.
GROUP, TOTAL = 0, 1

_ZERO = ibis.literal(Decimal(0)).cast(MONEY)


def bound(table: str) -> str:
    """The name that the engine binds the files of a table to."""
    return f"asked {table}"


def question(query: CostQuery, read: Sequence[str] = (TABLE,), most: int | None = None) -> ir.Table:
    """The rows that answer the question: its groups, and totals by what must not be mixed.

    `read` names the tables that are read, each for other months: the costs, or roll-ups of them.
    Columns: `kind`; `d0`, `d1`, … the dimensions (by position, because the engine takes tag keys
    that differ in case for one name); `billing`, `reporting`, `unit`, set in totals; `cost`; and
    of the rows without `cost`, their number and sum in the billing currency. Of more groups than
    `most` there is one more, so that it shows.
    """
    names = [f"d{i}" for i in range(len(query.by))]
    parts = [_asked(query, name, names) for name in read]
    rows = ibis.union(*parts) if len(parts) > 1 else parts[0]
    fine = _summed(rows, [*names, "billing", "reporting", "unit"])
    totals = _shaped(_summed(fine, ["billing", "reporting", "unit"]), TOTAL, names)
    if not names:
        return totals
    groups = _shaped(_summed(fine, names), GROUP, names)
    if query.top is not None:
        # The names break ties, so that the same groups are on top each time. One more than asked
        # tells whether anything is left to sum as other.
        order = [ibis.desc("cost"), *(ibis.asc(n, nulls_first=False) for n in names)]
        groups = groups.order_by(order).limit(min(query.top, most or query.top) + 1)
    elif most is not None:
        groups = groups.limit(most + 1)
    return ibis.union(groups, totals)


def _asked(query: CostQuery, table: str, names: list[str]) -> ir.Table:
    """What of a table is asked for: dimensions, what must not be mixed, and what is summed."""
    charges = ibis.table(ibis_schema(tables()[table]), name=bound(table))
    if conditions := conditions_of(charges, query):
        charges = charges.filter(conditions)
    lacking = charges[query.column].isnull()
    # A row of a roll-up stands for several, which all have the metric or all lack it.
    rows = charges.x_Rows if "x_Rows" in charges.columns else ibis.literal(1, "int64")
    return charges.select(
        **{n: value_of(charges, dimension(b)) for n, b in zip(names, query.by, strict=True)},
        billing=charges.BillingCurrency,
        reporting=charges.x_ReportingCurrency,
        unit=charges.ConsumedUnit if query.metric == QUANTITY else ibis.null(str),
        cost=charges[query.column],
        rows_without=lacking.ifelse(rows, ibis.literal(0, "int64")),
        cost_without=lacking.ifelse(charges[query.metric], _ZERO),
    )


_SUMS = ("cost", "rows_without", "cost_without")


def _summed(rows: ir.Table, by: list[str]) -> ir.Table:
    return rows.group_by(by).agg(
        **{name: rows[name].sum() for name in ("rows_without", "cost_without")},
        cost=rows.cost.sum().fill_null(_ZERO),
    )


def _shaped(rows: ir.Table, kind: int, names: list[str]) -> ir.Table:
    texts = [*names, "billing", "reporting", "unit"]
    return rows.select(
        kind=ibis.literal(kind, "int8"),
        **{n: rows[n] if n in rows.columns else ibis.null(str) for n in texts},
        **{n: rows[n] for n in _SUMS},
    )


def value_of(charges: ir.Table, dim: Dimension) -> ir.StringValue:
    column: Any = charges[dim.column]
    value: ir.StringValue
    if dim.form == "tag":
        value = json_member(column, dim.key)
    elif dim.form == "month":
        value = column.cast(str).left(7)
    elif dim.form == "day":
        value = column.cast(str)
    else:
        value = column
    return value


def conditions_of(charges: ir.Table, query: CostQuery) -> list[ir.BooleanValue]:
    found = [_has(charges, name, values) for name, values in query.filters.items()]
    found += [~_has(charges, name, values) for name, values in query.exclude.items()]
    if query.since is not None:
        found.append(charges.x_ChargeDay >= ibis.literal(query.since))
    if query.until is not None:
        found.append(charges.x_ChargeDay <= ibis.literal(query.until))
    if query.currency != REPORTING:
        found.append(charges.BillingCurrency == ibis.literal(query.currency))
    if query.metric == QUANTITY:
        # What is not metered (a tax, a credit) has no quantity, and no line of its own either.
        found.append(charges.ConsumedQuantity.notnull())
    return found


def _has(charges: ir.Table, name: str, values: tuple[str, ...]) -> ir.BooleanValue:
    """Whether a charge has one of the values; never null, so that its opposite keeps nulls."""
    value = value_of(charges, dimension(name))
    real = [v for v in values if v != NONE]
    has: ir.BooleanValue = value.isin(real).fill_null(False) if real else ibis.literal(False)
    return has | value.isnull() if NONE in values else has


def that_count(table: Table, files: Iterable[LakeFile], query: CostQuery) -> list[LakeFile]:
    """Those files of the table that can hold a charge that counts.

    The partitions decide; the expression decides again for each row.
    """
    positions = {name: i for i, name in enumerate(table.partition_by)}
    day_at = positions["x_ChargeDay"]
    only = [(positions[d.column], d, set(v)) for d, v in _of_partitions(query.filters, positions)]
    without = [
        (positions[d.column], d, set(v)) for d, v in _of_partitions(query.exclude, positions)
    ]
    since = query.since.isoformat() if query.since else ""
    until = query.until.isoformat() if query.until else "9999"
    return [
        file
        for file in files
        if since <= file.partition[day_at] <= until
        and all(d.seen_in(file.partition[at]) in values for at, d, values in only)
        and not any(d.seen_in(file.partition[at]) in values for at, d, values in without)
    ]


def _of_partitions(
    chosen: dict[str, tuple[str, ...]], positions: dict[str, int]
) -> Iterable[tuple[Dimension, tuple[str, ...]]]:
    for name, values in chosen.items():
        dim = dimension(name)
        if dim.column in positions:
            yield dim, values
