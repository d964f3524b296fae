"""The books of charge days: delivered = stored + superseded + rejected (promise 1).

Each side is counted on its own: delivered by the ledger from the reports' text, stored from the
files that stand, superseded and rejected from their own rows.
"""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.contracts.forms import MONEY, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.sql import Sql

LEDGER = pa.schema(
    [
        ("source", pa.string()),
        ("charge_day", pa.date32()),
        ("kind", pa.string()),
        ("currency", pa.string()),
        ("rows", pa.int64()),
        ("cost", pa.decimal128(38, 18)),
    ]
)

_KINDS = ("delivered", "stored", "superseded", "rejected")


@cache
def books_sql() -> Sql:
    """The table `conservation` of the days in `ledger`, `standing`, `superseded`, `rejected`."""
    standing = ibis.table(ibis_schema(tables()["focus_costs"]), name="standing")
    rejected = ibis.table(ibis_schema(tables()["rejected_rows"]), name="rejected")
    superseded = ibis.table(ibis_schema(tables()["superseded_rows"]), name="superseded")
    ledger = ibis.table(ibis.Schema.from_pyarrow(LEDGER), name="ledger")
    none = ibis.literal(0, "int64")
    lines = ibis.union(
        ledger.select(*LEDGER.names, correction=none, unrated=none),
        _lines(rejected, "rejected", "source", "charge_day", "currency", "cost", none, none),
        _lines(superseded, "superseded", "source", "charge_day", "currency", "cost", none, none),
        _lines(
            standing,
            "stored",
            "x_Source",
            "x_ChargeDay",
            "BillingCurrency",
            "BilledCost",
            standing.x_IsCorrection.cast("int64"),
            standing.x_ExchangeRate.isnull().cast("int64"),
        ),
    )
    counted = lines.group_by("source", "charge_day", "currency").aggregate(
        **{f"{kind}_rows": _sum(lines.rows, lines.kind == kind) for kind in _KINDS},
        **{
            f"{kind}_cost": lines.cost.sum(where=lines.kind == kind).fill_null(0) for kind in _KINDS
        },
        corrections=_sum(lines.correction),
        charges_without_rate=_sum(lines.unrated),
    )
    unmatched = _unmatched(standing, superseded)
    books = counted.left_join(
        unmatched,
        [
            counted.charge_day == unmatched.unmatched_day,
            counted.currency == unmatched.unmatched_currency,
        ],
    )
    books = books.mutate(
        unmatched_corrections=books.unmatched.fill_null(0),
        balanced=(
            books.delivered_rows == books.stored_rows + books.superseded_rows + books.rejected_rows
        )
        & (books.delivered_cost == books.stored_cost + books.superseded_cost + books.rejected_cost),
    )
    return Sql(books.select(*tables()["conservation"].names).order_by("charge_day", "currency"))


def _lines(
    table: ir.Table,
    kind: str,
    source: str,
    day: str,
    currency: str,
    cost: str,
    correction: ir.Value,
    unrated: ir.Value,
) -> ir.Table:
    return table.select(
        source=table[source],
        charge_day=table[day],
        kind=ibis.literal(kind),
        currency=table[currency],
        rows=ibis.literal(1, "int64"),
        cost=table[cost].fill_null(0).cast(MONEY),
        correction=correction,
        unrated=unrated,
    )


def _sum(values: ir.IntegerValue, where: ir.BooleanValue | None = None) -> ir.IntegerValue:
    total: ir.IntegerValue = values.sum(where=where).fill_null(0).cast("int64")
    return total


def _unmatched(standing: ir.Table, superseded: ir.Table) -> ir.Table:
    """Standing corrections by currency whose original is not of this day."""
    referring = standing.filter(standing.x_IsCorrection & standing.x_BackReferenceNumber.notnull())
    present = standing.select(day=standing.x_ChargeDay, reference=standing.x_ReferenceNumber).union(
        superseded.select(day=superseded.charge_day, reference=superseded.reference_number)
    )
    lost = referring.anti_join(
        present,
        [
            referring.x_ChargeDay == present.day,
            referring.x_BackReferenceNumber == present.reference,
        ],
    )
    return lost.group_by(
        unmatched_day=lost.x_ChargeDay, unmatched_currency=lost.BillingCurrency
    ).aggregate(unmatched=lost.count())
