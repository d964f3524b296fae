"""Adversarial bytes through `read_rows`, at stretches so small that one ends everywhere.

Whatever Arrow is let read, the salvaging reader and Python's csv must read alike; and what is
plainly well-formed it must be let read, or reports would silently be read slowly.
"""

from __future__ import annotations

import csv
import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finops_pipeline.ingest import rows, salvage
from finops_pipeline.ingest.rows import LONGEST_LINE, NotWellFormedError, read_rows
from finops_pipeline_tests.fuzz import plain
from finops_pipeline_tests.fuzz.report_strategies import MARK, encoded

Row = tuple[int, list[str | None]]

PIECES = st.sampled_from(
    [b"a", b"b7", b" ", b",", b",", b",", b'"', b'"', b'""', b'","', b'",', b',"', b"\n", b"\n",
     b"\r\n", b"\r\n", b"\r", b'"\n', b'\n"', b'"\r\n', b"\n\n", b"\r\n\r\n", b",,", b"\0", MARK,
     "é".encode(), "🎉".encode(), "\u2028".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80", b"x" * 30]
)  # fmt: skip
HEADERS = st.sampled_from([b"a,b", b'"a","b"', b'a,"b,c"', b"a", b"a,b,c", b'"a""",b'])
ENDS = st.sampled_from([b"\n", b"\r\n"])
STRETCHES = st.integers(4, 60)  # a byte-order mark and more


@contextmanager
def stretches_of(size: int) -> Iterator[None]:
    """Files are read so many bytes at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_STRETCH", size)
        yield


def numbered(path: Path, width: int, clean: bool = False) -> list[Row]:
    """All rows that Arrow reads, every field."""
    columns = {f"c{i}": i for i in range(width)}
    tables = read_rows(path, width, columns, tuple(columns)[1::2], clean)
    return [
        (number, list(fields))
        for table in tables
        for number, *fields in zip(
            table["report_row"].to_pylist(),
            *(table[name].to_pylist() for name in columns),
            strict=True,
        )
    ]


def salvaged(path: Path, width: int) -> tuple[list[Row], list[Row], int]:
    """What the salvaging reader gives, by Python's csv and by Arrow; how many rows it set aside."""
    clean = path.with_name("clean.csv")
    bad = salvage.salvage(path, width, clean)
    with clean.open(encoding="utf-8", newline="") as file:
        found = [(int(r[-1]), nulled(r[:-1])) for r in list(csv.reader(file))[1:]]
    numbers = sorted([n for n, _ in found] + [b.row for b in bad])
    assert numbers == list(range(1, len(numbers) + 1))
    return found, numbered(clean, width, clean=True), len(bad)


def nulled(fields: list[str]) -> list[str | None]:
    return [field or None for field in fields]


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(HEADERS, ENDS, st.lists(PIECES, max_size=40).map(b"".join), STRETCHES, st.booleans(),
       st.booleans())  # fmt: skip
@example(b"a,b", b"\n", b'1,"2""\n3"\r\n4,5', 9, False, False)
@example(b'"a","b"', b"\r\n", b'\xc3\xa9,""\r\n', 11, True, True)
def test_what_arrow_reads_others_read_alike(
    header: bytes, end: bytes, body: bytes, stretch: int, marked: bool, packed: bool
) -> None:
    content = (MARK if marked else b"") + header + end + body
    with tempfile.TemporaryDirectory() as folder, stretches_of(stretch):
        path = Path(folder) / "report.csv"
        path.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
        names, is_plain = salvage.read_names(path)
        others, again, bad = salvaged(path, len(names))
        assert again == others
        if not is_plain:  # as `with_rows` does
            return
        try:
            found = numbered(path, len(names))
        except NotWellFormedError:
            return
        assert (found, bad) == (others, 0)
        expected = plain.records(content, LONGEST_LINE)
        if expected is not None:
            assert found == [(n, nulled(record)) for n, record in enumerate(expected) if n]


FIELDS = st.lists(st.sampled_from(["a", ",", '"', "\n", "\r\n", " ", "é", "🎉"]), max_size=6).map(
    "".join
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    records=st.lists(st.lists(FIELDS, min_size=3, max_size=3), min_size=1, max_size=8),
    end=ENDS,
    marked=st.booleans(),
    quoted=st.booleans(),
    more=st.integers(0, 60),
    blank=st.integers(0, 2),
)
def test_what_is_well_formed_is_read_by_arrow(
    records: list[list[str]], end: bytes, marked: bool, quoted: bool, more: int, blank: int
) -> None:
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    lines = [encoded(record, quoting) for record in records]
    content = (MARK if marked else b"") + b"x,y,z" + end
    content += b"".join(one + end + end * blank for one in lines)
    longest = max(5, *map(len, lines)) + len(MARK) + (1 + blank) * len(end)
    with tempfile.TemporaryDirectory() as folder, stretches_of(longest + more):
        path = Path(folder) / "report.csv"
        path.write_bytes(content)
        assert numbered(path, 3) == [(n, nulled(r)) for n, r in enumerate(records, 1)]
