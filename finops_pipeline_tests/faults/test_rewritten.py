"""A provider that rewrites an object under its name: what stands at the end, and what is rebuilt.

How a place and the ledger notice it is tested beside them (`ingest/`); here all the way through
the command, from the bucket to the events.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Source
from finops_pipeline_tests.cli.place import HEADER, Place, row
from finops_pipeline_tests.faults.reader import rows_of, unbalanced
from finops_pipeline_tests.ingest.conftest import _no_proxy_to_loopback, key, server, source
from finops_pipeline_tests.servers.oci_object_storage import ObjectStorageServer

__all__ = ["_no_proxy_to_loopback", "key", "server", "source"]

NAME = "reports/cost-csv/0001.csv.gz"
DELIVERED = datetime(2025, 1, 3, 12, tzinfo=UTC)
OLD = (row("1.5"), row("2.5", day="2025-01-03"))
NEW = (row("1.5"), row("7", day="2025-01-03"))
LONGER = (row("1.5"), row("7", day="2025-01-03"), row("8", day="2025-01-03", team="search"))


def content(*rows: str) -> bytes:
    """A report of these rows."""
    text = "".join(f"{line}\r\n" for line in (HEADER, *rows)).encode()
    return gzip.compress(text, mtime=0)


def run(place: Place, code: int = 0) -> dict[str, Any]:
    """`finops run`; what it says as JSON."""
    ran = place.finops("run", "--format", "json")
    assert ran.exit_code == code, ran.output
    assert unbalanced(place.folder / "home") == []
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def rebuilt(place: Place) -> list[str]:
    """The charge days that a run rebuilds."""
    days: list[str] = run(place)["rebuilt"].get("acme-oci", [])
    return days


def costs(place: Place) -> dict[str, Decimal]:
    """Billed cost by charge day."""
    found: dict[str, Decimal] = {}
    for line in rows_of(place.folder / "home", "allocated_costs"):
        day = str(line["x_ChargeDay"])
        found[day] = found.get(day, Decimal(0)) + line["BilledCost"]
    return found


def of_day(place: Place, day: str) -> set[str]:
    """The files of a charge day, over all tables that have it."""
    lake = place.folder / "home" / "lake"
    return {p.name for p in lake.rglob("*.parquet") if day in p.parent.as_posix()}


@pytest.fixture
def bucket(place: Place, server: ObjectStorageServer, source: Source) -> ObjectStorageServer:
    """A bucket with one report, and the settings of the place naming it."""
    told = source.model_dump(mode="json", exclude_none=True)
    place.configure(sources=[told], budgets=[{"name": "all", "amount": "8"}])
    server.put(NAME, content(*OLD), delivered_at=DELIVERED)
    assert rebuilt(place) == ["2025-01-02", "2025-01-03"]
    assert costs(place) == {"2025-01-02": Decimal("1.5"), "2025-01-03": Decimal("2.5")}
    return server


def test_another_content_and_back(place: Place, bucket: ObjectStorageServer) -> None:
    for rows, cost in ((NEW, "7"), (OLD, "2.5"), (NEW, "7")):
        bucket.put(NAME, content(*rows), delivered_at=DELIVERED)
        assert rebuilt(place) == ["2025-01-02", "2025-01-03"]
        assert costs(place) == {"2025-01-02": Decimal("1.5"), "2025-01-03": Decimal(cost)}
        assert rebuilt(place) == []
    # Half the budget was told with the first content, all of it with the second, neither again.
    events = (place.folder / "home" / "events.jsonl").read_text().splitlines()
    assert sorted(json.loads(e)["data"]["threshold"] for e in events) == ["100", "50", "80"]


def test_the_days_of_another_report_stay_untouched(
    place: Place, bucket: ObjectStorageServer
) -> None:
    bucket.put(
        NAME.replace("1.", "2."), content(row("4", day="2025-01-01")), delivered_at=DELIVERED
    )
    assert rebuilt(place) == ["2025-01-01"]
    held = of_day(place, "ay=2025-01-01")
    bucket.put(NAME, content(*NEW), delivered_at=DELIVERED)
    assert rebuilt(place) == ["2025-01-02", "2025-01-03"]
    # But for the budget, which counts the month so far, and comes later in it.
    assert of_day(place, "ay=2025-01-01") == held


def test_the_same_content_under_another_etag(place: Place, bucket: ObjectStorageServer) -> None:
    bucket.put(NAME, content(*OLD), delivered_at=DELIVERED)
    assert rebuilt(place) == []
    assert len(rows_of(place.folder / "home", "reports")) == 1


@pytest.mark.parametrize("rows", [NEW, LONGER], ids=["of the same size", "of another size"])
def test_another_content_under_the_same_etag(
    place: Place, bucket: ObjectStorageServer, rows: tuple[str, ...]
) -> None:
    before = bucket.find(NAME)
    assert before is not None
    stored = bucket.put(NAME, content(*rows), delivered_at=DELIVERED)
    bucket._objects[NAME] = replace(stored, etag=before.etag)
    assert rebuilt(place) == ["2025-01-02", "2025-01-03"]
    assert costs(place)["2025-01-03"] == (Decimal(7) if rows is NEW else Decimal(15))
    assert rebuilt(place) == []


def test_rewritten_between_listing_and_fetching(
    place: Place, bucket: ObjectStorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(NAME, content(*NEW), delivered_at=DELIVERED)

    def again() -> None:
        bucket.before_get = None
        bucket.put(NAME, content(*LONGER), delivered_at=DELIVERED)

    bucket.before_get = again
    assert rebuilt(place) == ["2025-01-02", "2025-01-03"]  # Dagster's retry lists again
    assert costs(place)["2025-01-03"] == Decimal(15)
    assert len(rows_of(place.folder / "home", "reports")) == 2
    assert rebuilt(place) == []


def test_a_file_that_is_rewritten_and_put_back(place: Place) -> None:
    path = place.deliver("a", *OLD)
    place.deliver("b", row("4", day="2025-01-01"))
    assert rebuilt(place) == ["2025-01-01", "2025-01-02", "2025-01-03"]
    for number, (rows, cost) in enumerate(((LONGER, "15"), (OLD, "2.5"))):
        place.deliver("a", *rows, on=date(2025, 1, 4 + number))
        assert rebuilt(place) == ["2025-01-02", "2025-01-03"]
        assert costs(place)["2025-01-03"] == Decimal(cost)
        assert costs(place)["2025-01-01"] == 4
        assert rebuilt(place) == []
    os.utime(path)
    assert rebuilt(place) == []


def test_a_file_that_grows_while_it_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place.deliver("a", *OLD)
    read = os.read

    def growing(descriptor: int, length: int) -> bytes:
        if not grown and Path(f"/proc/self/fd/{descriptor}").readlink() == path:
            grown.append(True)
            place.deliver("a", *LONGER)
        return read(descriptor, length)

    grown: list[bool] = []
    monkeypatch.setattr(os, "read", growing)
    assert rebuilt(place) == ["2025-01-02", "2025-01-03"]
    assert grown and costs(place)["2025-01-03"] == Decimal(15)
    assert len(rows_of(place.folder / "home", "reports")) == 1
