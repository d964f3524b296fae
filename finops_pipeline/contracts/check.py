"""Holding data against a contract, where the data is.

The contract itself is in `forms.py`. Pandera runs its checks in the engine; what it finds comes
back as a few counted findings with examples, never as a table.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandera.errors import SchemaErrors

from finops_pipeline.contracts.forms import contract
from finops_pipeline.contracts.tables import Table

if TYPE_CHECKING:
    from finops_pipeline.engine.duckdb import DuckDBEngine


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


def violations(engine: DuckDBEngine, table: Table, name: str) -> list[Violation]:
    """What the bound data `name` breaks of the table's contract; empty when it holds."""
    try:
        contract(table).validate(engine.bound(name), lazy=True)
    except SchemaErrors as errors:
        return _findings(table, errors)
    return []


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
