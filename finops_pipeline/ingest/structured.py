"""The rows of a Parquet file or of JSON lines as columns of text, as `rows.py` gives those of CSV.

A record within a record becomes columns with dotted names (`project.id`); a list or a map becomes
JSON. Numbers keep the digits they were written with; a binary float has the shortest text that
names it. Rows are numbered from 1.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from finops_pipeline.ingest.rows import GZIP_ERRORS, CutOffError, named, open_text

_BATCH = 50_000
_MEMORY = "400MB"
_PIECE = 4 * 1024 * 1024
_TIMES = ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone")
# A number of 16 digits or more behind a colon, a comma or a bracket.
_LONG = r"[:,\[]\s*(-?(?:0\.0*)?[1-9](?:\.?[0-9]){15,}(?:[eE][-+]?[0-9]+)?)"
_AS_FLOAT = "CAST(try_cast(x AS DOUBLE) AS VARCHAR)"
_LOSSY = f"""SELECT place FROM lines WHERE len(list_filter(
    regexp_extract_all(json, '{_LONG}', 1),
    lambda x: try_cast(x AS DECIMAL(38, 18)) IS DISTINCT FROM
        try_cast({_AS_FLOAT} AS DECIMAL(38, 18)))) > 0"""
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
    with closing(open_engine()) as connection:
        return list(_columns(connection, path, kind))


def read_structured(
    path: Path, kind: str, columns: Mapping[str, int | None], unlike: Collection[str] = ()
) -> Iterator[pa.Table]:
    """The rows as `rows.read_rows` gives them. Raises BrokenFileError or CutOffError."""
    with closing(open_engine()) as connection:
        texts = list(_columns(connection, path, kind).values())
        wanted = sorted({p for p in columns.values() if p is not None})
        plain = {columns[name] for name in unlike}
        asked = {f"c{p}": texts[p] for p in wanted}
        before = 0
        for relation, parameters in _relations(connection, path, kind):
            for batch in _batches(connection, _query(kind, asked, relation), parameters):
                numbers = pa.array(np.arange(before, before + batch.num_rows) + 1)
                coded = {
                    f"c{p}": batch.column(f"c{p}")
                    if p in plain
                    else batch.column(f"c{p}").dictionary_encode()
                    for p in wanted
                }
                yield named(pa.record_batch(coded) if coded else batch, columns, numbers)
                before += batch.num_rows


def _query(kind: str, texts: Mapping[str, str], relation: str) -> str:
    """What selects the text of columns.

    An object of JSON is parsed once for all of its members: parsed for each, a few thousand wide
    rows took more than the engine may have.
    """
    if kind == "json":
        found = f"json_extract_string(json, [{', '.join(texts.values())}]::VARCHAR[])"
        relation = f"(SELECT {found} AS found FROM {relation})"
        texts = {name: f"found[{i}]" for i, name in enumerate(texts, 1)}
    chosen = [f"nullif({text}, '') AS {name}" for name, text in texts.items()]
    return f"SELECT {', '.join(chosen or ['1'])} FROM {relation}"


def record_texts(path: Path, kind: str, rows: Collection[int]) -> dict[int, str]:
    """These rows by number as JSON. Raises BrokenFileError or CutOffError."""
    if kind == "json":
        lines = (line.as_py() for piece in _lines(path) for line in piece)
        first = islice(enumerate(lines, 1), max(rows))
        return {number: line for number, line in first if number in rows}
    delivered = "struct_pack(*COLUMNS(t.* EXCLUDE (file_row_number)))"
    numbered = f"SELECT file_row_number + 1, CAST(to_json({delivered}) AS VARCHAR)"
    parquet = "read_parquet(?, file_row_number=true, binary_as_string=true)"
    with closing(open_engine()) as connection:
        try:
            found = connection.execute(
                f"{numbered} FROM {parquet} t WHERE list_contains(?, file_row_number + 1)",
                [str(path), sorted(rows)],
            )
            return dict(found.fetchall())
        except duckdb.Error as error:
            raise BrokenFileError(str(error).splitlines()[0]) from error


def open_engine() -> duckdb.DuckDBPyConnection:
    """An engine for reading one file: bounded, in UTC, and silent on standard output."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": _MEMORY})
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
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
    """What to read from, one after the other."""
    if kind == "parquet":
        yield _PARQUET, [str(path)]
        return
    for piece in _lines(path):
        connection.register("lines", pa.table({"json": _exact(connection, piece)}))
        yield "lines", []


def _columns(connection: duckdb.DuckDBPyConnection, path: Path, kind: str) -> dict[str, str]:
    """For each column the expression of its text; of JSON the path of the member."""
    if kind == "json":
        is_now = path.stat()
        members = _members(path, is_now.st_size, is_now.st_mtime_ns)
        return {name: _member(parts) for name, parts in members.items()}
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
    if kind in ("float", "double"):
        # What data frames write for no value; `isnan` trusts the statistics, which leave it out.
        return f"nullif(CAST({value} AS VARCHAR), 'nan')"
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
        return pa.array([line for line in lines if line.strip()], pa.string())
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise BrokenFileError(f"a line is not UTF-8 ({error})") from error


def _exact(connection: duckdb.DuckDBPyConnection, lines: pa.Array) -> pa.Array:
    """The lines with numbers in quotes where the engine would lose digits of one.

    It reads numbers of JSON as binary floats, which hold any 15 digits and some of more: those
    that were floats before, as most long ones were. Digits count up to the 18th after the point.
    """
    connection.register("lines", pa.table({"json": lines, "place": np.arange(len(lines))}))
    lossy = connection.sql(_LOSSY).to_arrow_table().column("place").to_pylist()
    if not lossy:
        return lines
    texts = lines.to_pylist()
    for place in lossy:
        texts[place] = _quoted_numbers(texts[place])
    return pa.array(texts, pa.string())


def _quoted_numbers(line: str) -> str:
    """The line with its numbers as texts."""
    try:
        value = json.loads(line, parse_float=str, parse_int=str)
    except ValueError:
        return line  # it is refused when it is read
    return json.dumps(value, ensure_ascii=False)


@lru_cache(256)
def _members(path: Path, size: int, modified: int) -> dict[str, tuple[str, ...]]:
    """The members of all objects of a file by dotted name, in order of their appearance.

    Kept for a file of that size and time: finding them is as much work as reading it.
    """
    with closing(open_engine()) as connection:
        return _members_of(connection, path)


def _members_of(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, tuple[str, ...]]:
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
    path = "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in parts)
    literal = path.replace("'", "''")
    return f"'{literal}'"
