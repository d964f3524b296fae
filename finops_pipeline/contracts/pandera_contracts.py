"""The contracts of tables and raw reports, as Pandera schemas on Ibis.

Made from the descriptions in `tables.py` and `raw.py`. Holding data against them is `check.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import ibis
import ibis.expr.datatypes as dt

from finops_pipeline.contracts.forms import ibis_type
from finops_pipeline.contracts.raw import RawFormat
from finops_pipeline.contracts.tables import Column, Table
from finops_pipeline.contracts.without_spark import without_spark

with without_spark():
    import pandera.ibis as pandera
    from pandera.dtypes import immutable
    from pandera.engines import ibis_engine
    from pandera.errors import SchemaErrors as SchemaErrors  # for those who import it from here


@ibis_engine.Engine.register_dtype
@immutable(init=True)
class ListType(ibis_engine.DataType):
    """A list, whatever it holds: Pandera comes without, and could make no contract that has one."""

    type: Any

    def __init__(self, dtype: dt.Array) -> None:
        object.__setattr__(self, "type", dtype)

    @classmethod
    def from_parametrized_dtype(cls, ibis_dtype: dt.Array) -> ibis_engine.DataType:
        """The list type of a column."""
        return cls(ibis_dtype)


@cache
def contract(table: Table) -> Any:
    """The table's contract: every column, its type, its nulls, its allowed values, and no other.

    Failure cases are capped at five a check: an error must not hold a table (measured: without
    the cap it holds every failing value).
    """
    return pandera.DataFrameSchema(
        {c.name: _column(c) for c in table.columns}, name=table.name, strict=True
    )


def _column(column: Column) -> Any:
    checks = []
    if column.allowed:
        checks.append(pandera.Check.isin(list(column.allowed), n_failure_cases=5))
    if column.minimum is not None:
        checks.append(pandera.Check.ge(column.minimum, n_failure_cases=5))
    return pandera.Column(ibis_type(column), checks, nullable=column.nullable)


@cache
def raw_contract(raw: RawFormat) -> Any:
    """The contract of a raw report: required columns are there, and all are text.

    What their text must say is decided row by row in the pass that maps it (`normalize/`).
    """
    return pandera.DataFrameSchema(
        {name: pandera.Column(str, nullable=True, required=True) for name in raw.required},
        name=raw.name,
        strict=False,
    )


def missing_columns(raw: RawFormat, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that a report lacks to keep its contract, in the format's order."""
    report = ibis.table(dict.fromkeys(columns, "string") or {"": "string"}, name="report")
    try:
        raw_contract(raw).validate(report, lazy=True)
    except SchemaErrors as errors:
        lacking = {str(error.failure_cases) for error in errors.schema_errors}
        return tuple(name for name in raw.required if name in lacking)
    return ()
