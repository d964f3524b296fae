"""Bring one report over: into a file of its own, checked against what the listing said.

Where it comes from is `location.py`; where it is kept afterwards is the raw archive's matter
(`lake/`). A file that is being written is named `.fetch-*.part`; only a process killed midway
leaves one behind, and nothing in the pipeline reads such names.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from finops_pipeline.ingest.location import (
    Location,
    RemoteReport,
    ReportDamaged,
)

ATTEMPTS = 3


@dataclass(frozen=True)
class FetchedReport:
    """A report in hand: complete, checked and on disk. `sha256` is hex, `md5` base64."""

    path: Path
    size: int
    sha256: str
    md5: str


def fetch(location: Location, report: RemoteReport, spool_dir: Path) -> FetchedReport:
    """The report as a file of its own in `spool_dir`, which the caller then owns.

    Size and MD5 must be those of the listing; objects uploaded in parts have no MD5, so there it
    is the size alone. What arrives damaged is fetched again, three times in all.

    Raises ReportDamaged after the last attempt, ReportChanged when the report is no longer the
    one listed, and whatever else the location raises. After any failure nothing is left behind.
    Memory does not grow with the report.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _attempt(location, report, spool_dir)
        except ReportDamaged:
            continue
    return _attempt(location, report, spool_dir)


def _attempt(location: Location, report: RemoteReport, spool_dir: Path) -> FetchedReport:
    spool_dir.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished_name = tempfile.mkstemp(".part", ".fetch-", spool_dir)
    unfinished = Path(unfinished_name)
    try:
        fetched = _write(location, report, descriptor, unfinished)
        _verify(location, report, fetched)
        unfinished.replace(fetched.path)
    finally:  # After a failure, an interruption too, the file would be in nobody's hand.
        unfinished.unlink(missing_ok=True)
    _sync_folder(spool_dir)
    return fetched


def _write(
    location: Location, report: RemoteReport, descriptor: int, unfinished: Path
) -> FetchedReport:
    size = 0
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    with os.fdopen(descriptor, "wb") as file, location.stream(report) as pieces:
        for piece in pieces:
            size += len(piece)
            if report.size is not None and size > report.size:
                raise _damaged(location, report, f"{report.size} bytes", "more")
            sha256.update(piece)
            md5.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return FetchedReport(
        path=_final_path(unfinished, report, sha256.hexdigest()),
        size=size,
        sha256=sha256.hexdigest(),
        md5=base64.b64encode(md5.digest()).decode("ascii"),
    )


def _final_path(unfinished: Path, report: RemoteReport, sha256: str) -> Path:
    # The hash alone would let two reports with the same content share a file, and the caller who
    # moves the one away would take the other with it.
    token = unfinished.name.removeprefix(".fetch-").removesuffix(".part")
    *before, last = ("", *PurePosixPath(report.name).suffixes)
    suffix = f"{before[-1]}{last}" if last == ".gz" else last
    return unfinished.with_name(f"{sha256}-{token}{suffix}")


def _verify(location: Location, report: RemoteReport, fetched: FetchedReport) -> None:
    if report.size is not None and fetched.size != report.size:
        raise _damaged(location, report, f"{report.size} bytes", f"{fetched.size} bytes")
    if report.md5 is not None and fetched.md5 != report.md5:
        raise _damaged(location, report, f"MD5 {report.md5}", f"MD5 {fetched.md5}")


def _damaged(
    location: Location, report: RemoteReport, expected: str, arrived: str
) -> ReportDamaged:
    return ReportDamaged(
        f"{location.source_name}: {report.name} (etag {report.etag}) arrived damaged: expected "
        f"{expected} as listed, got {arrived}, {ATTEMPTS} times in a row. Nothing was stored. Run "
        "again later; if it stays, look at what sits between here and the store (a proxy that "
        "rewrites content), or ask the provider for the report."
    )


def _sync_folder(folder: Path) -> None:
    # Syncing a file does not sync its name in the folder.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
