"""Bringing a report over: whole and checked, or not at all."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finops_pipeline.ingest.fetch import ATTEMPTS, FetchedReport, fetch
from finops_pipeline.ingest.location import RemoteReport, ReportChanged, ReportDamaged
from finops_pipeline.ingest.oci import OciLocation
from finops_pipeline_tests.ingest.conftest import DELIVERED
from finops_pipeline_tests.servers.oci_object_storage import ObjectStorageServer

NAME = "reports/cost-csv/0001.csv.gz"
BODY = b"reference,cost\r\n" * 100_000


@pytest.fixture
def report(server: ObjectStorageServer, location: OciLocation) -> RemoteReport:
    server.put(NAME, BODY, delivered_at=DELIVERED)
    return next(location.reports())


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "not" / "yet" / "there"


def left_in(spool: Path) -> list[str]:
    return [path.name for path in spool.iterdir()]


def test_a_report_arrives_whole_with_its_hashes(
    location: OciLocation, report: RemoteReport, spool: Path
) -> None:
    fetched = fetch(location, report, spool)
    md5 = base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode()
    sha256 = hashlib.sha256(BODY).hexdigest()
    assert fetched == FetchedReport(fetched.path, len(BODY), sha256, md5)
    assert fetched.path.read_bytes() == BODY
    assert left_in(spool) == [fetched.path.name]
    assert fetched.path.name.endswith(".csv.gz")


def test_reports_of_the_same_content_do_not_share_a_file(
    location: OciLocation, report: RemoteReport, spool: Path
) -> None:
    first, second = fetch(location, report, spool), fetch(location, report, spool)
    assert first.path != second.path
    assert sorted(left_in(spool)) == sorted([first.path.name, second.path.name])


def test_a_body_cut_off_again_and_again_arrives(
    server: ObjectStorageServer, location: OciLocation, report: RemoteReport, spool: Path
) -> None:
    server.cut_body(after=300_000, times=5)
    assert fetch(location, report, spool).path.read_bytes() == BODY
    assert server.count("get") == 6


def test_wrong_bytes_are_fetched_again(
    server: ObjectStorageServer, location: OciLocation, report: RemoteReport, spool: Path
) -> None:
    server.garble_body(times=ATTEMPTS - 1)
    assert fetch(location, report, spool).path.read_bytes() == BODY


def test_bytes_that_stay_wrong_are_told_and_leave_nothing(
    server: ObjectStorageServer, location: OciLocation, report: RemoteReport, spool: Path
) -> None:
    server.garble_body(times=ATTEMPTS)
    with pytest.raises(ReportDamaged) as caught:
        fetch(location, report, spool)
    message = str(caught.value)
    assert report.md5 is not None
    for part in ("acme-oci", NAME, report.etag, report.md5, "Run again"):
        assert part in message
    assert left_in(spool) == []
    assert server.count("get") == ATTEMPTS


def test_a_report_uploaded_in_parts_is_checked_by_size(
    server: ObjectStorageServer, location: OciLocation, spool: Path
) -> None:
    server.put(NAME, BODY, delivered_at=DELIVERED, in_parts=True)
    report = next(location.reports())
    assert report.md5 is None
    assert fetch(location, report, spool).size == len(BODY)


def test_a_report_rewritten_after_listing_is_told_once_and_leaves_nothing(
    server: ObjectStorageServer, location: OciLocation, report: RemoteReport, spool: Path
) -> None:
    server.put(NAME, BODY[::-1], delivered_at=DELIVERED)
    with pytest.raises(ReportChanged):
        fetch(location, report, spool)
    assert left_in(spool) == []
    assert server.count("get") == 1


class Made:
    """A location that gives what it is told to, for what no honest server does."""

    source_name = "made"

    def __init__(self, pieces: list[bytes], error: BaseException | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.given = 0

    def reports(self) -> Iterator[RemoteReport]:
        raise NotImplementedError

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        yield self._all()

    def _all(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.given += 1
            yield piece
        if self.error is not None:
            raise self.error


def listed(size: int) -> RemoteReport:
    return RemoteReport("a.csv", "e", size, None, DELIVERED)


def test_a_body_without_end_does_not_fill_the_disk(spool: Path) -> None:
    endless = Made([b"x" * 1000] * 1000)
    with pytest.raises(ReportDamaged, match="expected 1500 bytes as listed, got more"):
        fetch(endless, listed(1500), spool)
    assert endless.given == 2 * ATTEMPTS
    assert left_in(spool) == []


def test_a_body_too_short_is_told(spool: Path) -> None:
    with pytest.raises(ReportDamaged, match="expected 3 bytes as listed, got 2 bytes"):
        fetch(Made([b"ab"]), listed(3), spool)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full"), MemoryError()])
def test_nothing_is_left_whatever_interrupts(spool: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        fetch(Made([b"ab"], error), listed(2), spool)
    assert left_in(spool) == []


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "os.fdopen"])
def test_nothing_half_is_left_when_a_system_call_fails(
    spool: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, failing)
    with pytest.raises(OSError, match="No space left"):
        fetch(Made([b"ab"]), listed(2), spool)
    monkeypatch.undo()
    assert left_in(spool) == []


def test_memory_does_not_grow_with_the_report(spool: Path) -> None:
    def peak(pieces: int) -> int:
        piece = b"x" * 100_000
        made = Made([piece] * pieces)
        tracemalloc.start()
        fetch(made, listed(pieces * len(piece)), spool)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(200) < peak(2) + 500_000
