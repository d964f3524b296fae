"""The layout of Cost Management exports: which files are all there is of an export and a month.

An export writes `{directory}/{export}/{YYYYMMDD-YYYYMMDD}/[{run}/]` with its parts and a
`manifest.json`, each run a snapshot of the month so far. That path is no promise; the manifest is
what counts: the run with the greatest `submittedTime` stands for its scope, export and month. A
copy of a container may begin at any folder, while manifests name blobs from the container on, so
blobs are found by the end of their names.

Exports from before manifests, and copies without them, are taken by their folders: the newest run
of a period stands for it; files without folders of runs are one run.

Source: Microsoft, "Create and manage Cost Management exports" (manifest, runs, partitions).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from finops_pipeline.ingest.location import IngestError, RemoteReport

_MANIFEST = "manifest.json"
_EXPORTS = "/providers/microsoft.costmanagement/exports/"
_PERIOD = re.compile(r"^(\d{4})(\d{2})\d{2}-\d{8}$")
_RUN_TIME = re.compile(r"^\d{12,14}")
_FILE_OF_RUN = re.compile(
    r"_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?=[_.])", re.IGNORECASE
)
# How a delivery scope is put together by `_run`: scope in Azure, name of the export, month.
EXPORT_MONTH = re.compile(r"^(?:(?P<scope>.+)/)?(?P<export>[^/]+)/(?P<month>\d{4}-\d{2})$")
# A part in plain text is as long as the manifest says; of a compressed one it may tell the text.
_PLAIN = ".csv"


def azure_export(
    source_name: str, files: Sequence[RemoteReport], read: Callable[[RemoteReport], bytes]
) -> Iterator[RemoteReport]:
    """The runs that stand, each with its parts as members; see `manifests.py`.

    Where a newer run is not whole yet, the newest whole one before it is given too. Raises
    IngestError for a manifest that cannot be understood.
    """
    listed = {file.name: file for file in files}
    runs: dict[str, list[_Run]] = defaultdict(list)
    taken: set[PurePosixPath] = set()
    for file in files:
        if file.name.endswith(_MANIFEST):
            taken.add(_folder_of_period(PurePosixPath(file.name).parent))
            if (run := _run(source_name, file, read(file), listed)) is not None:
                runs[run.scope].append(run)
    for scope in sorted(runs):
        for run in sorted(runs[scope], key=lambda r: r.order, reverse=True):
            yield run.report()
            if run.is_whole:
                break
    told = {member.name for found in runs.values() for run in found for member in run.members}
    rest = [
        file
        for file in files
        if not file.name.endswith(".json")
        and file.name not in told
        and not _is_taken(PurePosixPath(file.name).parent, taken)
    ]
    yield from _without_manifest(rest)


@dataclass(frozen=True)
class _Run:
    """A run as its manifest tells it. `is_whole` where all its parts are there."""

    manifest: RemoteReport
    scope: str
    submitted: datetime
    members: tuple[RemoteReport, ...]
    is_whole: bool

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """Which of two runs is the later one."""
        return (self.submitted, self.manifest.delivered_at, self.manifest.name)

    def report(self) -> RemoteReport:
        """The manifest with its members."""
        return _of_scope(self.manifest, self.scope, self.submitted, self.members)


def _of_scope(
    manifest: RemoteReport,
    scope: str,
    delivered_at: datetime,
    members: Iterable[RemoteReport],
) -> RemoteReport:
    return replace(
        manifest,
        delivery_scope=scope,
        delivered_at=delivered_at,
        members=tuple(
            replace(member, delivery_scope=scope, delivered_at=delivered_at) for member in members
        ),
    )


def _run(
    source_name: str, file: RemoteReport, text: bytes, listed: Mapping[str, RemoteReport]
) -> _Run | None:
    """The run that a manifest tells; None for an export of something else than FOCUS costs."""
    try:
        told = json.loads(text.decode("utf-8-sig"))
        config, info = told["exportConfig"], told["runInfo"]
        if not str(config.get("type") or "focus").lower().startswith("focus"):
            return None
        submitted, month = _time(info["submittedTime"]), _time(info["startDate"])
        export = _export(config, file)
        found = [_part(file, blob, listed) for blob in told["blobs"] or ()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IngestError(
            f"{source_name}: {file.name} is no manifest of a Cost Management export "
            f"({type(error).__name__}: {error}); expected JSON with exportConfig, runInfo "
            "(startDate, submittedTime) and blobs. If it is being copied, run again later; if it "
            "belongs to something else, give this source a prefix of its own."
        ) from None
    return _Run(
        manifest=file,
        scope=f"{export}/{month:%Y-%m}",
        submitted=submitted,
        members=tuple(part for part, _ in found),
        is_whole=all(whole for _, whole in found),
    )


def _export(config: Mapping[str, Any], file: RemoteReport) -> str:
    """What names an export: its scope in Azure and its name there."""
    name = str(config.get("exportName") or _folder_of_period(PurePosixPath(file.name).parent).name)
    scope, _, named = str(config.get("resourceId") or "").lower().partition(_EXPORTS)
    return "/".join(part for part in (scope.strip("/"), named or name.lower()) if part)


def _part(
    manifest: RemoteReport, blob: Mapping[str, Any], listed: Mapping[str, RemoteReport]
) -> tuple[RemoteReport, bool]:
    """A part as the place lists it, and whether it is there as the manifest says."""
    name = str(blob["blobName"]).strip().lstrip("/")
    rows, size = _count(blob.get("dataRowCount")), _count(blob.get("byteCount"))
    found = _find(PurePosixPath(name), PurePosixPath(manifest.name).parent, listed)
    if found is None:  # asked for all the same: then the place says what is missing
        return RemoteReport(name, "not listed", size, None, manifest.delivered_at), False
    if not name.lower().endswith(_PLAIN) or size is None:
        return replace(found, rows=rows), True
    return replace(found, size=size, rows=rows), size == found.size


def _find(
    blob: PurePosixPath, beside: PurePosixPath, listed: Mapping[str, RemoteReport]
) -> RemoteReport | None:
    """The file that a manifest in the folder `beside` calls by its name in the container.

    As much of the end of the name as is there counts, below the manifest's folder or one above it.
    """
    for start in range(len(blob.parts)):
        end = PurePosixPath(*blob.parts[start:])
        for folder in (beside, *beside.parents):
            if (found := listed.get((folder / end).as_posix())) is not None:
                return found
    return None


def _folder_of_period(folder: PurePosixPath) -> PurePosixPath:
    """The folder named by a period that holds this one; itself where none does."""
    return next((f for f in (folder, *folder.parents) if _PERIOD.match(f.name)), folder)


def _is_taken(folder: PurePosixPath, taken: Collection[PurePosixPath]) -> bool:
    """Whether a manifest speaks for the folder: that of its period, or else one above it."""
    period = _folder_of_period(folder)
    above = () if _PERIOD.match(period.name) else period.parents
    return any(place in taken for place in (period, *above))


def _without_manifest(files: Iterable[RemoteReport]) -> Iterator[RemoteReport]:
    """A manifest made for each period, from the files of its newest run."""
    periods: dict[PurePosixPath, list[RemoteReport]] = defaultdict(list)
    for file in files:
        periods[_folder_of_period(PurePosixPath(file.name).parent)].append(file)
    for folder in sorted(periods):
        runs: dict[str, list[RemoteReport]] = defaultdict(list)
        for file in periods[folder]:
            runs[_run_of(PurePosixPath(file.name).relative_to(folder))].append(file)
        newest = max(runs, key=lambda run: _run_order(run, runs[run]))
        yield _made(folder, runs[newest])


def _run_of(name: PurePosixPath) -> str:
    """The run that a file of a period belongs to: its folder, or the mark in its name."""
    if len(name.parts) > 1:
        return name.parent.as_posix()
    marked = _FILE_OF_RUN.search(name.name)
    return marked[1] if marked else ""


def _run_order(run: str, files: Sequence[RemoteReport]) -> tuple[str, datetime, str]:
    """Folders named by their time are told apart by it; others by when their files came."""
    timed = _RUN_TIME.match(run)
    return (timed[0] if timed else "", max(f.delivered_at for f in files), run)


def _made(folder: PurePosixPath, files: Sequence[RemoteReport]) -> RemoteReport:
    period = _PERIOD.match(folder.name)
    scope = f"{folder.parent}/{period[1]}-{period[2]}" if period else folder.as_posix()
    parts = sorted(files, key=lambda f: f.name)
    content = json.dumps([[p.name, p.etag, p.size] for p in parts]).encode()
    delivered_at = max(p.delivered_at for p in parts)
    manifest = RemoteReport(
        name=(folder / "(listed)").as_posix(),
        etag=hashlib.sha256(content).hexdigest()[:32],
        size=len(content),
        md5=None,
        delivered_at=delivered_at,
        content=content,
    )
    return _of_scope(manifest, scope, delivered_at, parts)


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


def _time(text: str) -> datetime:
    """A time as manifests write it: with or without zone, with up to seven digits of a second."""
    time = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
