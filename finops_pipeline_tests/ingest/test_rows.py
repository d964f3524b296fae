"""Reading rows where stretches of a file meet, and rows of every size up to the longest."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.ingest import rows
from finops_pipeline.ingest.reading import Report, open_report, with_rows
from finops_pipeline.ingest.rows import LONGEST_LINE, CutOffError, NotWellFormedError, read_rows
from finops_pipeline_tests.normalize.pipeline import line

STRETCH = 1024 * 1024  # what is read at once
TEXT = "product/Description"
FIELDS = [v for k, v in line().items() if k != TEXT]
NAMES = [*(k for k in line() if k != TEXT), TEXT]
HEADER = ",".join(NAMES).encode() + b"\r\n"
START = ",".join(FIELDS).encode() + b","  # of a row; its text follows


def read(folder: Path, content: bytes) -> tuple[Report, list[tuple[int, str | None]]]:
    """A report as ingest opens it, and each row's number and text."""
    path = folder / "report.csv"
    path.write_bytes(content)
    report = open_report(path, raw_format("oci_cost_csv"))

    def use(tables: Iterator[pa.Table]) -> list[tuple[int, str | None]]:
        return [(r["report_row"], r["text"]) for t in tables for r in t.to_pylist()]

    columns = {"text": report.header.position(TEXT)}
    return report, with_rows(report, columns, folder / "spool", use)


def refuse(path: Path, width: int) -> bool:
    """Whether Arrow is not let read a file, so that it is read record by record."""
    try:
        list(read_rows(path, width, {"first": 0}))
    except NotWellFormedError:
        return True
    return False


def record(size: int, quoted: bool) -> bytes:
    """A row of so many bytes without its line end; quoted as densely as can be, or not."""
    free = size - len(START)
    if not quoted:
        return START + b"x" * free
    return START + b'"' + b'""' * ((free - 2) // 2) + b"y" * (free % 2) + b'"'


def text_of(row: bytes) -> str:
    [fields] = csv.reader(io.StringIO(row.decode(), newline=""), strict=True)
    return fields[-1]


def filled(size: int) -> Sequence[bytes]:
    """Good rows that fill so many bytes with their line ends, if it is enough for one."""
    short = START + b"\r\n"
    more, rest = divmod(size, len(short))
    return [START + b"z" * rest + b"\r\n", *[short] * (more - 1)] if more else []


@pytest.mark.parametrize(("meet", "broken"), [(STRETCH, b""), (4 * LONGEST_LINE, b"broken\r\n")])
@pytest.mark.parametrize("shift", [0, 1])
def test_a_line_break_in_quotes_where_stretches_meet(
    tmp_path: Path, meet: int, broken: bytes, shift: int
) -> None:
    """Also of the clean file that is written of a broken one, whose stretches are longer."""
    before = [record(STRETCH // 2, quoted=False)] * (meet // (STRETCH // 2) - 1)
    before.append(record(STRETCH // 2 - 10_000 + shift, quoted=False))
    breaks = "\r\n" * 10_000  # the stretch ends between two for one shift or the other
    rows = [*before, START + b'"' + breaks.encode() + b'"']
    report, found = read(tmp_path, HEADER + b"\r\n".join(rows) + b"\r\n" + broken)
    assert found[-1] == (len(rows), breaks)
    assert [number for number, _ in found] == list(range(1, len(rows) + 1))
    assert len(report.bad_rows) == bool(broken)


def test_a_header_that_fills_the_first_stretch(tmp_path: Path) -> None:
    header = HEADER.rstrip(b"\r\n") + b","
    header += b"x" * (STRETCH - len(header) - 2) + b"\r\n"
    _, found = read(tmp_path, header + START + b"one,\r\n" + START + b"two,\r\n")
    assert found == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("salvaged", [False, True])
@pytest.mark.parametrize("size", [STRETCH, STRETCH * 3 // 2, LONGEST_LINE])
def test_a_row_up_to_the_longest_is_read_wherever_it_lies(
    tmp_path: Path, size: int, salvaged: bool, quoted: bool
) -> None:
    csv.field_size_limit(4 * LONGEST_LINE)
    long = record(size, quoted)
    last = b"broken\r\n" if salvaged else b""
    refused = set()
    for before in (0, 3_000, STRETCH // 2, STRETCH - len(HEADER) - 1, STRETCH - len(HEADER)):
        rows = filled(before)
        content = HEADER + b"".join(rows) + long + b"\r\n" + START + b"end\r\n" + last
        report, found = read(tmp_path, content)
        number = len(rows) + 1
        assert found[number - 1] == (number, text_of(long))
        assert found[number:] == [(number + 1, "end")]
        assert [b.row for b in report.bad_rows] == ([number + 2] if salvaged else [])
        refused.add(refuse(report.path, report.header.width))
    if size == STRETCH * 3 // 2 and not salvaged:
        assert refused == {False, True}


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("size", [LONGEST_LINE + 1, LONGEST_LINE * 2])
def test_a_longer_row_is_rejected_wherever_it_lies(tmp_path: Path, size: int, quoted: bool) -> None:
    for before in (0, 3_000, STRETCH - len(HEADER) - 1, STRETCH - len(HEADER)):
        rows = filled(before)
        for end in (b"", b"\n", b"\r\n" + START + b"end\r\n"):
            content = HEADER + b"".join(rows) + record(size, quoted) + end
            report, found = read(tmp_path, gzip.compress(content, 1))
            number = len(rows) + 1
            [bad] = report.bad_rows
            assert (bad.row, bad.reason) == (number, "the row is longer than 2,097,152 bytes")
            rest = [number + 1] if len(end) > 2 else []
            assert [n for n, _ in found] == [*range(1, number), *rest]


WELL = b"1,2,3\n" * 100
WRONG = {
    "a short row": WELL + b"1,2\n" + WELL,
    "a short row at the beginning": b"1,2\n" + WELL,
    "a long row": WELL + b"1,2,3,4\n" + WELL,
    "a stray quote": WELL + b'1,"2"x,3\n' + WELL,
    "a quote that is not closed": WELL + b'1,"2,3\n' + WELL,
    "a carriage return": WELL + b"1,2\r,3\n" + WELL,
    "a zero byte": WELL + b"1,\0,3\n" + WELL,
    "no UTF-8": WELL + b"1,\xff,3\n" + WELL,
    "no UTF-8 at the end of a stretch": "1,é,3\n".encode() * 50 + b"1,\xc3,3\n" + WELL,
    "a line without an end": WELL + b"1," + b"x" * 500 + b",3\n" + WELL,
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[rows._Checked]:
    """Whatever was read, in small stretches: what Arrow was given to read from."""
    found: list[rows._Checked] = []

    class Noted(rows._Checked):
        def __init__(self, source: BinaryIO) -> None:
            super().__init__(source)
            self.given: list[bytes] = []
            found.append(self)

        def read(self, size: int = -1) -> bytes:
            self.given.append(super().read(size))
            return self.given[-1]

    monkeypatch.setattr(rows, "_Checked", Noted)
    monkeypatch.setattr(rows, "_STRETCH", 64)
    return found


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_when_arrow_has_come_to_the_end(
    tmp_path: Path, opened: list[Any], wrong: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"a,b,c\n" + WRONG[wrong])
    with pytest.raises(NotWellFormedError):
        list(read_rows(path, 3, {"a": 0, "b": 1}))
    assert opened[0].given[-1] == b""


def test_a_cut_off_report_is_told_when_arrow_has_come_to_the_end(
    tmp_path: Path, opened: list[Any]
) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,c\n" + WELL * 50)[:-9])
    with pytest.raises(CutOffError):
        list(read_rows(path, 3, {"a": 0}))
    assert opened[0].given[-1] == b""


def test_who_stops_early_lets_arrow_come_to_the_end(tmp_path: Path, opened: list[Any]) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"a,b,c\n" + WELL * 50)
    found = read_rows(path, 3, {"a": 0})
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert opened[0].given[-1] == b"" and len(opened[0].given) < 200


@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_of_what_is_wrong_waits_for_the_garbage_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    made: list[weakref.ref[rows._Checked]] = []

    class Noted(rows._Checked):
        def __init__(self, source: BinaryIO) -> None:
            super().__init__(source)
            made.append(weakref.ref(self))

    monkeypatch.setattr(rows, "_Checked", Noted)
    path = tmp_path / "r.csv"
    path.write_bytes(b"a,b,c\n" + WRONG[wrong])
    gc.collect()
    gc.disable()
    try:
        with suppress(NotWellFormedError):
            list(read_rows(path, 3, {"a": 0, "b": 1}))
        deadline = time.monotonic() + 10  # Arrow's own thread lets go a moment later
        while made[0]() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [found() for found in made] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("stretch", range(20, 40))
def test_characters_of_several_bytes_may_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(rows, "_STRETCH", stretch)
    texts = ["é", "€", "🎉", "é€🎉", "a🎉é"] * 3
    path = tmp_path / "r.csv"
    path.write_bytes(b"a,b\n" + "".join(f"1,{text}\n" for text in texts).encode())
    found = pa.concat_tables(read_rows(path, 2, {"b": 1}, ("b",)))
    assert found.column("b").to_pylist() == texts
