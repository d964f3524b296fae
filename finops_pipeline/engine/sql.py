"""What engines run: a table expression over named tables, compiled once for each engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import ibis
import ibis.expr.types as ir


class Sql:
    """A table expression over named tables, and its text as each engine wants it."""

    def __init__(self, expression: ir.Table) -> None:
        self.expression = expression
        self._texts: dict[Callable[[ir.Table], str], str] = {}

    @cached_property
    def text(self) -> str:
        """DuckDB's text. Fingerprints rest on it whichever engine runs: the rows are the same."""
        return str(ibis.to_sql(self.expression, dialect="duckdb"))

    def compiled(self, compiler: Callable[[ir.Table], str]) -> str:
        """The text that an engine's own compiler makes; made once."""
        if compiler not in self._texts:
            self._texts[compiler] = compiler(self.expression)
        return self._texts[compiler]
