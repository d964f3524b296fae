"""The ledger: which versions of a report stand, and what is known after opening it again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.contracts.tables import tables
from finops_pipeline.ingest.ledger import Ledger, LedgerEntry, report_id
from finops_pipeline.ingest.totals import Total
from finops_pipeline.lake.delta import LakeTable

T0 = datetime(2026, 9, 10, tzinfo=UTC)


def entry(
    name: str, content: str = "1", *, day: int = 0, archived: int = 0, status: str = "read"
) -> LedgerEntry:
    delivered = T0 + timedelta(days=day)
    return LedgerEntry(
        source="acme",
        delivery_day=delivered.date(),
        report_id=report_id("acme", name, content),
        name=name,
        etag=f"etag-{content}",
        size=10,
        md5="",
        sha256=content,
        delivered_at=delivered,
        archived_at=T0 + timedelta(hours=archived),
        archive_path=f"acme/{name}",
        format="oci_cost_csv",
        status=status,
        problem=None if status == "read" else "broken",
        columns=("a", "tags/é"),
        rows=2,
        scopes=("c1",),
        rounded_rows=0,
        totals=(
            Total(date(2026, 9, 8), "USD", 1, Decimal("-1.000000000000000001")),
            Total(date(2026, 9, 9), "", 1, Decimal("99999999999999999999.999999999999999999")),
        ),
    )


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    return LakeTable(tmp_path, tables()["reports"])


def test_what_is_recorded_is_known_after_opening_again(table: LakeTable) -> None:
    some = [entry("b", day=1), entry("a"), entry("c", status="unreadable")]
    ledger = Ledger(table, "acme")
    ledger.record(some)
    for known in (ledger, Ledger(table, "acme")):
        assert known.entries == [some[1], some[2], some[0]]
        assert known.live() == [some[1], some[0]]
        assert known.replaced() == []
        assert known.get(some[0].report_id) == some[0]
        assert known.knows("c", "etag-1") and not known.knows("c", "etag-2")
        assert known.entries[0].charge_days == {date(2026, 9, 8), date(2026, 9, 9)}
    assert Ledger(table, "other").entries == []
    assert not Ledger(table, "other").knows("a", "etag-1")


def test_one_commit_for_all_days_and_none_for_the_same(table: LakeTable) -> None:
    ledger = Ledger(table, "acme")
    ledger.record([entry("a")])
    version = table.version()
    ledger.record([entry("b", day=1), entry("c", day=2), entry("d")])
    assert table.version() == version + 1
    ledger.record([entry("b", day=1)])
    ledger.record([])
    assert table.version() == version + 1
    assert len(Ledger(table, "acme").entries) == 4


def test_sources_do_not_meet(table: LakeTable) -> None:
    Ledger(table, "one").record([entry("a")])
    Ledger(table, "two").record([entry("b"), entry("c", day=1)])
    Ledger(table, "one").record([entry("d")])
    assert [e.name for e in Ledger(table, "one").entries] == ["a", "d"]
    assert [e.name for e in Ledger(table, "two").entries] == ["b", "c"]


def test_the_version_archived_last_stands(table: LakeTable) -> None:
    ledger = Ledger(table, "acme")
    old, new = entry("a", "1", archived=1), entry("a", "2", day=3, archived=2)
    ledger.record([old, new])
    assert (ledger.live(), ledger.replaced()) == ([new], [old])
    # The place went back to what it had first, which keeps its first delivery day.
    back = entry("a", "1", archived=3)
    ledger.record([back])
    for known in (ledger, Ledger(table, "acme")):
        assert (known.live(), known.replaced()) == ([back], [new])
        assert known.knows("a", "etag-1") and not known.knows("a", "etag-2")


def test_an_unreadable_version_does_not_take_the_place_of_a_good_one(table: LakeTable) -> None:
    ledger = Ledger(table, "acme")
    good = entry("a", "1", archived=1)
    ledger.record([good, entry("a", "2", archived=2, status="unreadable")])
    assert (ledger.live(), ledger.replaced()) == ([good], [])
    assert ledger.knows("a", "etag-2") and not ledger.knows("a", "etag-1")
    better = entry("a", "3", archived=3)
    ledger.record([better])
    assert (ledger.live(), ledger.replaced()) == ([better], [good])


def test_identity_is_source_name_and_content() -> None:
    ids = {report_id(s, n, c) for s in "ab" for n in "ab" for c in "ab"}
    assert len(ids) == 8
    assert report_id("a", "b", "c") == report_id("a", "b", "c")
