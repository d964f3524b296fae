"""CSV in all the shapes that files have, and broken rows among good ones."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.reading import open_report, with_rows
from finops_pipeline_tests.normalize.pipeline import (
    COST_ROW,
    Outcome,
    Pipeline,
    assert_balanced,
    line,
    report,
)

HEAD, A, B, C = report([line(ref=ref) for ref in "abc"]).splitlines()
MARK = b"\xef\xbb\xbf"


def run(folder: Path, content: bytes, name: str = "shape.csv") -> Outcome:
    pipeline = Pipeline(folder)
    pipeline.deliver(name, content)
    outcome = pipeline.run()
    assert_balanced(outcome)
    return outcome


def described(text: str, ref: str = "odd") -> bytes:
    """A row with this raw text as its description, unescaped."""
    row = report([line(ref=ref, cost="7", **{"product/Description": "HERE"})]).splitlines()[1]
    return row.replace(b"HERE", text.encode())


def joined(*rows: bytes, end: bytes = b"\r\n") -> bytes:
    return b"".join(row + end for row in rows)


GOOD_SHAPES = {
    "CRLF": joined(HEAD, A, B, C),
    "LF": joined(HEAD, A, B, C, end=b"\n"),
    "CR": joined(HEAD, A, B, C, end=b"\r"),
    "no end after the last row": joined(HEAD, A, B, C).rstrip(),
    "no end after the last row, LF": joined(HEAD, A, B, C, end=b"\n").rstrip(),
    "mixed: CR last": HEAD + b"\r\n" + A + b"\n" + B + b"\n" + C + b"\r",
    "mixed: CR between": HEAD + b"\n" + A + b"\r" + B + b"\n" + C + b"\n",
    "mixed: CR between CRLF": HEAD + b"\r\n" + A + b"\r" + B + b"\r\n" + C + b"\r\n",
    "mixed: all three": HEAD + b"\r\n" + A + b"\n" + B + b"\r" + C + b"\r\n",
    "blank lines": joined(HEAD, b"", A, b"", b"", B, C, b"", b""),
    "blank lines at the top": joined(b"", b"", HEAD, A, B, C),
    "byte-order mark": MARK + joined(HEAD, A, B, C),
    "byte-order mark on a blank line": MARK + joined(b"", HEAD, A, B, C),
    "gzip in one": gzip.compress(joined(HEAD, A, B, C)),
    "gzip in members": b"".join(
        gzip.compress(joined(HEAD, A, B, C)[i : i + 100]) for i in range(0, 2000, 100)
    ),
    "everything quoted": joined(
        *(b'"' + row.replace(b",", b'","') + b'"' for row in (HEAD, A, B, C))
    ),
}


@pytest.mark.parametrize("shape", GOOD_SHAPES)
def test_every_shape_gives_the_same_rows(tmp_path: Path, shape: str) -> None:
    outcome = run(tmp_path, GOOD_SHAPES[shape])
    assert [(c["x_ReferenceNumber"], c["x_ReportRow"]) for c in outcome.charges] == [
        ("a", 1), ("b", 2), ("c", 3),
    ]  # fmt: skip
    assert all(c["SkuId"] == "B88514" and c["Tags"] == "{}" for c in outcome.charges)
    assert outcome.rejected == []


BROKEN_ROWS = {
    "short": (b"odd,x,2026-09-09T10:00Z", "the row has 3 fields; the header has 20"),
    "long": (described("x") + b",extra,more", "the row has 22 fields; the header has 20"),
    "blanks": (b"   ", "the row has 1 fields; the header has 20"),
    "quote not closed": (described('"disk'), "a quote is opened and not closed"),
    "too long": (described("D" * 30_000_000), "the row is longer than 2,097,152 bytes"),
    "too long in quotes": (
        described('"' + "D\n" * 1_500_000 + '"'),
        "the row is longer than 2,097,152 bytes",
    ),
    "two rows in one": (b"odd,1" + b"\r" + b"odd,2", "the row has 2 fields; the header has 20"),
}


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
@pytest.mark.parametrize("case", BROKEN_ROWS)
def test_a_broken_row_costs_itself_alone(tmp_path: Path, case: str, end: bytes) -> None:
    row, reason = BROKEN_ROWS[case]
    if case == "too long in quotes":
        row = row.replace(b"\n", end)
    content = joined(HEAD, A, row, B, b"", C, end=end)
    outcome = run(tmp_path, gzip.compress(content, 1), "a.csv.gz")
    assert list(outcome.costs) == ["a", "b", "c"]
    broken = outcome.rejected
    assert len(broken) == (2 if case == "two rows in one" else 1)
    assert {r["reason"] for r in broken} == {reason}
    assert broken[0]["report_row"] == 2
    assert broken[0]["column"] == "(whole row)"
    assert broken[0]["value"].startswith(row.decode().splitlines()[0][:200])
    assert len(broken[0]["value"]) <= 200
    assert [c["x_ReportRow"] for c in outcome.charges] == [1, 2 + len(broken), 3 + len(broken)]


@pytest.mark.parametrize("mark", [b"", MARK], ids=["plain", "marked"])
def test_broken_rows_at_both_ends_and_one_rejected_by_a_rule(tmp_path: Path, mark: bytes) -> None:
    bad = report([line(ref="bad", cost="much")]).splitlines()[1]
    outcome = run(tmp_path, mark + joined(HEAD, b"x", A, bad, B, C, b"y,y").rstrip())
    assert [(r["report_row"], r["column"], r["value"]) for r in outcome.rejected] == [
        (1, "(whole row)", "x"),
        (3, "cost/myCost", "much"),
        (6, "(whole row)", "y,y"),
    ]
    assert [c["x_ReportRow"] for c in outcome.charges] == [2, 4, 5]


def test_unclosed_quotes_do_not_swallow_each_other(tmp_path: Path) -> None:
    odd = [described('"x', f"odd-{i}") for i in range(3)]
    quoted = described('"fine, ""too"""', "quoted")
    outcome = run(tmp_path, joined(HEAD, A, odd[0], B, quoted, odd[1], odd[2], C))
    assert list(outcome.costs) == ["a", "b", "quoted", "c"]
    assert [r["report_row"] for r in outcome.rejected] == [2, 5, 6]


def test_a_row_that_is_not_utf_8_is_rejected_with_its_cost(tmp_path: Path) -> None:
    odd = described("M\x00ller").replace(b"\x00", b"\xfc")
    outcome = run(tmp_path, joined(HEAD, A, odd, B))
    [row] = outcome.rejected
    assert (row["report_row"], row["column"]) == (2, "(whole row)")
    assert f"byte {odd.index(0xFC) + 1} of the row is not UTF-8" in row["reason"]
    assert "M\\xfcller" in row["value"]
    assert (row["charge_day"].isoformat(), row["currency"], row["cost"]) == ("2026-09-09", "USD", 7)
    assert list(outcome.costs) == ["a", "b"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('"say ""hi"", then\nleave\r\nnow\rgone"', 'say "hi", then\nleave\r\nnow\rgone'),
        ('5" disk', '5" disk'),
        ('"disk"s', "disks"),
        ('""', None),
        ("NUL\0byte", "NUL\0byte"),
        ("'quoted'", "'quoted'"),
        ("back\\slash", "back\\slash"),
        ("# no comment", "# no comment"),
        ("NULL", "NULL"),
        ("日本語 🎉", "日本語 🎉"),
        (" blanks ", " blanks "),
        ("D" * 1_000_000, "D" * 1_000_000),
        ('5"' * 1_000_000, '5"' * 1_000_000),  # the salvaging reader writes it longer
    ],
    ids=lambda text: str(text)[:12],
)
def test_odd_text_is_kept_as_it_is(tmp_path: Path, raw: str, text: str | None) -> None:
    broken = b"short,row" if raw.startswith('5"5') else b""
    outcome = run(tmp_path, joined(HEAD, A, described(raw), B, broken))
    assert len(outcome.rejected) == bool(broken)
    assert list(outcome.costs) == ["a", "odd", "b"]
    assert outcome.charges[1]["ChargeDescription"] == text


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
@pytest.mark.parametrize(
    ("first", "key"),
    [(MARK + b'"tags/a,"', "a,"), (b'"tags/a"b', "ab"), (b'x,"tags/a"\'', "a'")],
    ids=["a comma after a mark", "text after a quote", "text after a later quote"],
)
def test_an_odd_header_costs_no_row(tmp_path: Path, first: bytes, key: str, end: bytes) -> None:
    more = b"," * (key == "a'")
    rows = joined(first + b"," + HEAD, more + b"x," + A, more + b"," + B, end=end)
    outcome = run(tmp_path, rows)
    assert list(outcome.costs) == ["a", "b"]
    assert [c["Tags"] for c in outcome.charges] == [f'{{"{key}":"x"}}', "{}"]


def test_column_names_in_any_case_and_with_odd_text(tmp_path: Path) -> None:
    head = HEAD.decode().upper().replace("COST/MYCOST", " cost/myCost ").split(",")
    out = io.StringIO(newline="")
    csv.writer(out).writerows([[*head, "two\nlines", 'a "quote"'], [*A.decode().split(","), 1, 2]])
    outcome = run(tmp_path, out.getvalue().encode())
    assert outcome.costs == {"a": Decimal("0.05")}
    assert outcome.charges[0]["x_OtherColumns"] == '{"two\\nlines":"1","a \\"quote\\"":"2"}'


FIELD = st.text(st.sampled_from('ab,"\r\n é\0\\'), max_size=8)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine("200MB") as opened:
        yield opened


@settings(max_examples=150, deadline=None)
@given(
    fields=st.lists(FIELD, min_size=1, max_size=6),
    broken=st.sets(st.integers(0, 5), max_size=2),
    end=st.sampled_from(["\r\n", "\n"]),
)
def test_whatever_text_is_quoted_comes_back(fields: list[str], broken: set[int], end: str) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(COST_ROW)
    for number, field in enumerate(fields):
        if number in broken:
            out.write("x,y" + end)
        writer.writerow(line(**{"product/Description": field}).values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.csv"
        path.write_bytes(out.getvalue().encode())
        opened = open_report(path, raw_format("oci_cost_csv"))
        found = with_rows(
            opened,
            {"text": list(COST_ROW).index("product/Description")},
            Path(folder),
            lambda tables: [row for table in tables for row in table.to_pylist()],
        )
    assert [row["text"] for row in found] == [field or None for field in fields]
    assert len(opened.bad_rows) == len([b for b in broken if b < len(fields)])
