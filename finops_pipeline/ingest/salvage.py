"""Reading a report that is not well-formed CSV everywhere: the good rows, and each bad one.

Only a report that the engine refuses comes here. Its records are read one by one; a record that
is too long, not UTF-8 or of the wrong width is set aside with its reason, all others are written
to a clean file with their original row numbers. So one broken row costs one row, not a report.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from finops_pipeline.engine.duckdb import LONGEST_LINE, is_gzip

_SHOWN = 200  # characters of a bad value that are kept


class CutOffError(Exception):
    """A compressed report whose end is missing or damaged."""


@dataclass(frozen=True)
class BadRow:
    """A record that is no row: its number (1 is the first after the header) and what is wrong.

    `fields` are its fields where they can be told apart, for the control totals; else empty.
    """

    row: int
    column: str
    value: str
    reason: str
    fields: tuple[str, ...]


def salvage(path: Path, width: int, clean: Path) -> list[BadRow]:
    """Write the good records of a report to `clean`, each with its row number; return the bad.

    The header is written as it is with one more field. Raises CutOffError.
    """
    bad = []
    with clean.open("w", encoding="utf-8", newline="") as target, _open(path) as source:
        writer = csv.writer(target)
        writer.writerow([f"c{i}" for i in range(width + 1)])
        for row, record in enumerate(_records(source)):
            if row == 0:
                continue
            parsed = _parse(row, record, width)
            if isinstance(parsed, BadRow):
                bad.append(parsed)
            else:
                writer.writerow([*parsed, row])
    return bad


def read_names(path: Path) -> list[str]:
    """The report's column names: its first record. Raises CutOffError; empty when it has none."""
    with _open(path) as source:
        first = next(_records(source), b"")
    text = first.decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(text, newline="")), [])


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if is_gzip(path) else path.open("rb")


def _records(source: BinaryIO) -> Iterator[bytes]:
    """The records of a CSV file as bytes; a line break inside quotes does not end one.

    A record longer than the longest line is given cut at that length.
    """
    record = bytearray()
    quotes = 0
    try:
        while piece := source.readline(LONGEST_LINE + 1):
            quotes += piece.count(b'"')
            if len(record) <= LONGEST_LINE:
                record += piece
            if piece.endswith(b"\n") and quotes % 2 == 0:
                if stripped := record.rstrip(b"\r\n"):
                    yield bytes(stripped)
                record, quotes = bytearray(), 0
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CutOffError(str(error)) from error
    if stripped := record.rstrip(b"\r\n"):
        yield bytes(stripped)


def _parse(row: int, record: bytes, width: int) -> list[str] | BadRow:
    shown = record[:_SHOWN].decode("utf-8", errors="replace")
    if len(record) > LONGEST_LINE:
        reason = f"the row is longer than {LONGEST_LINE:,} bytes"
        return BadRow(row, "(whole row)", shown, reason, ())
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        fields = _fields(record.decode("utf-8", errors="replace"))
        broken = record[max(0, error.start - 20) : error.end + 20]
        return BadRow(
            row,
            "(whole row)",
            broken.decode("utf-8", errors="backslashreplace"),
            f"byte {error.start + 1} of the row is not UTF-8",
            tuple(fields) if len(fields) == width else (),
        )
    fields = _fields(text)
    if len(fields) != width:
        reason = f"the row has {len(fields)} fields; the header has {width}"
        return BadRow(row, "(whole row)", shown, reason, ())
    return fields


def _fields(text: str) -> list[str]:
    csv.field_size_limit(LONGEST_LINE)
    return next(csv.reader(io.StringIO(text, newline="")), [])
