"""What a stage may ask of an engine, whichever it is.

Data is bound to names, and expressions over these names are run. An engine gives the same rows as
every other, to the last digit; the order of rows is the one that an expression asks for, else any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.contracts.tables import Table
from finops_pipeline.engine.split import Parts
from finops_pipeline.engine.sql import Sql


class Engine(Protocol):
    """Where expressions run, for one run; a context that frees what it holds when it is left.

    A `quick` engine answers a small query in milliseconds, so it is worth asking it many, each of
    a few distinct values, in place of one of all rows (`coded.py`).
    """

    @property
    def quick(self) -> bool: ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *_: object) -> None: ...

    def bind_files(self, name: str, table: Table, locations: Sequence[str]) -> None:
        """Let `name` be these Parquet files of a table; no file means no row."""

    def bind_arrow(self, name: str, rows: pa.Table) -> None:
        """Let `name` be this small table."""

    def keep(self, name: str, rows: pa.Table) -> None:
        """Let `name` be a small table of the engine's own: for what is joined to much."""

    def bind_sql(self, name: str, sql: Sql) -> None:
        """Let `name` be the result of an expression: a step that later ones build on.

        Ibis folds one select into the next, so a value that is used often would be computed as
        often; a step of its own is computed once.
        """

    def bound(self, name: str) -> ir.Table:
        """The bound data as an Ibis table that can be run, for checks."""

    def make(self, name: str, sql: Sql) -> None:
        """Run an expression once and keep its result as `name`, for what reads it several times."""

    @staticmethod
    def compile(expression: ir.Table) -> Sql:
        """The expression, to be run; its text is made once, so keep what is run often."""

    def rows(self, sql: Sql) -> pa.Table:
        """The result of an expression, for small results."""

    def write(self, sql: Sql, path: Path) -> int:
        """Write a result as one Parquet file, visible only when whole. Returns its rows."""

    def write_csv(self, sql: Sql, path: Path, gzip: bool) -> int:
        """Write a result as CSV with a header, visible only when whole. Returns its rows.

        A null is empty, an empty text is `""`.
        """

    def write_split(self, sql: Sql, by: Sequence[str], folder: Path) -> Parts:
        """Write a result as one Parquet file for each distinct value of `by`, below `folder`.

        The rows of each file are in the order of all their columns, nulls last. Returns each
        value's file and rows. The folder must not be there yet.
        """
