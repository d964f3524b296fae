"""The S3 place through boto3 against a server on loopback: pages, failures, cut streams, rights."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest import aws
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
    ReportDamaged,
)
from finops_pipeline.ingest.s3 import S3Location
from finops_pipeline_tests.servers.aws import Aws, aws_server

CONTENT = hashlib.sha256(b"bills").digest() * 10_000  # 320 kB that do not repeat within a piece


@pytest.fixture(scope="module")
def running() -> Iterator[Aws]:
    with aws_server() as server:
        yield server


@pytest.fixture
def server(running: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    running.forget()
    return running


def _place(server: Aws, bucket: str, prefix: str = "", **more: object) -> S3Location:
    source = Source(
        name="any", format="focus", location=f"s3://{bucket}/{prefix}", endpoint=server.endpoint
    )
    return S3Location(source.model_copy(update=more), attempts=4)


def _one(server: Aws, content: bytes = CONTENT) -> tuple[str, S3Location, RemoteReport]:
    bucket = server.bucket()
    server.put(bucket, {"focus.csv": content})
    place = _place(server, bucket)
    (report,) = place.reports()
    return bucket, place, report


def _read(place: S3Location, report: RemoteReport) -> bytes:
    with place.stream(report) as pieces:
        return b"".join(pieces)


def test_all_pages_are_listed_in_order_and_only_below_the_prefix(server: Aws) -> None:
    bucket = server.bucket()
    names = [f"bills/{i:04}.csv" for i in range(11)]
    server.put(bucket, dict.fromkeys([*names, "bills-of-others/1.csv", "bills/read.me"], b"x"))
    server.page_size = 4
    found = list(_place(server, bucket, "bills").reports())
    assert [r.name for r in found] == names
    assert len(server.asked("ListObjectsV2")) == 3
    assert all(r.size == 1 and r.etag.strip('"') == hashlib.md5(b"x").hexdigest() for r in found)


@pytest.mark.parametrize(
    ("status", "code"),
    [("503 Slow Down", "SlowDown"), ("429 Too Many Requests", "TooManyRequests")],
)
def test_throttled_requests_are_asked_again(server: Aws, status: str, code: str) -> None:
    _, place, report = _one(server)
    server.fail("GetObject", 2, status, code, "Please reduce your request rate.")
    assert _read(place, report) == CONTENT
    assert len(server.asked("GetObject")) == 3


def test_retry_after_is_obeyed(server: Aws) -> None:
    _, place, report = _one(server)
    server.fail("GetObject", 1, "503 Slow Down", "SlowDown", Retry_After="2")
    begun = time.monotonic()
    assert _read(place, report) == CONTENT
    assert time.monotonic() - begun >= 2


def test_throttling_that_stays_is_told_as_unavailable(server: Aws) -> None:
    _, place, report = _one(server)
    server.fail("GetObject", 100, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
    with pytest.raises(LocationUnavailable, match=r"503 SlowDown.*run again later"):
        _read(place, report)
    assert len(server.asked("GetObject")) == 4


def test_a_body_that_is_cut_off_goes_on_where_it_broke(server: Aws) -> None:
    _, place, report = _one(server)
    server.cut("GetObject", 3, after=100_000)
    assert _read(place, report) == CONTENT
    ranges = [r.headers.get("range") for r in server.asked("GetObject")]
    assert ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_body_that_stays_cut_off_ends_in_an_error_and_leaves_nothing(
    server: Aws, tmp_path: Path
) -> None:
    _, place, report = _one(server)
    server.cut("GetObject", 100, after=0)
    with pytest.raises(LocationUnavailable, match=r"focus\.csv breaks off again and again"):
        fetch(place, report, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gone", [False, True])
def test_an_object_that_is_changed_or_gone_is_no_damage(server: Aws, gone: bool) -> None:
    bucket, place, report = _one(server)
    if gone:
        server.client("s3").delete_object(Bucket=bucket, Key="focus.csv")
    else:
        server.put(bucket, {"focus.csv": b"another"})
    with pytest.raises(ReportChanged, match=r"focus\.csv was written or removed"):
        _read(place, report)


def test_other_bytes_than_the_etag_tells_are_refused(server: Aws, tmp_path: Path) -> None:
    _, place, report = _one(server)
    server.lie("GetObject", b"9" * len(CONTENT))
    with pytest.raises(ReportDamaged, match="arrived damaged"):
        fetch(place, report, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_etag_that_is_no_md5_is_not_taken_for_one(server: Aws, tmp_path: Path) -> None:
    bucket = server.bucket()
    client = server.client("s3")
    client.put_object(Bucket=bucket, Key="kms.csv", Body=CONTENT, ServerSideEncryption="aws:kms")
    upload = client.create_multipart_upload(Bucket=bucket, Key="parts.csv")["UploadId"]
    part = client.upload_part(
        Bucket=bucket, Key="parts.csv", UploadId=upload, PartNumber=1, Body=CONTENT
    )
    client.complete_multipart_upload(
        Bucket=bucket, Key="parts.csv", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )  # fmt: skip
    place = _place(server, bucket)
    reports = list(place.reports())
    assert [r.name for r in reports] == ["kms.csv", "parts.csv"]
    for report in reports:
        assert fetch(place, report, tmp_path).size == len(CONTENT)


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_credentials_that_are_not_accepted_are_told_as_such(server: Aws, code: str) -> None:
    bucket = server.bucket()
    server.fail("ListObjectsV2", 9, "400 Bad Request", code, "The provided token has expired.")
    with pytest.raises(CredentialsError, match=f"any: listing .* {code}"):
        list(_place(server, bucket).reports())


def test_without_credentials_the_message_says_where_they_are_looked_for(
    server: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsError, match="Set `profile` to one of"):
        list(_place(server, "bills-none").reports())


def test_an_unknown_profile_is_named(server: Aws) -> None:
    with pytest.raises(CredentialsError, match="accounting"):
        _place(server, "bills-none", profile="accounting")


def test_a_refusal_has_the_services_own_words(server: Aws) -> None:
    bucket = server.bucket()
    server.deny("ListObjectsV2", "s3:ListBucket", f"arn:aws:s3:::{bucket}")
    with pytest.raises(AccessRefused, match="not authorized to perform: s3:ListBucket") as refused:
        list(_place(server, bucket).reports())
    assert (refused.value.status, refused.value.code) == (403, "AccessDenied")


def test_bills_do_not_travel_in_the_clear(server: Aws) -> None:
    with pytest.raises(IngestError, match="must be https"):
        _place(server, "bills", endpoint="http://bills.example.com")


def test_a_role_is_taken_on(server: Aws) -> None:
    source = Source(
        name="any",
        format="focus",
        location="s3://bills",
        endpoint=server.endpoint,
        role="arn:aws:iam::999999999999:role/finops-reader",
    )
    assert aws.identity(source).startswith(
        "arn:aws:sts::999999999999:assumed-role/finops-reader/finops-any"
    )
