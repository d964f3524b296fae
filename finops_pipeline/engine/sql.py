"""What engines run: a table expression over named tables, compiled once for each engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import count

import ibis
import ibis.expr.types as ir
import sqlglot
from sqlglot import expressions as sge

from finops_pipeline.engine.kept import kept, structure_of

# Ibis and sqlglot walk an expression by recursion, some 500 calls deep for a mapping. Dagster's own
# calls are below those, and Python's limit of 1,000 was reached.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 3_000))


@dataclass(frozen=True)
class _Pieces:
    """A select taken apart: the text of each column, and of what they are selected from.

    `labelled` has each column once more, with `label`, which stands nowhere else in the text,
    before every name that it reads. A `plain` select is from one named table and joins nothing.
    """

    plain: bool
    source: str
    label: str
    columns: dict[str, str]
    labelled: dict[str, str]


class Sql:
    """A table expression over named tables, and its text as each engine wants it.

    One that will not be asked again, in this process or a later one, need not be `lasting`.
    """

    def __init__(self, expression: ir.Table, lasting: bool = True) -> None:
        self.expression = expression
        self._lasting = lasting
        self._texts: dict[Callable[[ir.Table], str], str] = {}

    @cached_property
    def text(self) -> str:
        """DuckDB's text. Fingerprints rest on it whichever engine runs: the rows are the same."""
        return kept(
            "duckdb",
            self._structure,
            lambda: str(ibis.to_sql(self.expression, dialect="duckdb")),
        )

    def compiled(self, compiler: Callable[[ir.Table], str]) -> str:
        """The text that an engine's own compiler makes; made once."""
        if compiler not in self._texts:
            self._texts[compiler] = compiler(self.expression)
        return self._texts[compiler]

    def only(self, columns: Sequence[str]) -> Sql:
        """The same for some columns only, without compiling anew: for what is asked in parts."""
        pieces = self._pieces
        wanted = ", ".join(pieces.columns[name] for name in columns)
        return _Text(f"SELECT {wanted} {pieces.source}")

    def apart(self, groups: Sequence[tuple[str, Sequence[str]]]) -> Sql:
        """The columns of several groups, each over columns of its own.

        A group is a label and its columns; where the expression reads `name`, the group's reads
        `label name`. Only for a select from one table, see `is_plain`.
        """
        pieces = self._pieces
        wanted = ", ".join(
            pieces.labelled[name].replace(pieces.label, f"{label} ")
            for label, columns in groups
            for name in columns
        )
        return _Text(f"SELECT {wanted} {pieces.source}")

    @property
    def is_plain(self) -> bool:
        """Whether it selects from one named table and joins nothing."""
        return self._pieces.plain

    @cached_property
    def _structure(self) -> str | None:
        return structure_of(self.expression) if self._lasting else None

    @cached_property
    def _pieces(self) -> _Pieces:
        made = kept(
            "duckdb-pieces", self._structure, lambda: json.dumps(asdict(_taken_apart(self.text)))
        )
        return _Pieces(**json.loads(made))


def _taken_apart(text: str) -> _Pieces:
    tree = sqlglot.parse_one(text, dialect="duckdb")
    if not isinstance(tree, sge.Select) or tree.args.get("distinct"):
        raise TypeError("only a plain select can be asked in parts")
    columns = {
        column.alias_or_name: sge.alias_(column.unalias(), column.alias_or_name, quoted=True)
        for column in tree.expressions
    }
    label = next(label for n in count() if (label := f"label {n} of ") not in text)
    texts = {name: column.sql(dialect="duckdb") for name, column in columns.items()}
    for column in columns.values():
        for read in column.find_all(sge.Column):
            read.this.set("this", f"{label}{read.name}")
    labelled = {name: column.sql(dialect="duckdb") for name, column in columns.items()}
    plain = isinstance(tree.args["from_"].this, sge.Table) and not tree.args.get("joins")
    tree.set("expressions", [])
    source = tree.sql(dialect="duckdb").removeprefix("SELECT")
    return _Pieces(plain, source, label, texts, labelled)


class _Text(Sql):
    """Text that is put together from that of an expression."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def text(self) -> str:
        """DuckDB's text."""
        return self._text
