"""Reports in every shape, a folder of them through ingest and normalize: no row and no cent lost.

What must hold is asked of the lake's rows, and where a report is well-formed each row and amount
is compared with a second reading (`plain.py`).
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.rows import LONGEST_LINE
from finops_pipeline_tests.fuzz import examination, plain
from finops_pipeline_tests.fuzz.report_strategies import Made, reports
from finops_pipeline_tests.normalize.pipeline import (
    EXACT,
    Outcome,
    Pipeline,
    Row,
    assert_balanced,
    line,
    lines,
)

FORMATS: tuple[str, ...] = ("oci_cost_csv", "oci_focus")
STEADY = ("steady-1", "steady-2")  # the rows of a report that no other may disturb


@st.composite
def folders(draw: st.DrawFn) -> tuple[str, list[tuple[str, Made]]]:
    """One to four reports with a format and names."""
    format_ = draw(st.sampled_from(FORMATS))
    made = [
        (f"{i}.csv" + draw(st.sampled_from(["", ".gz"])), draw(reports(format_, f"r{i}")))
        for i in range(draw(st.integers(1, 4)))
    ]
    return format_, made


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(folders())
def test_every_row_and_cent_is_accounted_for(
    folder: tuple[str, list[tuple[str, Made]]],
) -> None:
    format_, made = folder
    with tempfile.TemporaryDirectory() as place:
        pipeline = Pipeline(Path(place), format_)
        for name, report in made:
            pipeline.deliver(name, report.content)
        pipeline.deliver("steady.csv.gz", lines(*(line(format_, ref=r, cost="2") for r in STEADY)))
        outcome = pipeline.run()
        assert_balanced(outcome)
        assert outcome.ingested.failed == ()
        assert_ledger_is_the_books(outcome)
        assert {outcome.costs[r] for r in STEADY} == {Decimal(2)}
        for name, report in made:
            assert_accounted(outcome, name, report, format_, place)


def assert_ledger_is_the_books(outcome: Outcome) -> None:
    """What the ledger counted by report is what the books say was delivered.

    The ledger tells early days as they are; the books have them where they are rejected.
    """
    delivered: plain.Sums = defaultdict(lambda: (0, Decimal(0)))
    for entry in outcome.ledger:
        assert entry["rows"] == sum(t["rows"] for t in entry["totals"])
        for t in entry["totals"]:
            early = t["charge_day"] < examination.WINDOW.first
            key = (entry["delivery_day"] if early else t["charge_day"], t["currency"])
            rows, cost = delivered[key]
            delivered[key] = (rows + t["rows"], EXACT.add(cost, t["cost"]))
    assert delivered == {
        (b["charge_day"], b["currency"]): (b["delivered_rows"], b["delivered_cost"])
        for b in outcome.books
    }


def assert_accounted(outcome: Outcome, name: str, made: Made, format_: str, place: str) -> None:
    """Every row of one report is a charge, superseded or rejected, with its own cost."""
    [entry] = [e for e in outcome.ledger if e["name"] == name]
    rows = rows_of(outcome, entry)
    assert sorted(rows) == list(range(1, entry["rows"] + 1))
    if entry["status"] == "unreadable":
        assert entry["rows"] == 0 and entry["problem"] and place not in entry["problem"]
        assert not made.whole
        return
    records = plain.records(made.content, LONGEST_LINE)
    if records is not None:
        raw = raw_format(format_)
        at = {role: plain.position(records[0], getattr(raw, role)) for role in ("start", "cost")}
        at["currency"] = plain.position(records[0], raw.currency)
        texts = [{role: r[p] for role, p in at.items()} for r in records[1:]]
        days = examination.WINDOW
        window = plain.Window(entry["delivery_day"], days.first, days.last)
        found = {(t["charge_day"], t["currency"]): (t["rows"], t["cost"]) for t in entry["totals"]}
        plain.assert_same(plain.as_kept(found, window), plain.sums(texts, window))
        for number, text in enumerate(texts, 1):
            cost = plain.cost_of(text["cost"])
            assert cost.is_nan() or rows[number] == cost, (number, text)
    kept = {
        c["x_ReferenceNumber"] for c in outcome.charges if c["x_ReportId"] == entry["report_id"]
    }
    superseded = {r["reference_number"] for r in outcome.superseded}
    assert made.good <= kept | superseded


def rows_of(outcome: Outcome, entry: Row) -> dict[int, Decimal]:
    """The cost of each accounted row of a report, by its number; no number stands twice."""
    own = entry["report_id"]
    found = [
        *((c["x_ReportRow"], c["BilledCost"]) for c in outcome.charges if c["x_ReportId"] == own),
        *((r["report_row"], r["cost"]) for r in outcome.superseded if r["report_id"] == own),
        *((r["report_row"], r["cost"]) for r in outcome.rejected if r["report_id"] == own),
    ]
    assert len({number for number, _ in found}) == len(found)
    return {number: cost or Decimal(0) for number, cost in found}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine("200MB") as opened:
        yield opened


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(format_=st.sampled_from(FORMATS), data=st.data())
def test_ingest_counts_every_report_as_a_second_reading_does(
    engine: DuckDBEngine, format_: str, data: st.DataObject
) -> None:
    assert_counted(engine, format_, data.draw(reports(format_)))


def test_a_row_of_two_lines_that_is_too_wide_takes_no_other_with_it(engine: DuckDBEngine) -> None:
    row = b'"\r",2026-09-01T10:00Z,2026-09-01T11:00Z,COMPUTE,0,USD,ocid1.tenancy.oc1..acme,'
    header = (
        b"x_new,lineItem/intervalUsageStart,lineItem/intervalUsageEnd,product/service,"
        b"cost/myCost,cost/currencyCode,lineItem/tenantId,lineItem/referenceNo,c0"
    )
    lines = [header, row + b"r-0,", row + b"r-0,,more", row + b"r-1,", b""]
    made = Made(b"\r\n".join(lines), True, frozenset({"r-0", "r-1"}))
    assert_counted(engine, "oci_cost_csv", made)


def assert_counted(engine: DuckDBEngine, format_: str, made: Made) -> None:
    """One report's totals are those of its rows, and its good rows are among them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.csv"
        path.write_bytes(made.content)
        found = examination.read(path, format_)
        if isinstance(found, str):
            assert not made.whole, found
            return
        examination.assert_totals(
            examination.totals(engine, path, format_), [*found.rows, *found.bad]
        )
        assert made.good <= {row["reference"] for row in found.rows}
