"""Data files of the clouds' exports: gzipped CSV, Parquet, gzipped JSON lines.

Bytes depend on the rows alone. Times of files are those of their delivery.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from finops_pipeline.demo.clouds.tables import as_floats, as_texts
from finops_pipeline.demo.truth import FileTruth, ReportFormat

_GZIP_LEVEL, _GZIP_WINDOW = 1, 31
Encode = Callable[[pa.Table], bytes]


class _Gzip:
    """A gzipped file of texts."""

    def __init__(self, path: Path, encode: Encode, header: bytes = b"") -> None:
        self._file: BinaryIO = path.open("wb")
        self._encode = encode
        self._gzip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self._file.write(self._gzip.compress(header))

    def write(self, table: pa.Table) -> None:
        self._file.write(self._gzip.compress(self._encode(table)))

    def close(self) -> None:
        self._file.write(self._gzip.flush())
        self._file.close()


class _Parquet:
    """A Parquet file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="snappy")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class DataFiles:
    """The numbered parts of one delivery, as many as its rows need.

    `name` gives the path of a part from its number and suffix.
    """

    def __init__(
        self,
        folder: Path,
        name: Callable[[int, str], str],
        kind: str,
        format_: ReportFormat,
        delivered_at: datetime,
        split_rows: int,
        counts: bool,
    ) -> None:
        self._folder = folder
        self._name = name
        self._kind = kind
        self._format = format_
        self._delivered_at = delivered_at
        self._split_rows = split_rows
        self._counts = counts
        self._open: _Gzip | _Parquet | None = None
        self._rows = 0
        self.files: list[FileTruth] = []

    def write(self, table: pa.Table) -> None:
        """Append rows: decimals, times and texts."""
        if self._kind == "parquet":
            table = as_floats(table)
        elif self._kind == "csv":
            table = as_texts(table)
        if self._open is None:
            self._open = self._opened(table.schema)
        self._open.write(table)
        self._rows += len(table)
        if self._rows >= self._split_rows:
            self.roll()

    def roll(self) -> None:
        """End the part that is being written, if any."""
        if self._open is None:
            return
        self._open.close()
        path = self._path()
        stamp(self._folder / path, self._delivered_at)
        self.files.append(
            FileTruth(
                path=path,
                format=self._format,
                rows=self._rows,
                delivered_at=self._delivered_at,
                counts=self._counts,
            )
        )
        self._open, self._rows = None, 0

    def _path(self) -> str:
        suffix = {"csv": "csv.gz", "parquet": "snappy.parquet", "json": "json.gz"}[self._kind]
        return self._name(len(self.files), suffix)

    def _opened(self, schema: pa.Schema) -> _Gzip | _Parquet:
        path = self._folder / self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._kind == "parquet":
            return _Parquet(path, schema)
        if self._kind == "csv":
            return _Gzip(path, _csv, (",".join(schema.names) + "\n").encode())
        return _Gzip(path, _json)


def stamp(path: Path, delivered_at: datetime) -> None:
    """Date a file by its delivery."""
    seconds = int(delivered_at.timestamp())
    os.utime(path, (seconds, seconds))


def _csv(table: pa.Table) -> bytes:
    text = io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    pyarrow.csv.write_csv(table, text, options)
    return text.getvalue()


def _json(table: pa.Table) -> bytes:
    connection = _connection()
    connection.register("told", table)
    rows = connection.execute("SELECT to_json(told)::VARCHAR FROM told").fetchall()
    connection.unregister("told")
    return "".join(f"{text}\n" for (text,) in rows).encode()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    # Opening one costs as much as some thousand rows.
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET enable_progress_bar = false")
    return connection
