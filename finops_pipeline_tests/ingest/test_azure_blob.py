"""Blob Storage through the real SDK: Azurite behind a gate that throttles and breaks off."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContentSettings

from finops_pipeline.config import Source
from finops_pipeline.ingest.azure_blob import AzureBlobLocation, BlobRetry
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    ReportChanged,
    ReportDamaged,
)
from finops_pipeline_tests.servers.azurite import (
    ACCOUNT,
    KEY,
    Azurite,
    Gate,
    azurite,
    gate,
    is_installed,
)

pytestmark = pytest.mark.skipif(not is_installed(), reason="Azurite: `make azurite` installs it")

CONTAINER = "bills"


@pytest.fixture(scope="module")
def server() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


@pytest.fixture
def before(server: Azurite) -> Iterator[Gate]:
    with gate(server.endpoint) as running:
        yield running


@pytest.fixture(autouse=True)
def _signed(server: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", server.sas(CONTAINER))


def located(endpoint: str, prefix: str = "exports", attempts: int = 5) -> AzureBlobLocation:
    source = Source(
        name="acme-azure",
        format="focus",
        location=f"az://{ACCOUNT}/{CONTAINER}/{prefix}",
        endpoint=endpoint,
    )
    return AzureBlobLocation(source, retry=BlobRetry(attempts, pause=0, jitter=0))


def test_every_page_is_listed_and_only_what_may_be_a_report(server: Azurite, before: Gate) -> None:
    for number in range(7):
        server.put(CONTAINER, f"paged/part_{number}.csv.gz", b"x")
    server.put(CONTAINER, "paged/notes.txt", b"x")
    server.put(CONTAINER, "paged-too/part_0.csv", b"x")
    location = located(before.endpoint, "paged")
    before.page = 3
    names = [report.name for report in location.reports()]
    assert names == [f"paged/part_{number}.csv.gz" for number in range(7)]
    assert len(before.asked) > 1  # eight blobs below the prefix, three a page at most


def test_a_blob_comes_as_it_was_listed(server: Azurite, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # more than one range of 4 MiB
    server.put(CONTAINER, "whole/a.csv", content, hashlib.md5(content).digest())
    location = located(server.endpoint, "whole")
    (report,) = location.reports()
    assert report.size == len(content)
    assert report.md5 == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert report.delivered_at.tzinfo is not None
    fetched = fetch(location, report, tmp_path)
    assert fetched.path.read_bytes() == content


def test_a_body_cut_off_anywhere_goes_on_without_a_trace(
    server: Azurite, before: Gate, tmp_path: Path
) -> None:
    content = b"0123456789" * 900_000  # three ranges of 4 MiB
    server.put(CONTAINER, "cut/a.csv", content)
    location = located(before.endpoint, "cut")
    (report,) = location.reports()
    before.cut(0, 1_000_000, None, 17, None, 4_000)  # the SDK tries a range three times
    assert fetch(location, report, tmp_path).path.read_bytes() == content
    assert not before.cuts


@pytest.mark.parametrize("status", [429, 500, 503])
def test_throttling_is_waited_for_as_long_as_told(
    server: Azurite, before: Gate, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        "azure.core.pipeline.transport.HttpTransport.sleep",
        lambda _, seconds: waits.append(seconds),
    )
    server.put(CONTAINER, "busy/a.csv", b"a,b\n1,2\n")
    location = located(before.endpoint, "busy")
    before.fail(status, times=2, code="ServerBusy", Retry_After="7")
    (report,) = location.reports()
    before.fail(status, times=2, code="ServerBusy", Retry_After="3")
    assert fetch(location, report, tmp_path).path.read_bytes() == b"a,b\n1,2\n"
    assert waits == [7, 7, 3, 3]


def test_who_stays_busy_is_named(server: Azurite, before: Gate) -> None:
    server.put(CONTAINER, "busy/a.csv", b"x")
    before.fail(503, times=3, code="ServerBusy")
    with pytest.raises(LocationUnavailable, match=r"503 ServerBusy \(listing\).*all retries"):
        list(located(before.endpoint, "busy", attempts=2).reports())


def test_a_blob_that_changed_since_it_was_listed_is_not_taken(
    server: Azurite, tmp_path: Path
) -> None:
    server.put(CONTAINER, "moved/a.csv", b"old")
    location = located(server.endpoint, "moved")
    (report,) = location.reports()
    server.put(CONTAINER, "moved/a.csv", b"new")
    with pytest.raises(ReportChanged, match=r"moved/a\.csv.*Run again"):
        fetch(location, report, tmp_path)
    server.remove(CONTAINER, "moved/a.csv")
    with pytest.raises(ReportChanged, match="no longer has"):
        fetch(location, report, tmp_path)
    assert not list(tmp_path.iterdir())


def test_bytes_that_are_not_those_of_the_md5_are_not_taken(server: Azurite, tmp_path: Path) -> None:
    server.put(CONTAINER, "rotten/a.csv", b"good")
    blob = server.client.get_blob_client(CONTAINER, "rotten/a.csv")
    told = bytearray(hashlib.md5(b"other").digest())
    blob.set_http_headers(ContentSettings(content_md5=told))
    location = located(server.endpoint, "rotten")
    (report,) = location.reports()
    with pytest.raises(ReportDamaged, match="expected MD5"):
        fetch(location, report, tmp_path)


def test_a_signature_that_ran_out_is_a_refusal_without_the_signature(
    server: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.sas(CONTAINER, ends_in=timedelta(hours=-1))
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)
    with pytest.raises(AccessRefused, match="failed to authenticate") as refused:
        list(located(server.endpoint).reports())
    assert refused.value.status == 403
    assert token.rpartition("sig=")[2][:20] not in str(refused.value)


def test_a_signature_without_the_right_to_list_is_a_refusal(
    server: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", server.sas(CONTAINER, rights="r"))
    with pytest.raises(AccessRefused, match="AuthorizationPermissionMismatch"):
        list(located(server.endpoint).reports())


def test_a_container_that_is_not_there_is_a_refusal(
    server: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    source = Source(
        name="acme-azure",
        format="focus",
        location=f"az://{ACCOUNT}/absent",
        endpoint=server.endpoint,
    )
    with pytest.raises(AccessRefused, match="ContainerNotFound"):
        list(AzureBlobLocation(source).reports())


def test_a_connection_string_opens_its_own_account_only(
    server: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN")
    server.put(CONTAINER, "keyed/a.csv", b"x")
    told = f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={KEY}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", told)
    assert [r.name for r in located(server.endpoint, "keyed").reports()] == ["keyed/a.csv"]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName={ACCOUNT};X=1")
    with pytest.raises(CredentialsError, match="neither AccountKey nor"):
        located(server.endpoint)


def test_bills_do_not_travel_in_the_clear() -> None:
    with pytest.raises(IngestError, match="must be https"):
        located("http://blobs.example.com")


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocationUnavailable, match=r"127\.0\.0\.1:9.*no connection"):
        list(located("http://127.0.0.1:9/x", attempts=1).reports())
