"""What engines run: a table expression over named tables, compiled once for each engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import ibis
import ibis.expr.types as ir
import sqlglot
from sqlglot import expressions as sge


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

    def only(self, columns: Sequence[str]) -> Sql:
        """The same for some columns only, without compiling anew: for what is asked in parts."""
        return _Part(self, columns)

    @cached_property
    def pieces(self) -> tuple[dict[str, str], str]:
        """The text of each column, and of what they are selected from."""
        tree = sqlglot.parse_one(self.text, dialect="duckdb")
        if not isinstance(tree, sge.Select) or tree.args.get("distinct"):
            raise TypeError("only a plain select can be asked in parts")
        columns = {c.alias_or_name: c.sql(dialect="duckdb", copy=False) for c in tree.expressions}
        tree.set("expressions", [])
        return columns, tree.sql(dialect="duckdb", copy=False).removeprefix("SELECT")


class _Part(Sql):
    """Some columns of another expression."""

    def __init__(self, whole: Sql, columns: Sequence[str]) -> None:
        self._whole = whole
        self._columns = columns

    @cached_property
    def text(self) -> str:
        """DuckDB's text, put together from pieces of that of the whole."""
        columns, source = self._whole.pieces
        return f"SELECT {', '.join(columns[name] for name in self._columns)} {source}"
