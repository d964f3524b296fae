"""Run again, in another order, with rewritten and touched reports: the same, or what it must be."""

from __future__ import annotations

import gzip
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline_tests.normalize.pipeline import (
    DELIVERED,
    Pipeline,
    assert_balanced,
    line,
    lines,
    report,
    shift,
)
from finops_pipeline_tests.normalize.test_csv_shapes import GOOD_SHAPES

REPORTS = {
    "0.csv.gz": lines(line(ref="a"), line(ref="b", cost="x"), line(ref="c", currency="EUR")),
    "1.csv.gz": lines(line(ref="a"), line(ref="d", cost="2", start="2026-09-08T10:00Z")),
    "2.csv": report([line(ref="c", cost="4", currency="EUR"), line(ref="e")]) + b"broken\r\n",
    "3.csv.gz": lines(line(ref="a", cost="9", **{"tags/t": "1"})),
    "4.csv.gz": lines(line(ref="f"))[:-9],
}


def delivered(folder: Path) -> Pipeline:
    pipeline = Pipeline(folder)
    for i, (name, content) in enumerate(REPORTS.items()):
        pipeline.deliver(name, content, shift(DELIVERED, i // 2))
    return pipeline


@pytest.mark.parametrize("seed", range(3))
def test_any_order_and_any_number_of_runs_give_the_same(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    whole = delivered(tmp_path / "whole").run()
    assert_balanced(whole)
    pipeline = delivered(tmp_path / "parts")
    names = list(REPORTS)
    chance.shuffle(names)
    while names:
        some, names = names[: (size := chance.randint(1, 2))], names[size:]
        pipeline.run(some)
    parts = pipeline.run()
    assert_balanced(parts)
    assert parts.focus.equals(whole.focus)
    assert parts.rejected == whole.rejected
    assert parts.superseded == whole.superseded
    assert parts.books == whole.books
    assert parts.ledger == whole.ledger
    assert whole.costs == {
        "a": Decimal(9), "c": Decimal(4), "d": Decimal(2), "e": Decimal("0.05"),
    }  # fmt: skip


def test_a_second_run_changes_no_byte_and_makes_no_version(tmp_path: Path) -> None:
    pipeline = delivered(tmp_path)
    pipeline.run()
    files, versions = pipeline.files(), pipeline.versions()
    pipeline.now += timedelta(days=1)
    again = pipeline.run()
    assert again.results == [] and again.ingested.archived == ()
    assert pipeline.files() == files
    assert pipeline.versions() == versions


def test_made_again_from_nothing_staged_the_bytes_are_the_same(tmp_path: Path) -> None:
    one, two = delivered(tmp_path / "1"), delivered(tmp_path / "2")
    one.run()
    two.run()
    parquet = [{n: b for n, b in p.files().items() if n.endswith(".parquet")} for p in (one, two)]
    assert parquet[0] == parquet[1]


def test_a_touched_report_changes_no_data(tmp_path: Path) -> None:
    pipeline = delivered(tmp_path)
    before = pipeline.run()
    files, versions = pipeline.files(), pipeline.versions()
    pipeline.now += timedelta(days=3)
    for name in REPORTS:
        pipeline.touch(name, shift(DELIVERED, 5))
    touched = pipeline.run()
    assert touched.results == []
    versions["reports"] += 1
    assert pipeline.versions() == versions
    data = {n: b for n, b in pipeline.files().items() if "lake/reports" not in n}
    assert data == {n: b for n, b in files.items() if "lake/reports" not in n}
    without_etag = [{k: v for k, v in e.items() if k != "etag"} for e in touched.ledger]
    assert without_etag == [{k: v for k, v in e.items() if k != "etag"} for e in before.ledger]
    pipeline.run()
    assert pipeline.versions() == versions


def test_a_charge_of_tomorrow_stays_where_it_is_when_touched_later(tmp_path: Path) -> None:
    # What may be a charge day depends on when the report was archived, not on when it is touched.
    pipeline = Pipeline(tmp_path)
    future = shift(pipeline.now.date(), 3).isoformat()
    soon = line(ref="soon", start=f"{future}T10:00Z", end=f"{future}T11:00Z")
    pipeline.deliver("a.csv", report([soon]), shift(DELIVERED, 1))
    first = pipeline.run()
    assert len(first.rejected) == 1
    pipeline.now += timedelta(days=5)
    pipeline.touch("a.csv", shift(DELIVERED, 2))
    second = pipeline.run()
    assert_balanced(second)
    assert second.rejected == first.rejected


def test_the_first_day_may_be_moved_to_and_fro(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    starts = {"a": "2026-08-31", "b": "2026-09-01", "c": "2026-09-09"}
    rows = [line(ref=r, cost="2", start=f"{day}T10:00Z", end=f"{day}T11:00Z")
            for r, day in starts.items()]  # fmt: skip
    pipeline.deliver("a.csv", report(rows))
    pipeline.deliver("b.csv", report([line(ref="d", start="2026-08-31T10:00Z")]))
    pipeline.run()
    pipeline.deliver("b.csv", report([line(ref="e", start="2026-09-01T10:00Z", cost="7")]))
    for first_day, kept in (
        (date(2026, 9, 1), {"b": 2, "c": 2, "e": 7}),
        (date(2026, 9, 2), {"c": 2}),
        (date(2026, 8, 1), {"a": 2, "b": 2, "c": 2, "e": 7}),
        (date(2026, 9, 12), {}),
        (date(2020, 1, 1), {"a": 2, "b": 2, "c": 2, "e": 7}),
    ):
        pipeline.first_day = first_day
        outcome = pipeline.run()
        assert_balanced(outcome)
        assert outcome.costs == kept
        assert {r["report_row"] for r in outcome.rejected if r["report"] == "a.csv"} == {
            n for n, ref in enumerate(starts, 1) if ref not in kept
        }
        assert pipeline.run().results == []


def test_a_rewritten_report_takes_the_place_of_what_it_was(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    first = lines(line(ref="a", cost="1"), line(ref="gone", cost="5", start="2026-09-07T10:00Z"))
    second = lines(line(ref="a", cost="2"), line(ref="new", cost="3"))
    pipeline.deliver("a.csv.gz", first)
    pipeline.run()
    for day, (content, costs) in enumerate(
        [(second, {"a": 2, "new": 3}), (first, {"a": 1, "gone": 5}), (second, {"a": 2, "new": 3})]
    ):
        pipeline.deliver("a.csv.gz", content, shift(DELIVERED, day))
        outcome = pipeline.run()
        assert_balanced(outcome)
        assert outcome.costs == costs
        again = pipeline.run()
        assert again.ingested.archived == () and again.results == []
    # Both versions count as delivered; the one that was replaced counts as superseded too.
    assert sum(b["delivered_rows"] for b in outcome.books) == 4
    assert sum(b["superseded_cost"] for b in outcome.books) == 6
    archived = [n for n in pipeline.files() if n.startswith("archive/")]
    assert len(archived) == 2


def test_a_renamed_copy_is_a_repeated_delivery(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("a.csv.gz", lines(line(ref="a", cost="1")))
    pipeline.deliver("copy/a.csv.gz", lines(line(ref="a", cost="1")))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.costs == {"a": Decimal(1)}
    assert [s["reason"] for s in outcome.superseded] == ["repeated"]


def test_many_shapes_at_once_are_read_as_each_alone(tmp_path: Path) -> None:
    # Many small reports are mapped in one pass; whatever shape they have must not show.
    pipeline = Pipeline(tmp_path)
    for i, content in enumerate(GOOD_SHAPES.values()):
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        for ref in (b"a", b"b", b"c"):
            plain = plain.replace(ref + b",ocid1.ten", ref + b"%d,ocid1.ten" % i)
            plain = plain.replace(b'"' + ref + b'","ocid1.ten', b'"' + ref + b'%d","ocid1.ten' % i)
        # Some are compressed and not named so, and the other way round.
        pipeline.deliver(f"{i}.csv" + ".gz" * (i % 2), gzip.compress(plain) if i % 3 else plain)
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.rejected == outcome.superseded == []
    found = sorted((c["x_Report"].split(".")[0], c["x_ReportRow"], c["x_ReferenceNumber"])
                   for c in outcome.charges)  # fmt: skip
    assert found == sorted(
        (str(i), row, f"{ref}{i}")
        for i in range(len(GOOD_SHAPES))
        for row, ref in enumerate("abc", 1)
    )


def test_no_report_at_all(tmp_path: Path) -> None:
    outcome = Pipeline(tmp_path).run()
    assert outcome.results == [] and outcome.charges == []
