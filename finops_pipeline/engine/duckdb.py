"""DuckDB, the default engine: reads reports and Parquet, runs expressions, writes Parquet.

Expressions are Ibis over named tables, written once for every engine; this module binds the names
to data and runs them. Functions that DuckDB spells in its own way are in `functions.py`; what the
expressions mean is in the stages.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import Table
from finops_pipeline.durable import publish
from finops_pipeline.engine.split import Parts, write_parts
from finops_pipeline.engine.sql import Sql

# Small row groups: a charge is about 4 kB while it is held, and a writer that has to spill its row
# group costs three times as much as one that does not (measured at 120,000 rows a group).
_PARQUET = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480"
_BATCH = 20_480  # rows that are handed to Arrow at a time


class DuckDBEngine:
    """One in-process DuckDB database with a bounded memory, for one run."""

    quick = True

    def __init__(
        self, memory_limit: str, spill: Path | None = None, filesystem: Any = None
    ) -> None:
        """`filesystem` is an fsspec one, through which locations of its protocol are read."""
        self._settings = {
            "memory_limit": memory_limit,
            "temp_directory": str(spill or Path(tempfile.gettempdir()) / "finops-spill"),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # Every join here has its small side on the right. Rows bound from Arrow are not counted
            # before they are read: left to guess, DuckDB held the large side in memory to look up
            # 700 services (measured: a third of the time of the mapping, and its spilling).
            "disabled_optimizers": "join_order,build_side_probe_side",
        }
        self._filesystem = filesystem

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database, opened when it is first needed: a run with nothing new needs none."""
        connection = duckdb.connect()
        if self._filesystem is not None:
            connection.register_filesystem(self._filesystem)
        for name, value in self._settings.items():
            connection.execute(f"SET {name} = '{value}'")
        return _of_session(connection)

    @cached_property
    def _ibis(self) -> Any:
        return ibis.duckdb.from_connection(self.connection)

    def beside(self) -> DuckDBEngine:
        """An engine for another thread: names of its own, in the memory that this one is given."""
        cursor = _of_session(self.connection.cursor())
        other = copy.copy(self)
        vars(other).pop("_ibis", None)
        vars(other)["connection"] = cursor
        return other

    def __enter__(self) -> DuckDBEngine:
        return self

    def __exit__(self, *_: object) -> None:
        if "connection" in self.__dict__:
            self.connection.close()

    # Binding names to data

    def bind_files(self, name: str, table: Table, locations: Sequence[str]) -> None:
        """Let `name` be these Parquet files of a table; no file means no row."""
        if locations:
            source = f"SELECT * FROM {_parquet(locations)}"
        else:
            schema = ibis_schema(table)
            nulls = ", ".join(
                f"NULL::{_duckdb_type(schema[c])} AS {_name(c)}" for c in schema.names
            )
            source = f"SELECT {nulls} WHERE false"
        self._view(name, source)

    def bind_arrow(self, name: str, rows: pa.Table) -> None:
        """Let `name` be this small table."""
        self.connection.register(f"arrow {name}", rows)
        self._view(name, f"SELECT * FROM {_name(f'arrow {name}')}")

    def keep(self, name: str, rows: pa.Table) -> None:
        """Let `name` be a table of the engine's own with these rows: for what is joined to much.

        The engine knows how many rows such a table has. Of a bound one it does not, and may take
        it for the larger side of a join and hold the larger one in memory instead.
        """
        self.connection.register(f"arrow {name}", rows)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_name(name)} AS SELECT * FROM {_name(f'arrow {name}')}"
        )
        self.connection.unregister(f"arrow {name}")

    def bind_sql(self, name: str, sql: Sql) -> None:
        """Let `name` be the result of an expression: a step that later ones build on."""
        self._view(name, sql.text)

    def _view(self, name: str, select: str) -> None:
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {_name(name)} AS {select}")

    def bound(self, name: str) -> ir.Table:
        """The bound data as an Ibis table that can be run, for checks."""
        table: ir.Table = self._ibis.table(name)
        return table

    # Running expressions

    def make(self, name: str, sql: Sql) -> None:
        """Run an expression once and keep its result as `name`, for what reads it several times."""
        self.connection.execute(f"DROP TABLE IF EXISTS {_name(name)}")
        self.connection.execute(f"CREATE TEMP TABLE {_name(name)} AS {sql.text}")

    @staticmethod
    def compile(expression: ir.Table) -> Sql:
        """The expression, to be run; its text is made once."""
        return Sql(expression, lasting=False)

    def rows(self, sql: Sql) -> pa.Table:
        """The result of an expression, for small results."""
        return self.connection.sql(sql.text).to_arrow_table()

    def write(self, sql: Sql, path: Path) -> int:
        """Write a result as one Parquet file, visible only when whole. Returns its rows."""
        return self._copy(sql, path, _PARQUET)

    def write_csv(self, sql: Sql, path: Path, gzip: bool) -> int:
        """Write a result as CSV with a header, visible only when whole. Returns its rows."""
        compression = "gzip" if gzip else "none"
        return self._copy(sql, path, f"FORMAT csv, HEADER, COMPRESSION {compression}")

    def _copy(self, sql: Sql, path: Path, form: str) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            copied = self.connection.execute(
                f"COPY ({sql.text}) TO {_text(partial)} ({form})"
            ).fetchone()
            publish(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return int(copied[0]) if copied else 0

    def write_split(self, sql: Sql, by: Sequence[str], folder: Path) -> Parts:
        """Write a result as one Parquet file for each distinct value of `by`, below `folder`.

        Returns each value's file and rows. The folder must not be there yet.
        """
        folder.mkdir(parents=True)
        first = ", ".join(map(_name, by))
        ordered = f"SELECT * FROM ({sql.text}) ORDER BY {first}, COLUMNS(*)"
        return write_parts(self.connection.sql(ordered).to_arrow_reader(_BATCH), by, folder)


def _parquet(locations: Iterable[str]) -> str:
    listed = ", ".join(_text(p) for p in locations)
    return f"read_parquet([{listed}], hive_partitioning = false)"


def _duckdb_type(dtype: Any) -> str:
    from ibis.backends.sql.datatypes import DuckDBType

    return str(DuckDBType.to_string(dtype))


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _of_session(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection with the settings that each connection to a database has of its own."""
    for name, value in {"TimeZone": "UTC", "enable_progress_bar": "false"}.items():
        connection.execute(f"SET {name} = '{value}'")
    return connection


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
