"""Reading broken CSV record by record: what is a row, what is not, and where each ends."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from finops_pipeline.ingest.rows import LONGEST_LINE, CutOffError
from finops_pipeline.ingest.salvage import read_names, salvage


def salvaged(folder: Path, content: bytes, width: int = 3) -> tuple[list[list[str]], list[object]]:
    """The good rows without and with their numbers, and each bad one as number and reason."""
    path, clean = folder / "report.csv", folder / "clean.csv"
    path.write_bytes(content)
    bad = salvage(path, width, clean)
    with clean.open(encoding="utf-8", newline="") as file:
        good = list(csv.reader(file))[1:]
    return good, [(b.row, b.reason) for b in bad]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_rows_keep_their_numbers(tmp_path: Path, end: bytes) -> None:
    content = end.join([b"a,b,c", b"1,2,3", b"", b"x", b'4,"5,\n""5""",6', b"7,8,9,10", b"1,,"])
    good, bad = salvaged(tmp_path, content)
    assert good == [["1", "2", "3", "1"], ["4", '5,\n"5"', "6", "3"], ["1", "", "", "5"]]
    assert bad == [
        (2, "the row has 1 fields; the header has 3"),
        (4, "the row has 4 fields; the header has 3"),
    ]


def test_empty_fields_after_the_last_column_are_none(tmp_path: Path) -> None:
    good, bad = salvaged(tmp_path, b'a,b,c\n1,2,3,\n1,2,,"",\n1,2,"3\n3",\n1,2,3,,x\n1,2\n')
    assert good == [["1", "2", "3", "1"], ["1", "2", "", "2"], ["1", "2", "3\n3", "3"]]
    assert [row for row, _ in bad] == [4, 5]


def test_a_quote_that_is_not_closed_ends_with_its_row(tmp_path: Path) -> None:
    content = b'a,b,c\n1,"2,3\n4,5,6\n7,"8",9\n1,2,"3\n'
    good, bad = salvaged(tmp_path, content)
    assert [row[-1] for row in good] == ["2", "3"]
    assert bad == [(n, "a quote is opened and not closed") for n in (1, 4)]


@pytest.mark.parametrize("quoted", [b'"\r"', b'"\r\n,,,"', b'"x\n1,2,""3"""', b'"1,2,3\n4,5,6\n"'])
@pytest.mark.parametrize("after", [b",2,3,more", b",2,3,,more", b",2"])
def test_a_row_of_several_lines_and_of_the_wrong_width_is_one_row(
    tmp_path: Path, quoted: bytes, after: bytes
) -> None:
    lines = [b"a,b,c", quoted + b",2,3", quoted + after, quoted + b",5,6", b"7,8,9"]
    good, bad = salvaged(tmp_path, b"\r\n".join(lines))
    text = quoted[1:-1].replace(b'""', b'"').decode()
    assert good == [[text, "2", "3", "1"], [text, "5", "6", "3"], ["7", "8", "9", "4"]]
    width = len((b"1" + after).split(b","))
    assert bad == [(2, f"the row has {width} fields; the header has 3")]


@pytest.mark.parametrize("following", [b'"4","5","6"', b'",4","5","6"', b'4,5,"6"'])
def test_a_quote_that_is_not_closed_does_not_take_the_quotes_of_the_next_row(
    tmp_path: Path, following: bytes
) -> None:
    good, bad = salvaged(tmp_path, b'a,b,c\n"1","2","3\n' + following + b"\n7,8,9\n")
    assert [row[-1] for row in good] == ["2", "3"]
    assert bad == [(1, "a quote is opened and not closed")]


def test_a_header_of_two_lines_is_one_record(tmp_path: Path) -> None:
    good, bad = salvaged(tmp_path, b'\n\na,"b\nb",c\n1,2,3\nx\n')
    assert good == [["1", "2", "3", "1"]]
    assert len(bad) == 1


def test_fields_of_a_row_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_bytes(b"a,b,c\n1,\xff,3\n\xff\n")
    two, one = salvage(path, 3, tmp_path / "clean.csv")
    assert (two.fields, two.value) == (("1", "�", "3"), "1,\\xff,3")
    assert two.reason == "byte 3 of the row is not UTF-8"
    assert one.fields == ()


def test_the_longest_row_there_may_be(tmp_path: Path) -> None:
    longest = b"1,2," + b"x" * (LONGEST_LINE - 4)
    good, bad = salvaged(tmp_path, b"a,b,c\n" + longest + b"\n" + longest + b"x\n" + b"1,2,3\n")
    assert [row[-1] for row in good] == ["1", "3"]
    assert bad == [(2, f"the row is longer than {LONGEST_LINE:,} bytes")]


@pytest.mark.parametrize(
    ("content", "names", "plain"),
    [
        (b"a,b\n1,2\n", ["a", "b"], True),
        (b"\xef\xbb\xbfa,b\r\n", ["a", "b"], True),
        (b'"a","b"\r1,2', ["a", "b"], True),
        (b"a,b", ["a", "b"], True),
        (b"\r\n\na,b\n", ["a", "b"], False),
        (b"\xef\xbb\xbf\na,b\n", ["a", "b"], False),
        (b'a,"b"c\n', ["a", "bc"], False),
        (b'a,"b', ["a", "b"], False),
        (b'\xef\xbb\xbf"a","b, c"\n', ["a", "b, c"], True),
        (b'\xef\xbb\xbf"a, ""b""",c\n', ['a, "b"', "c"], False),
        (b'a,"b\nc"\n', ["a", "b\nc"], False),
        (b"", [], True),
        (b"\n\n", [], False),
    ],
)
def test_names(tmp_path: Path, content: bytes, names: list[str], plain: bool) -> None:
    for name, written in (("r.csv", content), ("r.csv.gz", gzip.compress(content))):
        path = tmp_path / name
        path.write_bytes(written)
        assert read_names(path) == (names, plain)


def test_a_header_without_end_is_read_in_bounds(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b'"' + b"x" * (3 * LONGEST_LINE))
    [name], _ = read_names(path)
    assert len(name) <= LONGEST_LINE + 1


@pytest.mark.parametrize("end", [-1, -8, -9, -20, 5])
def test_a_cut_off_report(tmp_path: Path, end: int) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,c\n" + b"1,2,3\n" * 100)[:end])
    with pytest.raises(CutOffError):
        salvage(path, 3, tmp_path / "clean.csv")
