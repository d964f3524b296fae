"""What Spark's workers run in Python: DuckDB, for the meaning of texts.

A worker imports this module for each new process, so it imports little.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import duckdb
import pyarrow as pa


def asking(expression: str, arguments: int) -> Callable[..., pa.Array]:
    """A function of one or two Arrow arrays that DuckDB computes, as arguments a and b."""

    def one(a: pa.Array) -> pa.Array:
        return _answer(expression, pa.table({"a": a}))

    def two(a: pa.Array, b: pa.Array) -> pa.Array:
        return _answer(expression, pa.table({"a": a, "b": b}))

    return one if arguments == 1 else two


def _answer(expression: str, arguments: pa.Table) -> pa.Array:
    connection = _connection()
    connection.register("arguments", arguments)
    found = connection.sql(f"SELECT {expression} AS answer FROM arguments").to_arrow_table()
    return found.column("answer").combine_chunks()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB on one thread: rows keep their order, and Spark has threads of its own."""
    connection = duckdb.connect()
    for name, value in {"TimeZone": "UTC", "threads": "1", "memory_limit": "100MB"}.items():
        connection.execute(f"SET {name} = '{value}'")
    return connection
