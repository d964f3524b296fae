"""BigQuery through its own client against a server on loopback that behaves as it does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.bigquery import BigQueryLocation
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.gcp_service import Waits
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    ReportChanged,
    open_location,
)
from finops_pipeline_tests.normalize.gcp_rows import row
from finops_pipeline_tests.servers.google_api import Fault
from finops_pipeline_tests.servers.google_bigquery import BigQueryServer

BRIEF = Waits(0.01, 0.02, 3.0)
TABLE = "gcp_billing_export_resource_v1_012345_ABCDEF_678901"
AUGUST = [
    row(cost=n / 10, invoice={"month": "202608"}, export_time=f"2026-08-{n:02} 10:00:00 UTC")
    for n in range(1, 12)
]
SEPTEMBER = [row(cost=0.25), row(), row()]


@pytest.fixture
def server() -> Iterator[BigQueryServer]:
    with BigQueryServer() as running:
        running.tables = {TABLE: [*SEPTEMBER, *AUGUST], "z": [], "a": [], "cloud_pricing": []}
        yield running


@pytest.fixture
def source(server: BigQueryServer, tmp_path: Path) -> Source:
    return Source(
        name="acme-gcp",
        format="gcp_detailed",
        location="bigquery://acme-billing/billing",
        endpoint=server.endpoint,
        credentials_file=server.key_file(tmp_path),
    )


@pytest.fixture
def location(source: Source) -> BigQueryLocation:
    return BigQueryLocation(source, waits=BRIEF, page=4)


def test_months_of_the_tables_that_are_named_as_exports(
    server: BigQueryServer, location: BigQueryLocation
) -> None:
    august, september = location.reports()
    assert august.name == f"{TABLE}/2026-08.jsonl"
    assert august.delivered_at == datetime(2026, 8, 11, 10, tzinfo=UTC)
    assert august.etag.endswith("-11") and september.etag.endswith("-3")
    assert august.size is august.md5 is None
    assert september.delivered_at == datetime(2026, 9, 9, 15, 31, 7, 123456, tzinfo=UTC)
    assert len(server.asked("/tables")) == 2


def test_a_month_page_by_page_in_the_order_of_its_text(
    server: BigQueryServer, location: BigQueryLocation, tmp_path: Path
) -> None:
    august, _ = location.reports()
    first = fetch(location, august, tmp_path / "spool")
    lines = first.path.read_text(encoding="utf-8").splitlines()
    assert lines == sorted(json.dumps(r) for r in AUGUST)
    pages = [r.query["pageToken"] for r in server.asked("/queries/") if "pageToken" in r.query]
    assert pages == ["4", "8"]
    server.tables[TABLE].reverse()
    again = fetch(location, august, tmp_path / "spool")
    assert again.sha256 == first.sha256


def test_late_rows_change_their_month_alone(
    server: BigQueryServer, location: BigQueryLocation, tmp_path: Path
) -> None:
    before = {r.name: r for r in location.reports()}
    server.tables[TABLE].append(AUGUST[0] | {"export_time": "2026-09-12 10:00:00 UTC"})
    after = {r.name: r for r in location.reports()}
    changed = [name for name in after if after[name] != before[name]]
    assert changed == [f"{TABLE}/2026-08.jsonl"]
    with pytest.raises(ReportChanged, match="Run again"):
        fetch(location, before[changed[0]], tmp_path / "spool")
    fetched = fetch(location, after[changed[0]], tmp_path / "spool")
    assert len(fetched.path.read_bytes().splitlines()) == 12


@pytest.mark.parametrize(("status", "reason"), [(429, "rateLimitExceeded"), (503, "backendError")])
@pytest.mark.parametrize("where", ["/jobs", "/queries/", "/tables"])
def test_throttling_is_waited_out_as_asked(
    server: BigQueryServer,
    location: BigQueryLocation,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    reason: str,
    where: str,
) -> None:
    waited: list[float] = []
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda s: (waited.append(s), real(min(s, 0.01)))[0])
    server.faults.append(Fault(where, status, reason, headers={"Retry-After": "5"}, times=2))
    assert len(list(location.reports())) == 2
    assert waited.count(5.0) == 2


@pytest.mark.parametrize("cut", [0, 100])
def test_an_answer_that_is_cut_off_is_asked_for_again(
    server: BigQueryServer, location: BigQueryLocation, tmp_path: Path, cut: int
) -> None:
    august, _ = location.reports()
    server.faults.append(Fault("/queries/", cut=cut, times=2))
    fetched = fetch(location, august, tmp_path / "spool")
    assert len(fetched.path.read_bytes().splitlines()) == 11


def test_a_service_that_stays_down(server: BigQueryServer, location: BigQueryLocation) -> None:
    server.faults.append(Fault("/tables", 503, "backendError", "down", times=10_000))
    location._service.retry = location._service.retry.with_timeout(0.2)
    with pytest.raises(LocationUnavailable, match=r"acme-gcp: bigquery://.*down"):
        list(location.reports())


def test_expired_credentials(server: BigQueryServer, location: BigQueryLocation) -> None:
    server.expire()
    with pytest.raises(CredentialsError, match="gcloud auth application-default login"):
        list(location.reports())


@pytest.mark.parametrize(
    "permission", ["bigquery.tables.list", "bigquery.jobs.create", "bigquery.tables.getData"]
)
def test_permission_denied(
    server: BigQueryServer, location: BigQueryLocation, permission: str
) -> None:
    server.denied.add(permission)
    with pytest.raises(AccessRefused, match=permission) as caught:
        list(location.reports())
    assert (caught.value.status, caught.value.code) == (403, "accessDenied")


def test_tables_that_are_not_there(server: BigQueryServer, source: Source) -> None:
    named = source.model_copy(update={"location": "bigquery://acme-billing/billing/none"})
    with pytest.raises(AccessRefused, match=r"Not found: Table acme-billing:billing.none"):
        list(open_location(named).reports())
    del server.tables[TABLE]
    with pytest.raises(IngestError, match="no table named gcp_billing_export_resource_v1_"):
        list(open_location(source).reports())


def test_names_are_never_taken_into_a_query(source: Source) -> None:
    evil = source.model_copy(update={"location": "bigquery://acme-billing/billing/x` WHERE 1=1"})
    with pytest.raises(IngestError, match="with the names that BigQuery allows"):
        open_location(evil)


def test_rows_without_an_invoice_month_and_focus_exports(
    server: BigQueryServer, source: Source
) -> None:
    server.tables = {"t": [row(invoice={"month": None})], "gcp_billing_export_focus_1": []}
    table = source.model_copy(update={"location": "bigquery://acme-billing/billing/t"})
    (report,) = open_location(table).reports()
    assert report.name == "t/0000-00.jsonl"
    server.tables["gcp_billing_export_focus_1"] = [
        {"BillingPeriodStart": "2026-09-01T07:00:00Z", "x_ExportTime": "2026-09-09T01:00:00Z"}
    ]
    (report,) = open_location(source.model_copy(update={"format": "gcp_focus"})).reports()
    assert report.name == "gcp_billing_export_focus_1/2026-09.jsonl"


def test_a_month_that_google_deletes_from_is_left_as_it_is_known(
    server: BigQueryServer, source: Source
) -> None:
    """After two years rows go; a month read again by then would lose what is known of it."""
    months = ("2024-08", "2024-09", "2024-10", "2026-08", "2026-09")
    rows = [
        {"BillingPeriodStart": f"{m}-01T07:00:00Z", "x_ExportTime": f"{m}-09T01:00:00Z"}
        for m in months
    ]
    server.tables = {"gcp_billing_export_focus_1": rows}
    server.dataset = "gcp_billing_immutable_1_eu"
    location = {"format": "gcp_focus", "location": f"bigquery://acme-billing/{server.dataset}"}
    names = [r.name[-13:-6] for r in open_location(source.model_copy(update=location)).reports()]
    assert names == ["2024-10", "2026-08", "2026-09"]
    server.dataset = "copies"
    location["location"] = "bigquery://acme-billing/copies"
    assert len(list(open_location(source.model_copy(update=location)).reports())) == 5
