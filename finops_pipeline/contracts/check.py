"""Holding data against a contract, where the data is.

The contract itself is in `pandera_contracts.py`. One pass over the data counts the values that
break any of its checks; only when there are some does Pandera run the checks one by one, each a
pass of its own, and gives examples. What it finds comes back as a few findings, never as a table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import Column, Table

if TYPE_CHECKING:
    from pandera.errors import SchemaErrors

    from finops_pipeline.engine.protocol import Engine
    from finops_pipeline.engine.sql import Sql


@dataclass(frozen=True)
class Violation:
    """A check that data broke: the table, the column, the check, and a few values that broke it."""

    table: str
    column: str
    check: str
    examples: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.examples)
        return f"{self.table}.{self.column}: {self.check} is broken, for example by {shown}"


def violations(engine: Engine, table: Table, name: str) -> list[Violation]:
    """What the bound data `name` breaks of the table's contract; empty when it holds."""
    data = engine.bound(name)
    if data.schema() == ibis_schema(table) and not _broken_values(engine, table, name):
        return []
    # Only here, since Pandera takes a second to import and most runs have nothing to show it.
    from finops_pipeline.contracts.pandera_contracts import SchemaErrors, contract

    try:
        contract(table).validate(data, lazy=True)
    except SchemaErrors as errors:
        return _findings(table, errors)
    return []


def _broken_values(engine: Engine, table: Table, name: str) -> int:
    """How many values break a check of the contract, counted in one pass."""
    counted = engine.rows(_broken_values_sql(engine.compile, table, name))
    return int(counted.column("broken")[0].as_py())


@cache
def _broken_values_sql(compiled: Callable[[ir.Table], Sql], table: Table, name: str) -> Sql:
    data = ibis.table(ibis_schema(table), name=name)
    conditions = [condition for c in table.columns for condition in _broken(data[c.name], c)]
    counts = [condition.sum().fill_null(0) for condition in conditions]
    total = reduce(lambda a, b: a + b, counts)
    return compiled(data.aggregate(broken=total))


def _broken(value: ir.Value, column: Column) -> list[ir.BooleanValue]:
    """When a value breaks the column's checks: those that `pandera_contracts` makes."""
    found = []
    if not column.nullable:
        found.append(value.isnull())
    if column.allowed:
        found.append(value.notin(column.allowed).fill_null(False))
    if column.minimum is not None:
        found.append((value < column.minimum).fill_null(False))
    return found


def _findings(table: Table, errors: SchemaErrors) -> list[Violation]:
    examples: dict[tuple[str, str], list[str]] = defaultdict(list)
    for error in errors.schema_errors:
        column = str(getattr(error.schema, "name", None) or table.name)
        check = str(error.check if error.check is not None else error.reason_code)
        examples[column, check].extend(_shown(error.failure_cases))
    return [Violation(table.name, c, k, tuple(v[:5])) for (c, k), v in sorted(examples.items())]


def _shown(cases: object) -> list[str]:
    limited = cases.limit(5).to_pyarrow().to_pylist() if hasattr(cases, "limit") else [cases]
    single = (c.values() if isinstance(c, dict) and len(c) == 1 else [c] for c in limited)
    return [str(value) for values in single for value in values]
