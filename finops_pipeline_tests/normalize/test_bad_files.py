"""Reports that cannot be read at all: kept, named with a reason, and in nobody's way."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline_tests.normalize.pipeline import (
    COST_ROW,
    FOCUS_ROW,
    Outcome,
    Pipeline,
    assert_balanced,
    line,
    lines,
    report,
)

GOOD = lines(line(ref="good", cost="2"))
MANY = lines(*[line(ref=f"r{i}", **{"product/Description": f"{i**7 % 9973}"}) for i in range(3000)])
CUT_OFF = "damaged or ends too early"
CHANGED = CUT_OFF  # a reader sees that bytes are wrong, not which


def stored(text: bytes) -> bytes:
    """A gzip that holds its text as it is, so that a flipped bit in it is another text."""
    return gzip.compress(text, 0, mtime=0)


FLIPPED = stored(report([line(ref="good", cost="2")])).replace(b"E4 - OCPU", b"E5 - OCPU")
BAD = {
    # file: its bytes, what the problem says
    **{f"cut-{i:05}.csv.gz": (MANY[:i], CUT_OFF) for i in (2, 11, 200, len(MANY) // 2)},
    "cut-before-checksum.csv.gz": (MANY[:-8], CUT_OFF),
    "cut-last-byte.csv.gz": (MANY[:-1], CUT_OFF),
    "cut-small.csv.gz": (GOOD[:-12], CUT_OFF),
    "cut-second-member.csv.gz": (GOOD + gzip.compress(b"x" * 5000)[:-9], CUT_OFF),
    "flipped.csv.gz": (FLIPPED, CHANGED),
    "flipped-second-member.csv.gz": (GOOD + FLIPPED, CHANGED),
    "flipped-checksum.csv.gz": (GOOD[:-6] + bytes([GOOD[-6] ^ 1]) + GOOD[-5:], CHANGED),
    "flipped-length.csv.gz": (GOOD[:-1] + b"\x40", CHANGED),
    "html.csv.gz": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "a web page"),
    "html-one-line.csv.gz": (gzip.compress(b'"<html>' + b"x" * 300_000), "a web page"),
    "html-after-blanks.csv": (b"\xef\xbb\xbf\r\n\r\n  <html></html>", "a web page"),
    "json.csv": (b'{"code":"NotFound"}', "'lineItem/referenceNo' is missing"),
    "empty.csv": (b"", "the file is empty"),
    "empty.csv.gz": (gzip.compress(b""), "no header"),
    "nothing.csv.gz": (b"", "the file is empty"),
    "blank.csv": (b"\r\n\n\r\n", "no header"),
    "binary.csv": (bytes(range(256)) * 1000, "'lineItem/referenceNo' is missing"),
    "utf-16.csv": (report([COST_ROW]).decode().encode("utf-16"), "is missing"),
    "focus.csv": (report([FOCUS_ROW]), "expected a oci_cost_csv report"),
    "no-cost.csv": (
        report([{k: v for k, v in COST_ROW.items() if k != "cost/myCost"}]),
        "column 'cost/myCost' is missing",
    ),
    "repeated.csv": (
        report([COST_ROW]).replace(b"product/compartmentName", b"product/compartmentId"),
        "column 'product/compartmentId' stands more than once",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Outcome]:
    """All bad files, and a good one in the middle of them."""
    pipeline = Pipeline(tmp_path_factory.mktemp("files"))
    for name, (content, _) in BAD.items():
        pipeline.deliver(name, content)
    pipeline.deliver("good.csv.gz", GOOD)
    return pipeline, pipeline.run()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_kept(ran: tuple[Pipeline, Outcome], name: str) -> None:
    pipeline, outcome = ran
    content, problem = BAD[name]
    [entry] = [e for e in outcome.ledger if e["name"] == name]
    assert entry["status"] == "unreadable"
    assert problem in entry["problem"]
    assert str(pipeline.folder) not in entry["problem"]
    assert entry["rows"] == 0 and entry["totals"] == []
    assert (pipeline.home.path / "archive" / entry["archive_path"]).read_bytes() == content


def test_bad_files_block_nothing(ran: tuple[Pipeline, Outcome]) -> None:
    pipeline, outcome = ran
    assert_balanced(outcome)
    assert outcome.ingested.failed == ()
    assert {e.name for e in outcome.ingested.unreadable} == set(BAD)
    assert outcome.costs == {"good": Decimal(2)}
    assert outcome.rejected == []
    # Known as bad, they are not fetched again.
    assert pipeline.run().ingested.archived == ()


def test_a_header_alone_is_a_report_of_nothing(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("a.csv", report([], COST_ROW))
    pipeline.deliver("b.csv", report([], COST_ROW).rstrip())
    pipeline.deliver("c.csv.gz", gzip.compress(report([], COST_ROW)))
    outcome = pipeline.run()
    assert [(e["status"], e["rows"]) for e in outcome.ledger] == [("read", 0)] * 3
    assert outcome.charges == outcome.books == outcome.problems == []


def test_a_report_that_comes_whole_later_takes_the_place_of_its_half(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("a.csv.gz", GOOD[:-9])
    assert pipeline.run().charges == []
    pipeline.deliver("a.csv.gz", GOOD)
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.costs == {"good": Decimal(2)}


def test_the_last_good_data_stays_when_a_report_is_rewritten_badly(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("a.csv.gz", GOOD)
    before = pipeline.run()
    pipeline.deliver("a.csv.gz", lines(line(ref="good", cost="7"))[:-9])
    outcome = pipeline.run()
    assert [e.name for e in outcome.ingested.unreadable] == ["a.csv.gz"]
    assert_balanced(outcome)
    assert outcome.focus.equals(before.focus)


def test_an_archived_report_that_was_damaged_is_named_and_blocks_no_other_day(
    tmp_path: Path,
) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("a.csv.gz", GOOD)
    pipeline.deliver("b.csv", report([line(ref="b", start="2026-09-08T10:00Z")]))
    with pipeline.engine() as engine:
        pipeline.ingest(engine)
        [archived] = (pipeline.home.path / "archive").rglob("a.csv.gz")
        archived.write_bytes(archived.read_bytes()[:-9])
        results = pipeline.normalize(engine)
    outcome = pipeline.outcome(results=results)
    assert list(outcome.costs) == ["b"]
    [problem] = outcome.problems
    assert "a.csv.gz" in problem and "Restore it" in problem
    archived.unlink()
    assert "a.csv.gz" in pipeline.run().problems[0]
    archived.write_bytes(GOOD)
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert sorted(outcome.costs) == ["b", "good"]
