"""What the ledger tells: columns that came or went, and closed months that moved, each once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from finops_pipeline.actuate.events import closed_month_moved, schema_drifted
from finops_pipeline.ingest.closing import closed_at, moved_months
from finops_pipeline.ingest.drift import drifts
from finops_pipeline.ingest.ledger import LedgerEntry, report_id
from finops_pipeline.ingest.totals import Total

START = datetime(2026, 3, 10, tzinfo=UTC)


def entry(
    name: str, cost: str = "1", *, days: int = 0, month: int = 3, columns: str = "a b"
) -> LedgerEntry:
    """A report delivered and archived some days after the tenth of March."""
    delivered = START + timedelta(days=days)
    return LedgerEntry(
        source="acme", delivery_day=delivered.date(), report_id=report_id("acme", name, cost),
        name=name, etag=cost, size=1, md5="", sha256=cost, delivered_at=delivered,
        archived_at=delivered + timedelta(hours=1), archive_path=name, format="aws_focus",
        status="read", problem=None, columns=tuple(columns.split()), rows=1, scopes=(),
        rounded_rows=0, totals=(Total(date(2026, month, 5), "USD", 1, Decimal(cost)),),
    )  # fmt: skip


def manifest(*members: LedgerEntry, days: int, version: str) -> LedgerEntry:
    return replace(
        entry(f"manifest-{version}", days=days), status="manifest", columns=(), rows=0, totals=(),
        delivery_scope="export/2026-03", members=tuple(m.report_id for m in members),
    )  # fmt: skip


def member(name: str, cost: str, days: int) -> LedgerEntry:
    return replace(entry(name, cost, days=days), delivery_scope="export/2026-03")


def test_a_month_of_aws_is_closed_two_weeks_after_its_end() -> None:
    assert closed_at(date(2026, 3, 1), "aws_focus") == datetime(2026, 4, 15, tzinfo=UTC)
    assert closed_at(date(2026, 12, 1), "oci_cost_csv") == datetime(2027, 1, 4, tzinfo=UTC)


def test_a_late_report_moves_a_closed_month_and_an_early_one_does_not() -> None:
    known = entry("first")
    early, late = entry("early", "5", days=20), entry("late", "-0.25", days=40)
    (moved,) = moved_months([late, early, known])
    assert (moved.report, moved.month, moved.rows) == ("late", date(2026, 3, 1), 1)
    assert moved.cost == Decimal("-0.25")
    event = closed_month_moved(moved)
    assert event.get_data() == {
        "month": "2026-03", "currency": "USD", "report": "late", "rows": 1, "cost": "-0.25",
    }  # fmt: skip


def test_a_report_that_is_written_again_moves_by_the_difference() -> None:
    (moved,) = moved_months([entry("same", "10"), entry("same", "10.5", days=60)])
    assert (moved.rows, moved.cost) == (0, Decimal("0.5"))
    assert moved_months([entry("same", "10"), entry("same", "10.0", days=60)]) == []


def test_a_newer_manifest_moves_by_what_it_adds_and_leaves_out() -> None:
    one, two, three = (
        member(n, c, d) for n, c, d in (("1", "4", 0), ("2", "3", 0), ("3", "2", 50))
    )
    first = manifest(one, two, days=0, version="1")
    second = manifest(one, three, days=50, version="2")
    (moved,) = moved_months([one, two, three, second, first])
    assert (moved.report, moved.rows, moved.cost) == ("manifest-2", 0, Decimal(-1))


def test_a_first_run_over_old_reports_finds_nothing() -> None:
    now = START + timedelta(days=400)
    old = [replace(entry(f"{i}", days=60 + i), archived_at=now) for i in range(3)]
    assert moved_months(old) == []


def test_each_column_that_comes_or_goes_is_told_once() -> None:
    reports = [
        entry("1", columns="a b tags/x"),
        entry("2", columns="a b tags/y", days=1),
        entry("3", columns="a c", days=2),
        entry("4", columns="a c", days=3),
        entry("5", columns="a b c", days=4),
        entry("6", columns="a", days=5),
    ]
    (drift,) = drifts(reversed(reports))
    assert (drift.report, drift.added, drift.removed) == ("3", ("c",), ("b",))
    assert schema_drifted(drift).get_data() == {"report": "3", "added": ["c"], "removed": ["b"]}
