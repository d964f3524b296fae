"""A directory in the place of the bucket: what counts as a report, and when it is another one."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.directory import DirectoryLocation
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.location import (
    IngestError,
    LocationUnavailable,
    ReportChanged,
    open_location,
)

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)


def put(root: Path, name: str, data: bytes = b"x", *, modified: datetime = NOW) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified.timestamp(), modified.timestamp()))
    return path


def place(root: Path, report_format: str = "oci_cost_csv") -> DirectoryLocation:
    source = Source(name="acme", format=report_format, location=f"file:{root}")
    return DirectoryLocation(source, now=lambda: NOW)


def names(root: Path, report_format: str = "oci_cost_csv") -> list[str]:
    return [report.name for report in place(root, report_format).reports()]


def test_the_buckets_layout_is_read_like_the_bucket(tmp_path: Path) -> None:
    for name in (
        "reports/cost-csv/0002.csv.gz",
        "reports/cost-csv/0001.csv.gz",
        "reports/cost-csv/older/0000.csv",
        "reports/usage-csv/0001.csv.gz",
        "FOCUS Reports/2026/03/04/b.csv.gz",
        "FOCUS Reports/2026/03/03/c.csv.gz",
        "stray.csv.gz",
    ):
        put(tmp_path, name)
    assert names(tmp_path) == [
        "reports/cost-csv/0001.csv.gz",
        "reports/cost-csv/0002.csv.gz",
        "reports/cost-csv/older/0000.csv",
    ]
    assert names(tmp_path, "oci_focus") == [
        "FOCUS Reports/2026/03/03/c.csv.gz",
        "FOCUS Reports/2026/03/04/b.csv.gz",
    ]


def test_names_sort_as_the_bucket_sorts_them(tmp_path: Path) -> None:
    # Folder by folder would put a/1 before a-1; the bucket compares the names as a whole.
    for name in ("a/1.csv", "a-1.csv", "B.csv", "é.csv", "z.csv"):
        put(tmp_path, f"reports/cost-csv/{name}")
    found = [name.removeprefix("reports/cost-csv/") for name in names(tmp_path)]
    assert found == ["B.csv", "a-1.csv", "a/1.csv", "z.csv", "é.csv"]


def test_a_layout_without_the_format_has_no_reports(tmp_path: Path) -> None:
    put(tmp_path, "FOCUS Reports/2026/03/04/b.csv.gz")
    assert names(tmp_path) == []


def test_a_flat_directory_is_read_whole(tmp_path: Path) -> None:
    for name in ("b.csv.gz", "deep/er/a.csv", "notes.txt", "deep/manifest.json"):
        put(tmp_path, name)
    assert names(tmp_path) == names(tmp_path, "oci_focus") == ["b.csv.gz", "deep/er/a.csv"]


def test_a_folder_named_for_another_format_is_left_out(tmp_path: Path) -> None:
    for name in ("x/cost-csv/a.csv", "x/usage-csv/b.csv", "x/FOCUS Reports/c.csv", "x/d.csv"):
        put(tmp_path, name)
    assert names(tmp_path) == ["x/cost-csv/a.csv", "x/d.csv"]
    assert names(tmp_path, "oci_focus") == ["x/FOCUS Reports/c.csv", "x/d.csv"]


def test_hidden_and_partial_files_are_left_out(tmp_path: Path) -> None:
    for name in (
        *("a.csv.gz.part", "a.csv.tmp", ".a.csv.gz", ".a.csv.gz.Xy12", ".hidden/a.csv"),
        *("a.csv.gz~", "a.csv.part", "whole.csv"),
    ):
        put(tmp_path, name)
    assert names(tmp_path) == ["whole.csv"]


def test_links_to_files_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    outside = put(tmp_path, "outside/a.csv")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.csv").symlink_to(outside)
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe.csv")
    assert names(root) == ["link.csv"]
    outside.unlink()
    with pytest.raises(LocationUnavailable, match=r"acme: .*link\.csv cannot be read"):
        names(root)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocationUnavailable, match=r"acme: .*nowhere is not a directory"):
        names(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "closed/a.csv")
    real = os.scandir

    def scandir(path: str) -> object:  # As root, permissions would not stop the test.
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(LocationUnavailable, match="closed cannot be read: Permission denied"):
        names(tmp_path)


def test_a_file_removed_while_listing_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv")
    gone = put(tmp_path, "b.csv")
    real = Path.stat

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self == gone and gone in list(tmp_path.iterdir()):
            gone.unlink()
        return real(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert names(tmp_path) == ["a.csv"]


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_bytes(b"x")
    with pytest.raises(IngestError, match=r"not UTF-8\. Rename"):
        names(tmp_path)


def test_listing_opens_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(50):
        put(tmp_path, f"reports/cost-csv/{i}.csv.gz")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened a report"))
    assert len(names(tmp_path)) == 50


def test_the_etag_follows_the_content_and_survives_a_faithful_copy(tmp_path: Path) -> None:
    file = put(tmp_path / "one", "a.csv", b"first")
    before = next(place(tmp_path / "one").reports()).etag
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert next(place(tmp_path / "two").reports()).etag == before
    file.write_bytes(b"other")
    assert next(place(tmp_path / "one").reports()).etag != before


@pytest.mark.parametrize(
    ("modified", "day"),
    [
        (datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)),
        (datetime(2026, 3, 4, 0, 0, 0, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)),
        (datetime(2010, 1, 1, tzinfo=UTC), datetime(2010, 1, 1, tzinfo=UTC)),
        (datetime(2009, 12, 31, 23, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)),
        (datetime(2026, 3, 5, 0, 0, 0, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)),
        (datetime(2026, 3, 6, 0, 0, 0, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)),
        (datetime(2031, 1, 1, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)),
    ],
)
def test_a_file_counts_as_delivered_on_the_day_it_was_written(
    tmp_path: Path, modified: datetime, day: datetime
) -> None:
    put(tmp_path, "a.csv", modified=modified)
    assert next(place(tmp_path).reports()).delivered_at == day


def test_a_file_is_fetched(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.csv", b"abc" * 1_000_000)
    location = open_location(
        Source(name="acme", format="oci_focus", location=f"file:{tmp_path / 'in'}")
    )
    fetched = fetch(location, next(location.reports()), tmp_path / "spool")
    assert fetched.path.read_bytes() == b"abc" * 1_000_000


def test_a_file_changed_before_or_while_it_is_read_is_told(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", b"abc")
    location = place(tmp_path)
    report = next(location.reports())
    with location.stream(report) as pieces, pytest.raises(ReportChanged, match=r"a\.csv was writt"):
        for _ in pieces:
            file.write_bytes(b"abcdef")
    with pytest.raises(ReportChanged), location.stream(report) as pieces:
        next(pieces)
    file.unlink()
    with pytest.raises(ReportChanged, match="is gone"), location.stream(report):
        pass
