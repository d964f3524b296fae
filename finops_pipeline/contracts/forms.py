"""A table's description in the forms that engines read: Arrow and Ibis.

Elsewhere: what the tables are (`tables.py`), and their contracts (`pandera_contracts.py`).
"""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa

from finops_pipeline.contracts.tables import Column, Table

MONEY = dt.Decimal(38, 18)
RATE = dt.Decimal(20, 12)
SHARE = dt.Decimal(13, 12)

_TOTAL = {"charge_day": dt.Date(), "currency": dt.String(), "rows": dt.Int64(), "cost": MONEY}

_IBIS: dict[str, dt.DataType] = {
    "String": dt.String(),
    "Strings": dt.Array(dt.String()),
    "JSON": dt.String(),
    "Decimal": MONEY,
    "Rate": RATE,
    "Share": SHARE,
    "Date": dt.Date(),
    "Date/Time": dt.Timestamp(timezone="UTC", scale=6),
    "Integer": dt.Int64(),
    "Boolean": dt.Boolean(),
    "Totals": dt.Array(dt.Struct(_TOTAL)),
}

_ARROW: dict[str, pa.DataType] = {
    "String": pa.string(),
    "Strings": pa.list_(pa.string()),
    "JSON": pa.string(),
    "Decimal": pa.decimal128(38, 18),
    "Rate": pa.decimal128(20, 12),
    "Share": pa.decimal128(13, 12),
    "Date": pa.date32(),
    "Date/Time": pa.timestamp("us", tz="UTC"),
    "Integer": pa.int64(),
    "Boolean": pa.bool_(),
    "Totals": pa.list_(
        pa.struct(
            [
                ("charge_day", pa.date32()),
                ("currency", pa.string()),
                ("rows", pa.int64()),
                ("cost", pa.decimal128(38, 18)),
            ]
        )
    ),
}


def ibis_type(column: Column) -> dt.DataType:
    """The Ibis type of a column."""
    return _IBIS[column.type]


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a column type."""
    return _ARROW[kind]


@cache
def ibis_schema(table: Table) -> ibis.Schema:
    """The table's schema in Ibis."""
    return ibis.schema({c.name: ibis_type(c) for c in table.columns})


@cache
def arrow_schema(table: Table) -> pa.Schema:
    """The table's schema in Arrow; each field carries its description as metadata."""
    return pa.schema(
        [
            pa.field(c.name, _ARROW[c.type], metadata={"description": c.description})
            for c in table.columns
        ]
    )
