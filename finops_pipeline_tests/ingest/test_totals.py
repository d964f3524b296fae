"""Control totals: what a report's text says, counted per charge day and currency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.reading import UnreadableReport, open_report
from finops_pipeline.ingest.totals import Examination, Examiner, Total
from finops_pipeline_tests.normalize.pipeline import line, lines, report

DAY = date(2026, 9, 9)
DELIVERED = date(2026, 9, 10)
LAST = date(2026, 9, 11)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine("200MB") as opened:
        yield opened


def examined(engine: DuckDBEngine, folder: Path, content: bytes) -> Examination:
    path = folder / "report.csv"
    path.write_bytes(content)
    opened = open_report(path, raw_format("oci_cost_csv"))
    examiner = Examiner(engine, folder / "spool")
    key = examiner.add(opened, DELIVERED, LAST)
    return examiner.results()[key]


def test_by_day_and_currency(engine: DuckDBEngine, tmp_path: Path) -> None:
    rows = [
        line(cost="1.5"),
        line(cost="-0.25"),
        line(cost="2E-18"),
        line(cost="3", currency=" USD "),
        line(cost="4", currency="EUR"),
        line(cost="5", currency=""),
        line(cost="6", start="2026-09-08T23:59:59Z"),
        line(cost="7", start="2026-09-09T00:30:00+02:00"),
    ]
    found = examined(engine, tmp_path, report(rows))
    assert found.totals == (
        Total(date(2026, 9, 8), "USD", 2, Decimal(13)),
        Total(DAY, "", 1, Decimal(5)),
        Total(DAY, "EUR", 1, Decimal(4)),
        Total(DAY, "USD", 4, Decimal("4.250000000000000002")),
    )
    assert found.rows == 8
    assert found.scopes == ("ocid1.compartment.oc1..web",)


@pytest.mark.parametrize("start", ["", "soon", "2026-02-30T00:00Z", "2026-09-12T00:00Z",
                                   "9999-12-31T00:00Z"])  # fmt: skip
def test_no_possible_day_counts_on_the_delivery_day(
    engine: DuckDBEngine, tmp_path: Path, start: str
) -> None:
    found = examined(engine, tmp_path, report([line(start=start), line(start="2026-09-11")]))
    assert [(t.charge_day, t.rows) for t in found.totals] == [(DELIVERED, 1), (LAST, 1)]


def test_what_is_no_number_counts_as_zero(engine: DuckDBEngine, tmp_path: Path) -> None:
    costs = ["", "x", "1,000", "1_000", "9" * 20, "-" + "9" * 19, "1e30"] * 10
    found = examined(engine, tmp_path, report([line(cost=c) for c in [*costs, "1"]]))
    assert found.totals == (Total(DAY, "USD", 71, Decimal(1)),)


def test_sums_longer_than_28_digits(engine: DuckDBEngine, tmp_path: Path) -> None:
    cost = "999999999999.123456789012345678"
    found = examined(engine, tmp_path, report([line(cost=cost, ref=f"{i}") for i in range(7)]))
    assert found.totals[0].cost == Decimal("6999999999993.864197523086419746")


@pytest.mark.parametrize(
    ("cost", "rounded"),
    [
        ("0.123456789012345678", 0),
        ("0.1234567890123456780000", 0),
        ("0.1234567890123456781", 1),
        ("1E-18", 0),
        ("1E-19", 1),
        ("1.5e-18", 1),
        ("1234567.1234567890123456789E2", 0),
        ("1234567.1234567890123456789123E2", 1),
        ("12345678901234567890123", 0),
        ("x" * 30, 0),
    ],
)
def test_rounded_rows(engine: DuckDBEngine, tmp_path: Path, cost: str, rounded: int) -> None:
    found = examined(engine, tmp_path, report([line(cost=cost), line(cost="0.5")]))
    assert found.rounded_rows == rounded


def test_broken_rows_are_counted_too(engine: DuckDBEngine, tmp_path: Path) -> None:
    content = report([line(cost="2"), line(ref="\0", cost="3")]).replace(b"\0", b"\xff")
    found = examined(engine, tmp_path, content + b"short,row\r\n")
    assert found.totals == (
        Total(DAY, "USD", 2, Decimal(5)),
        Total(DELIVERED, "", 1, Decimal(0)),
    )


def test_cut_off(engine: DuckDBEngine, tmp_path: Path) -> None:
    content = lines(*(line(ref=str(i**5)) for i in range(2000)))
    with pytest.raises(UnreadableReport, match="download the report again"):
        examined(engine, tmp_path, content[:-100])
    assert list((tmp_path / "spool").glob("*")) == []
