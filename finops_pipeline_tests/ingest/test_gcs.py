"""Cloud Storage through its own client against a server on loopback that behaves as it does."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest import gcs
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.gcp_service import Waits
from finops_pipeline.ingest.gcs import GcsLocation
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    LocationUnavailable,
    ReportChanged,
    ReportDamaged,
    open_location,
)
from finops_pipeline_tests.servers.google_api import Fault
from finops_pipeline_tests.servers.google_storage import CREATED, StorageServer

BRIEF = Waits(0.01, 0.02, 3.0)
CONTENT = bytes(range(256)) * 50


@pytest.fixture
def server() -> Iterator[StorageServer]:
    with StorageServer() as running:
        yield running


@pytest.fixture
def source(server: StorageServer, tmp_path: Path) -> Source:
    return Source(
        name="acme-gcp",
        format="gcp_detailed",
        location="gs://acme-billing-export/detailed",
        endpoint=server.endpoint,
        credentials_file=server.key_file(tmp_path),
    )


@pytest.fixture
def location(source: Source, monkeypatch: pytest.MonkeyPatch) -> GcsLocation:
    monkeypatch.setattr(gcs, "_PIECE", 5000)
    return GcsLocation(source, waits=BRIEF, page=2)


def test_pages_generations_and_what_is_no_report(
    server: StorageServer, location: GcsLocation
) -> None:
    for name in ("b.csv.gz", "a.parquet", "c.json", "deep/d.jsonl.gz", "e.txt", "deep/", "f.csv"):
        server.put(f"detailed/{name}", name.encode())
    server.put("detailed-2/g.csv", b"another prefix")
    listed = {r.name: r for r in location.reports()}
    assert list(listed) == [
        f"detailed/{n}" for n in ("a.parquet", "b.csv.gz", "c.json", "deep/d.jsonl.gz", "f.csv")
    ]
    report = listed["detailed/b.csv.gz"]
    assert report.etag == "1" and report.size == 8
    assert report.md5 == base64.b64encode(hashlib.md5(b"b.csv.gz").digest()).decode()
    assert report.delivered_at == CREATED + timedelta(seconds=1)
    assert len(server.asked("/b/acme-billing-export/o")) == 4


def test_a_report_in_pieces_whole_and_checked(
    server: StorageServer, location: GcsLocation, tmp_path: Path
) -> None:
    server.put("detailed/a.csv", CONTENT, composed=True)
    (report,) = location.reports()
    assert report.md5 is None
    fetched = fetch(location, report, tmp_path / "spool")
    assert fetched.path.read_bytes() == CONTENT
    ranges = [r.headers["Range"] for r in server.asked("/download/")]
    assert ranges == ["bytes=0-4999", "bytes=5000-9999", "bytes=10000-14999"]
    assert all(r.query["generation"] == "1" for r in server.asked("/download/"))


@pytest.mark.parametrize("cut", [0, 1, 4000])
def test_a_body_that_is_cut_off_leaves_no_trace(
    server: StorageServer, location: GcsLocation, tmp_path: Path, cut: int
) -> None:
    server.put("detailed/a.csv", CONTENT)
    (report,) = location.reports()
    server.faults.append(Fault("/download/", cut=cut, times=2))
    assert fetch(location, report, tmp_path / "spool").path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("where", ["-export/o", "/download/"])
def test_throttling_is_waited_out_as_asked(
    server: StorageServer,
    location: GcsLocation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    where: str,
) -> None:
    waited: list[float] = []
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda s: (waited.append(s), real(min(s, 0.01)))[0])
    server.put("detailed/a.csv", CONTENT)
    server.faults.append(Fault(where, status, "x", headers={"Retry-After": "7"}, times=2))
    (report,) = location.reports()
    assert fetch(location, report, tmp_path / "spool").path.read_bytes() == CONTENT
    assert waited.count(7.0) == 2


def test_a_service_that_stays_down(server: StorageServer, location: GcsLocation) -> None:
    server.faults.append(Fault("-export/o", 503, "backendError", "down for repair", times=10_000))
    location._service.retry = location._service.retry.with_timeout(0.2)
    with pytest.raises(LocationUnavailable, match=r"acme-gcp: gs://acme.*down for repair"):
        list(location.reports())


def test_a_report_rewritten_or_removed_after_it_was_listed(
    server: StorageServer, location: GcsLocation, tmp_path: Path
) -> None:
    server.put("detailed/a.csv", CONTENT)
    server.put("detailed/b.csv", CONTENT)
    first, second = location.reports()
    server.put("detailed/a.csv", CONTENT + b"more")
    del server.objects["detailed/b.csv"]
    for report in (first, second):
        with pytest.raises(ReportChanged, match="Run again"):
            fetch(location, report, tmp_path / "spool")
    (again,) = location.reports()
    assert again.etag == "3"


def test_a_wrong_checksum(server: StorageServer, location: GcsLocation, tmp_path: Path) -> None:
    server.put("detailed/a.csv", CONTENT, composed=True)
    (report,) = location.reports()
    server.objects["detailed/a.csv"].content = CONTENT[::-1]
    with pytest.raises(ReportDamaged, match="CRC32C"):
        fetch(location, report, tmp_path / "spool")
    assert list((tmp_path / "spool").iterdir()) == []


def test_expired_credentials(server: StorageServer, location: GcsLocation) -> None:
    server.expire()
    with pytest.raises(CredentialsError, match="gcloud auth application-default login") as caught:
        list(location.reports())
    assert "PRIVATE" not in str(caught.value)


def test_a_token_that_no_longer_holds_is_renewed(
    server: StorageServer, location: GcsLocation
) -> None:
    assert list(location.reports()) == []
    server.tokens.clear()
    assert list(location.reports()) == []


def test_permission_denied(server: StorageServer, location: GcsLocation) -> None:
    server.denied.add("storage.objects.list")
    with pytest.raises(AccessRefused, match=r"storage.objects.list") as caught:
        list(location.reports())
    assert (caught.value.status, caught.value.code) == (403, "forbidden")


def test_a_bucket_that_is_not_there(server: StorageServer, source: Source) -> None:
    elsewhere = source.model_copy(update={"location": "gs://other"})
    with pytest.raises(AccessRefused, match="does not exist"):
        list(GcsLocation(elsewhere, waits=BRIEF).reports())


def test_no_credentials_and_where_they_are_not_sent(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(CredentialsError, match="no credentials for gs://"):
        GcsLocation(source.model_copy(update={"credentials_file": None, "endpoint": None}))
    (tmp_path / "broken.json").write_text('{"private_key": "secret"')
    with pytest.raises(CredentialsError) as caught:
        GcsLocation(source.model_copy(update={"credentials_file": tmp_path / "broken.json"}))
    assert "secret" not in str(caught.value)
    with pytest.raises(CredentialsError, match="unencrypted"):
        GcsLocation(source.model_copy(update={"endpoint": "http://storage.example"}))


def test_the_location_opens_and_any_focus_data_may_lie_there(
    server: StorageServer, source: Source
) -> None:
    server.put("detailed/focus.csv", b"x")
    for name in ("gcp_detailed", "gcp_focus", "focus"):
        opened: Any = open_location(source.model_copy(update={"format": name}))
        assert [r.name for r in opened.reports()] == ["detailed/focus.csv"]


def test_an_emulator_needs_no_credentials(
    server: StorageServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.open = True
    server.put("detailed/a.csv", b"x")
    bare = source.model_copy(update={"credentials_file": None})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    assert len(list(GcsLocation(bare, waits=BRIEF).reports())) == 1
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.endpoint)
    named = bare.model_copy(update={"endpoint": None})
    assert len(list(GcsLocation(named, waits=BRIEF).reports())) == 1
    assert all("Authorization" not in r.headers for r in server.requests)
