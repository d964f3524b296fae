"""What engines run: a table expression over named tables, compiled once for each engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import ibis
import ibis.expr.types as ir
import sqlglot
from sqlglot import expressions as sge


class Sql:
    """A table expression over named tables, and its text as each engine wants it."""

    def __init__(self, expression: ir.Table) -> None:
        self.expression = expression
        self._texts: dict[Callable[[ir.Table], str], str] = {}
        self._apart: dict[tuple[str, str], str] = {}

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
        texts, source = self._pieces
        return _Text(f"SELECT {', '.join(texts[name] for name in columns)} {source}")

    def apart(self, groups: Sequence[tuple[str, Sequence[str]]]) -> Sql:
        """The columns of several groups, each over columns of its own.

        A group is a label and its columns; where the expression reads `name`, the group's reads
        `label name`. Only for a select from one table, see `is_plain`.
        """
        _, source = self._pieces
        texts = [self._labelled(label, name) for label, columns in groups for name in columns]
        return _Text(f"SELECT {', '.join(texts)} {source}")

    @property
    def is_plain(self) -> bool:
        """Whether it selects from one named table and joins nothing."""
        tree = self._tree
        return isinstance(tree.args["from_"].this, sge.Table) and not tree.args.get("joins")

    def _labelled(self, label: str, name: str) -> str:
        if (label, name) not in self._apart:
            column = self._columns[name].copy()
            for read in column.find_all(sge.Column):
                read.this.set("this", f"{label} {read.name}")
            self._apart[label, name] = column.sql(dialect="duckdb", copy=False)
        return self._apart[label, name]

    @cached_property
    def _tree(self) -> sge.Select:
        tree = sqlglot.parse_one(self.text, dialect="duckdb")
        if not isinstance(tree, sge.Select) or tree.args.get("distinct"):
            raise TypeError("only a plain select can be asked in parts")
        return tree

    @cached_property
    def _columns(self) -> dict[str, Any]:
        columns = {column.alias_or_name: column for column in self._tree.expressions}
        return {n: sge.alias_(c.unalias(), n, quoted=True) for n, c in columns.items()}

    @cached_property
    def _pieces(self) -> tuple[dict[str, str], str]:
        """The text of each column, and of what they are selected from."""
        texts = {n: c.sql(dialect="duckdb", copy=False) for n, c in self._columns.items()}
        tree = self._tree.copy()
        tree.set("expressions", [])
        return texts, tree.sql(dialect="duckdb", copy=False).removeprefix("SELECT")


class _Text(Sql):
    """Text that is put together from that of an expression."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def text(self) -> str:
        """DuckDB's text."""
        return self._text
