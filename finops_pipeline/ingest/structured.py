"""The rows of a Parquet file or of JSON lines as columns of text, as `rows.py` gives those of CSV.

A record within a record becomes columns with dotted names (`project.id`); a list or a map becomes
JSON. Numbers keep the digits they were written with; a binary float has the shortest text that
names it. Rows are numbered from 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finops_pipeline.ingest.rows import GZIP_ERRORS, CutOffError, named, open_text

_BATCH = 50_000
_MEMORY = "400MB"
_PIECE = 4 * 1024 * 1024
_TIMES = ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone")
# A number of 16 digits or more behind a colon, a comma or a bracket.
_LONG = r"[:,\[]\s*(-?(?:0\.0*)?[1-9](?:\.?[0-9]){15,}(?:[eE][-+]?[0-9]+)?)"
_LONG_NUMBER = re.compile(_LONG)
_PARQUET = "read_parquet(?, binary_as_string=true)"


class BrokenFileError(Exception):
    """A Parquet file or JSON lines that cannot be read; the message says why."""


def kind_of(path: Path) -> str:
    """What a file is, by its first bytes: `parquet`, `json` or `csv`. Raises CutOffError."""
    try:
        with open_text(path) as file:
            start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except GZIP_ERRORS as error:
        raise CutOffError(str(error)) from error
    if start.startswith(b"PAR1"):
        return "parquet"
    return "json" if start.startswith((b"{", b"[")) else "csv"


def column_names(path: Path, kind: str) -> list[str]:
    """The columns of a file, in its order. Raises BrokenFileError or CutOffError."""
    with closing(_connection()) as connection:
        return list(_columns(connection, path, kind))


def read_structured(
    path: Path, kind: str, columns: Mapping[str, int | None], unlike: Collection[str] = ()
) -> Iterator[pa.Table]:
    """The rows as `rows.read_rows` gives them. Raises BrokenFileError or CutOffError."""
    with closing(_connection()) as connection:
        texts = list(_columns(connection, path, kind).values())
        wanted = sorted({p for p in columns.values() if p is not None})
        plain = {columns[name] for name in unlike}
        chosen = ", ".join([f"nullif({texts[p]}, '') AS c{p}" for p in wanted] or ["1"])
        before = 0
        for relation, parameters in _relations(connection, path, kind):
            for batch in _batches(connection, f"SELECT {chosen} FROM {relation}", parameters):
                numbers = pa.array(np.arange(before, before + batch.num_rows) + 1)
                coded = {
                    f"c{p}": batch.column(f"c{p}")
                    if p in plain
                    else batch.column(f"c{p}").dictionary_encode()
                    for p in wanted
                }
                yield named(pa.record_batch(coded) if coded else batch, columns, numbers)
                before += batch.num_rows


def record_texts(path: Path, kind: str, rows: Collection[int]) -> dict[int, str]:
    """These rows by number as JSON. Raises BrokenFileError or CutOffError."""
    if kind == "json":
        lines = (line.as_py() for piece in _lines(path) for line in piece)
        first = islice(enumerate(lines, 1), max(rows))
        return {number: line for number, line in first if number in rows}
    numbered = "SELECT file_row_number + 1, CAST(to_json(t) AS VARCHAR)"
    parquet = "read_parquet(?, file_row_number=true, binary_as_string=true)"
    with closing(_connection()) as connection:
        try:
            found = connection.execute(
                f"{numbered} FROM {parquet} t WHERE list_contains(?, file_row_number + 1)",
                [str(path), sorted(rows)],
            )
            return dict(found.fetchall())
        except duckdb.Error as error:
            raise BrokenFileError(str(error).splitlines()[0]) from error


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": _MEMORY})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _batches(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: list[str]
) -> Iterator[pa.RecordBatch]:
    try:
        reader: pa.RecordBatchReader = connection.sql(query, params=parameters).to_arrow_reader(
            _BATCH
        )
        yield from reader
    except (duckdb.Error, pa.ArrowException) as error:
        raise BrokenFileError(str(error).splitlines()[0]) from error


def _relations(
    connection: duckdb.DuckDBPyConnection, path: Path, kind: str
) -> Iterator[tuple[str, list[str]]]:
    """What to read from, one after the other.

    All members of a line are taken out of it in one go: each on its own would read it again.
    """
    if kind == "parquet":
        yield _PARQUET, [str(path)]
        return
    members = ", ".join(map(_member, _members(connection, path).values()))
    for piece in _lines(path):
        connection.register("lines", pa.table({"json": piece}))
        yield f"(SELECT json_extract_string(json, [{members}]) AS texts FROM lines)", []


def _columns(connection: duckdb.DuckDBPyConnection, path: Path, kind: str) -> dict[str, str]:
    """For each column the expression of its text."""
    if kind == "json":
        return {name: f"texts[{i}]" for i, name in enumerate(_members(connection, path), 1)}
    try:
        found = connection.sql(f"SELECT * FROM {_PARQUET}", params=[str(path)])
        described = list(zip(found.columns, found.types, strict=True))
    except duckdb.Error as error:
        raise BrokenFileError(str(error).splitlines()[0]) from error
    return {
        name: text
        for column, dtype in described
        for name, text in _leaves(column, _quoted(column), dtype)
    }


def _leaves(name: str, value: str, dtype: Any) -> Iterator[tuple[str, str]]:
    if dtype.id == "struct":
        for member, member_type in dtype.children:
            yield from _leaves(f"{name}.{member}", f"{value}.{_quoted(member)}", member_type)
    else:
        yield name, _text(value, dtype.id)


def _text(value: str, kind: str) -> str:
    if kind in _TIMES:
        cast = f"CAST({value} AS TIMESTAMP)"
        return f"strftime({cast}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    if kind in ("list", "array", "map", "union"):
        return f"CAST(to_json({value}) AS VARCHAR)"
    return f"CAST({value} AS VARCHAR)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _lines(path: Path) -> Iterator[pa.Array]:
    """The lines of a file that are not blank, a stretch at a time."""
    held = b""
    try:
        with open_text(path) as file:
            while piece := file.read(_PIECE):
                *whole, held = (held + piece).split(b"\n")
                yield _as_text(whole)
    except GZIP_ERRORS as error:
        raise CutOffError(str(error)) from error
    yield _as_text([held])


def _as_text(lines: list[bytes]) -> pa.Array:
    try:
        return _exact(pa.array([line for line in lines if line.strip()], pa.string()))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise BrokenFileError(f"a line is not UTF-8 ({error})") from error


def _exact(lines: pa.Array) -> pa.Array:
    """The lines with numbers in quotes where the engine would lose digits of one.

    It reads numbers of JSON as binary floats, which hold any 15 digits and some of more: those
    that were floats before, as most long ones were.
    """
    (long,) = np.nonzero(pc.match_substring_regex(lines, _LONG).to_numpy(zero_copy_only=False))
    quoted = {i: text for i in long.tolist() if (text := _quoted_numbers(lines[i].as_py()))}
    if not quoted:
        return lines
    texts = lines.to_pylist()
    return pa.array([quoted.get(i, text) for i, text in enumerate(texts)], pa.string())


def _quoted_numbers(line: str) -> str | None:
    """The line with its numbers as texts; None where all of them are the same as floats."""
    found = (match[1] for match in _LONG_NUMBER.finditer(line))
    if all(Decimal(number) == Decimal(repr(float(number))) for number in found):
        return None
    try:
        value = json.loads(line, parse_float=str, parse_int=str)
    except ValueError:
        return None  # it is refused when it is read
    return json.dumps(value, ensure_ascii=False)


def _members(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, tuple[str, ...]]:
    """The members of all objects of a file by dotted name, in order of their appearance."""
    found: dict[str, tuple[str, ...]] = {}
    for line, piece in enumerate(_lines(path), 1):
        connection.register("lines", pa.table({"json": piece}))
        try:
            ((structure,),) = connection.execute(
                "SELECT json_group_structure(json::JSON) FROM lines"
            ).fetchall()
        except duckdb.Error as error:
            raise BrokenFileError(
                f"expected one JSON object on each line: {str(error).splitlines()[0]} "
                f"(within stretch {line} of 4 MiB)"
            ) from error
        if structure is None or (shape := json.loads(structure)) == "NULL":
            continue
        if not isinstance(shape, dict):
            raise BrokenFileError("expected one JSON object on each line")
        found |= dict(_named_members((), shape))
    return found


def _named_members(
    above: tuple[str, ...], shape: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, inner in shape.items():
        here = (*above, key)
        if isinstance(inner, dict):
            yield from _named_members(here, inner)
        else:
            yield ".".join(here), here


def _member(parts: tuple[str, ...]) -> str:
    """The path of a member, as a literal of SQL."""
    path = "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in parts)
    return "'" + path.replace("'", "''") + "'"
