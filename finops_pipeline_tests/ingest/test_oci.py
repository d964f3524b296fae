"""Listing and reading an OCI bucket with the real SDK, against a server that can misbehave."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    AccessRefused,
    IngestError,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
    ReportDamaged,
    open_location,
)
from finops_pipeline.ingest.oci import OciLocation
from finops_pipeline_tests.ingest.conftest import DELIVERED, brief_retry
from finops_pipeline_tests.servers.oci_object_storage import TENANCY, ObjectStorageServer

NAME = "reports/cost-csv/0001.csv.gz"
BODY = bytes(range(256)) * 12_000  # Three pieces.


def put(server: ObjectStorageServer, location: OciLocation) -> RemoteReport:
    server.put(NAME, BODY, delivered_at=DELIVERED)
    return next(location.reports())


def read(location: OciLocation, report: RemoteReport) -> bytes:
    with location.stream(report) as pieces:
        return b"".join(pieces)


def test_every_page_is_listed_in_name_order(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    names = [f"reports/cost-csv/{i:05}.csv.gz" for i in range(2500)]
    for name in reversed(names):
        server.put(name, b"", delivered_at=DELIVERED)
    assert [report.name for report in location.reports()] == names
    assert server.count("list") == 3


def test_a_listed_report_carries_what_the_bucket_says(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    stored = server.put(NAME, b"abc", delivered_at=DELIVERED, created_at=DELIVERED - timedelta(9))
    assert list(location.reports()) == [RemoteReport(NAME, stored.etag, 3, stored.md5, DELIVERED)]


def test_only_reports_of_the_format_are_listed(server: ObjectStorageServer, source: Source) -> None:
    for name in (
        NAME,
        "reports/cost-csv/plain.csv",
        "reports/cost-csv/",
        "reports/cost-csv/manifest.json",
        "reports/usage-csv/0001.csv.gz",
        "FOCUS Reports/2026/03/04/0001-a b.csv.gz",
        "FOCUS Reports/2026/03/04/",
    ):
        server.put(name, b"x", delivered_at=DELIVERED)
    cost = open_location(source)
    focus = open_location(source.model_copy(update={"format": "oci_focus"}))
    assert [r.name for r in cost.reports()] == [NAME, "reports/cost-csv/plain.csv"]
    assert [r.name for r in focus.reports()] == ["FOCUS Reports/2026/03/04/0001-a b.csv.gz"]


def test_names_with_spaces_and_signs_are_read(server: ObjectStorageServer, source: Source) -> None:
    focus = OciLocation(source.model_copy(update={"format": "oci_focus"}), retry=brief_retry())
    for name in ("a b+c", "ü%20?", "x#y&z=1", "../up"):
        server.put(f"FOCUS Reports/2026/03/04/{name}.csv.gz", name.encode(), delivered_at=DELIVERED)
    found = {report.name: read(focus, report) for report in focus.reports()}
    assert len(found) == 4
    assert all(name.endswith(f"{body.decode()}.csv.gz") for name, body in found.items())


def test_a_body_comes_as_it_is_stored(server: ObjectStorageServer, location: OciLocation) -> None:
    # The server says `content-encoding: gzip`; a client that decodes would fail or change it.
    assert read(location, put(server, location)) == BODY
    assert server.seen[-1].headers["if-match"] == server.find(NAME).etag  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("status", "code"), [(429, "TooManyRequests"), (503, "ServiceUnavailable")]
)
def test_throttling_and_outages_are_waited_out(
    server: ObjectStorageServer, location: OciLocation, status: int, code: str
) -> None:
    server.fail(status, code, times=3)
    report = put(server, location)
    server.fail(status, code, times=3)
    assert read(location, report) == BODY
    assert [r.status for r in server.seen] == [*[status] * 3, 200, *[status] * 3, 200]


def test_a_lasting_outage_is_told(server: ObjectStorageServer, location: OciLocation) -> None:
    server.fail(503, "ServiceUnavailable")
    with pytest.raises(LocationUnavailable, match=r"acme-oci: oci://bling/.* 503 .*Run again"):
        list(location.reports())
    assert len(server.seen) == 4


def test_an_open_breaker_is_told_and_spares_the_service(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    server.fail(500, "InternalServerError")
    messages = []
    for _ in range(4):
        with pytest.raises(LocationUnavailable) as caught:
            list(location.reports())
        messages.append(str(caught.value))
    assert "left alone for half a minute" in messages[-1]
    assert len(server.seen) == 10


def test_one_sources_breaker_does_not_stop_another(
    server: ObjectStorageServer, source: Source, location: OciLocation
) -> None:
    server.fail(500, "InternalServerError", times=10)
    for _ in range(3):
        with pytest.raises(LocationUnavailable):
            list(location.reports())
    other = OciLocation(source.model_copy(update={"name": "other"}), retry=brief_retry())
    assert list(other.reports()) == []


@pytest.mark.parametrize("operation", ["list", "get"])
def test_a_reset_connection_is_tried_again(
    server: ObjectStorageServer, location: OciLocation, operation: str
) -> None:
    server.reset_connection(times=2, operation=operation)
    assert read(location, put(server, location)) == BODY


def test_a_cut_listing_is_asked_for_again(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    server.cut_body(after=20, times=2, operation="list")
    assert put(server, location).name == NAME
    assert server.count("list") == 3


@pytest.mark.parametrize("after", [0, 1, 1_000_000, 1 << 20, len(BODY) - 1])
def test_a_cut_body_goes_on_where_it_broke(
    server: ObjectStorageServer, location: OciLocation, after: int
) -> None:
    report = put(server, location)
    server.cut_body(after=after)
    assert read(location, report) == BODY
    resumed = server.seen[-1].headers
    assert resumed.get("range") == (f"bytes={after}-" if after else None)
    assert resumed["if-match"] == report.etag


def test_a_body_that_ends_early_without_an_error_is_noticed(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    server.end_body_early(after=1000)
    assert read(location, report) == BODY


def test_a_body_that_is_always_cut_is_given_up(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    server.cut_body(after=0, times=100)
    with pytest.raises(LocationUnavailable, match=r"0001\.csv\.gz.*cut off after 0 of 3072000"):
        read(location, report)
    assert server.count("get") == 4


def test_a_body_is_not_patched_from_an_answer_that_starts_again(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    server.cut_body(after=1000)
    server.ignores_ranges = True
    with pytest.raises(ReportDamaged, match=r"0001\.csv\.gz broke off after 1000 of 3072000"):
        read(location, report)


def test_a_silent_server_is_not_waited_for_forever(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    server.delay(8, operation="get")
    started = time.monotonic()
    assert read(location, report) == BODY
    assert time.monotonic() - started < 8


def test_a_report_rewritten_after_listing_is_not_mixed_up(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    server.put(NAME, BODY[::-1], delivered_at=DELIVERED)
    with pytest.raises(ReportChanged, match=r"0001\.csv\.gz.*rewritten or removed"):
        read(location, report)


def test_a_report_rewritten_between_two_halves_is_not_mixed_up(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    server.cut_body(after=1 << 20)
    with pytest.raises(ReportChanged), location.stream(report) as pieces:
        for _ in pieces:
            server.put(NAME, BODY[::-1], delivered_at=DELIVERED)


def test_a_removed_report_is_told(server: ObjectStorageServer, location: OciLocation) -> None:
    report = put(server, location)
    server.delete(NAME)
    with pytest.raises(ReportChanged, match="ObjectNotFound"):
        read(location, report)


def test_a_refusal_carries_the_services_words(source: Source) -> None:
    wrong = source.model_copy(update={"location": "oci://bling/ocid1.tenancy.oc1..other"})
    with pytest.raises(
        AccessRefused, match=r"404 BucketNotFound.*opc-request-id.*finops doctor"
    ) as e:
        list(OciLocation(wrong, retry=brief_retry()).reports())
    assert (e.value.status, e.value.code) == (404, "BucketNotFound")


def test_a_portal_is_not_taken_for_an_empty_bucket(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    server.answer_as_a_portal()
    with pytest.raises(LocationUnavailable, match="not as Object Storage does"):
        list(location.reports())


def test_nobody_there_is_told_with_the_address(server: ObjectStorageServer, source: Source) -> None:
    gone = source.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(LocationUnavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
        list(OciLocation(gone, retry=brief_retry()).reports())


@pytest.mark.parametrize("location", ["oci://bling", "oci://bling/", "oci:///b", "oci://n/b/c"])
def test_a_location_of_another_form_is_refused(source: Source, location: str) -> None:
    with pytest.raises(IngestError, match=r"must be oci://<namespace>/<bucket>"):
        open_location(source.model_copy(update={"location": location}))


def test_plain_http_is_for_loopback_only(source: Source) -> None:
    with pytest.raises(IngestError, match="must be https"):
        open_location(source.model_copy(update={"endpoint": "http://storage.example"}))


def test_reading_holds_one_piece_at_a_time(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    report = put(server, location)
    with location.stream(report) as pieces:
        assert max(len(piece) for piece in pieces) <= 1 << 20


def test_a_year_of_reports_is_listed_in_seconds(
    server: ObjectStorageServer, location: OciLocation
) -> None:
    for i in range(6_000):
        server.put(f"reports/cost-csv/{i:05}.csv.gz", b"", delivered_at=DELIVERED)
    started = time.monotonic()
    assert sum(1 for _ in location.reports()) == 6_000
    assert time.monotonic() - started < 10
    assert TENANCY in server.seen[-1].path
