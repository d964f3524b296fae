"""Spark: the same expressions on a cluster, for what does not fit one machine.

Reports are read elsewhere and come as small tables, through this process; what lies in the lake is
read, and written, by Spark's workers, who must find it under the same path. What functions mean is
in `spark_functions.py`, how Spark is set up in `spark_session.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import Table
from finops_pipeline.durable import publish
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.engine.spark_functions import ASKED, spark_text
from finops_pipeline.engine.spark_session import open_session
from finops_pipeline.engine.spark_worker import asking
from finops_pipeline.engine.split import Parts
from finops_pipeline.engine.sql import Sql

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_CSV_MEMORY = "250MB"


class SparkEngine:
    """A session of its own in this process's Spark, which starts when it is first needed."""

    quick = False  # a query is a job, and a job takes a good part of a second before its first row

    def __init__(self, master: str, config: Mapping[str, str], spool: Path) -> None:
        self._master = master
        self._config = config
        self._spool = spool
        self._made: dict[str, DataFrame] = {}

    def __enter__(self) -> SparkEngine:
        return self

    def __exit__(self, *_: object) -> None:
        for made in self._made.values():
            made.unpersist()

    @cached_property
    def session(self) -> SparkSession:
        """The session. Raises ConfigError when Spark cannot be started."""
        from pyspark.sql.pandas.functions import arrow_udf

        session = open_session(self._master, self._config)
        for name, (expression, arguments, result) in ASKED.items():
            asked = arrow_udf(asking(expression, arguments), result)  # type: ignore[call-overload]
            session.udf.register(name, asked)
        return session

    # Binding names to data

    def bind_files(self, name: str, table: Table, locations: Sequence[str]) -> None:
        """Let `name` be these Parquet files of a table; no file means no row."""
        from pyspark.sql.pandas.types import from_arrow_schema

        schema = from_arrow_schema(arrow_schema(table))
        if locations:
            # Folders are named by partition, which would be read into columns of its own.
            reader = self.session.read.schema(schema).option("recursiveFileLookup", "true")
            reader = reader.option("__globPaths__", "false")  # a path is no pattern
            self._bind(name, reader.parquet(*(f"file:{path}" for path in locations)))
        else:
            self._bind(name, self.session.createDataFrame([], schema))

    def bind_arrow(self, name: str, rows: pa.Table) -> None:
        """Let `name` be this small table."""
        self._bind(name, self.session.createDataFrame(_plain(rows)))

    def keep(self, name: str, rows: pa.Table) -> None:
        """Let `name` be a small table of the engine's own: Spark sends it to every worker."""
        self.bind_arrow(name, rows)

    def bind_sql(self, name: str, sql: Sql) -> None:
        """Let `name` be the result of an expression: a step that later ones build on."""
        text = sql.compiled(spark_text)
        self.session.sql(f"CREATE OR REPLACE TEMPORARY VIEW {_name(name)} AS {text}")

    def _bind(self, name: str, rows: DataFrame) -> None:
        rows.createOrReplaceTempView(_name(name))

    def bound(self, name: str) -> ir.Table:
        """The bound data as an Ibis table that can be run, for checks."""
        table = ibis.pyspark.connect(self.session).table(name)
        # Ibis says `timestamp` of what Spark defines as an instant in microseconds.
        instant = dt.Timestamp(timezone="UTC", scale=6)
        types = {k: instant if t.is_timestamp() else t for k, t in table.schema().items()}
        return table.op().copy(schema=ibis.schema(types)).to_expr()

    # Running expressions

    def make(self, name: str, sql: Sql) -> None:
        """Run an expression once and keep its result as `name`, for what reads it several times."""
        if name in self._made:
            self._made.pop(name).unpersist()
        self._made[name] = self._frame(sql).persist()
        self._bind(name, self._made[name])

    @staticmethod
    def compile(expression: ir.Table) -> Sql:
        """The expression, to be run; its text is made once."""
        return Sql(expression, lasting=False)

    def rows(self, sql: Sql) -> pa.Table:
        """The result of an expression, for small results."""
        return self._frame(sql).toArrow()

    def write(self, sql: Sql, path: Path) -> int:
        """Write a result as one Parquet file, visible only when whole. Returns its rows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._in_one_piece(sql).write.mode("overwrite").parquet(f"file:{folder}")
            (part,) = folder.glob("part-*.parquet")
            rows = int(pq.read_metadata(part).num_rows)
            publish(part, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return rows

    def write_csv(self, sql: Sql, path: Path, gzip: bool) -> int:
        """Write a result as CSV, by DuckDB: what is quoted and what is null looks the same."""
        self._spool.mkdir(parents=True, exist_ok=True)
        whole = self._spool / f"{path.name}.{os.getpid()}.parquet"
        try:
            self.write(sql, whole)
            with DuckDBEngine(_CSV_MEMORY, self._spool) as duckdb:
                table = duckdb.connection.read_parquet(str(whole))
                duckdb.connection.register("whole", table)
                schema = sql.expression.schema()
                return duckdb.write_csv(Sql(ibis.table(schema, name="whole")), path, gzip)
        finally:
            whole.unlink(missing_ok=True)

    def write_split(self, sql: Sql, by: Sequence[str], folder: Path) -> Parts:
        """Write a result as one Parquet file for each distinct value of `by`, below `folder`.

        Rows are in the order of all their columns: where a row arrives in a shuffle is chance, and
        the same rows must be the same bytes.
        """
        from pyspark.sql import functions

        # Folders named by hexadecimal text: no value needs escaping, none is taken for a null.
        keys = {
            f"split {i}": functions.hex(functions.col(_name(name)).cast("string"))
            for i, name in enumerate(by)
        }
        rows = self._frame(sql)
        order = [*map(functions.col, map(_name, keys)), *_all_columns(rows)]
        tasks = self.session.sparkContext.defaultParallelism
        rows = rows.withColumns(keys).repartition(tasks, *map(_name, keys))
        folder.mkdir(parents=True)
        writer = rows.sortWithinPartitions(*order).write.mode("append")
        writer.partitionBy(*keys).parquet(f"file:{folder}")
        found = {}
        for path in sorted(folder.rglob("part-*.parquet")):
            texts = [p.partition("=")[2] for p in path.relative_to(folder).parts[:-1]]
            value = tuple(bytes.fromhex(text).decode() for text in texts)
            found[value] = (path, int(pq.read_metadata(path).num_rows))
        return found

    def _frame(self, sql: Sql) -> DataFrame:
        return self.session.sql(sql.compiled(spark_text))

    def _in_one_piece(self, sql: Sql) -> DataFrame:
        """The result in one task, in the order asked for, else in that of all columns."""
        rows = self._frame(sql)
        if isinstance(sql.expression.op(), ops.Sort):
            return rows.coalesce(1)
        return rows.repartition(1).sortWithinPartitions(*_all_columns(rows))


def _plain(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries written out: Spark takes none."""
    types = {f.name: f.type for f in rows.schema}
    plain = {n: t.value_type for n, t in types.items() if pa.types.is_dictionary(t)}
    return rows.cast(pa.schema({**types, **plain})) if plain else rows


def _all_columns(rows: DataFrame) -> list[Column]:
    from pyspark.sql import functions

    return [functions.col(_name(c)).asc_nulls_last() for c in rows.columns]


def _name(text: str) -> str:
    return "`" + text.replace("`", "``") + "`"
