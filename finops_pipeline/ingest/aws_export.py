"""The layout of AWS Data Exports: which files are all there is of an export and a billing period.

    <prefix>/<export>/data/BILLING_PERIOD=2026-08/<export>-00001.csv.gz
    <prefix>/<export>/data/BILLING_PERIOD=2026-08/<time>-<execution>/<export>-00001.csv.gz
    <prefix>/<export>/metadata/BILLING_PERIOD=2026-08/<export>-Manifest.json

The manifest is delivered after its data files, and its list alone counts: an export that overwrites
leaves chunks of longer months behind. An export that creates anew writes each execution into a
folder of its own, and a manifest for each. Trees are copied in whole or in part, so names in a
manifest are matched by the end of their path.

Source of the rules: AWS Data Exports User Guide, "Understanding export delivery"; the older layout
(`<yyyymmdd>-<yyyymmdd>/<report>-Manifest.json` with `reportKeys`) is that of the Cost and Usage
Reports User Guide.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any
from urllib.parse import unquote

from finops_pipeline.ingest.location import IngestError, RemoteReport

_MONTH = re.compile(r"(?i)(?:(?:bill_)?billing_?period=)?(\d{4})-?(\d{2})(?:-?01)?(?:-\d{8})?")
_EXECUTION = re.compile(r"\d{4}-?\d{2}-?\d{2}T\d{2}.*")
_MANIFEST = re.compile(r"(?i)(?:(.*)-)?manifest\.json")
_CHUNK = re.compile(r"(.+?)-\d{5}\..+")  # AWS numbers the files of a delivery
_GONE = "gone"  # the change token of a file that a manifest lists and the place has not
_TOP = ("data", "metadata")  # the folders right below an export


@dataclass(frozen=True)
class _Path:
    """What the name of a file says: the export's folder, the billing period, the execution."""

    root: str
    month: str | None
    execution: str
    file: str


@dataclass(frozen=True)
class _Manifest:
    """A manifest as the place lists it, and what it says."""

    report: RemoteReport
    content: bytes
    path: _Path
    scope: str
    keys: tuple[str, ...]

    @property
    def execution(self) -> str:
        """When its data was made, as the folders say; empty for an export that overwrites."""
        folders = (part for key in self.keys for part in key.split("/"))
        made = [part for part in folders if _EXECUTION.fullmatch(part)]
        return max(made, default=self.path.execution)


def aws_export(
    source_name: str, files: Sequence[RemoteReport], read: Callable[[RemoteReport], bytes]
) -> Iterator[RemoteReport]:
    """The manifest that stands for each export and billing period, with its members.

    Where there is none, or none of its files, one is made from the newest execution's folder, or
    from all files of the period. A period is left out while its delivery is in progress: then what
    is known of it stays.
    Raises IngestError for a manifest that cannot be read.
    """
    data = [f for f in files if not f.name.endswith(".json")]
    manifests = [
        manifest
        for report in _worth_reading(files)
        for manifest in _manifest(source_name, report, read)
    ]
    by_scope: dict[str, list[_Manifest]] = defaultdict(list)
    for manifest in manifests:
        by_scope[manifest.scope].append(manifest)
    find = _Finder(data)
    # A directory tells days only, and those of copying: nothing can be in progress there.
    tells_times = any(f.delivered_at.timetz().replace(tzinfo=None) != time() for f in files)
    told: set[tuple[str, str | None]] = set()
    for scope, found in by_scope.items():
        newest = _newest(found)
        members = [find.file(key, newest) for key in newest.keys]
        if members and all(member.etag == _GONE for member in members):
            continue  # kept longer than its files, or copied without them: the listing decides
        told |= {(m.path.root, m.path.month) for m in found} | {_place(m) for m in members}
        if not (tells_times and _in_progress(newest.report, members)):
            yield _with_members(newest.report, scope, newest.content, members)
    # In a bucket an export that has manifests is about to get the one of this month too.
    waiting = {m.path.root for m in manifests} if tells_times else set()
    left = (f for f in data if _place(f) not in told)
    yield from _made(f for f in left if _path(f.name).root not in waiting)


def _worth_reading(files: Iterable[RemoteReport]) -> list[RemoteReport]:
    """The manifests but those of older executions; a year of them is a thousand requests."""
    newest: dict[object, tuple[str, RemoteReport]] = {}
    for report in files:
        path = _path(report.name)
        if _MANIFEST.fullmatch(path.file):
            place = (path.root, path.month, path.file, bool(path.execution))
            if place not in newest or path.execution > newest[place][0]:
                newest[place] = (path.execution, report)
    return [report for _, report in newest.values()]


def _newest(found: Sequence[_Manifest]) -> _Manifest:
    """The manifest that stands, dated as the last of them: those before it are over.

    Executions tell the order themselves, whatever a copy did to the times of files.
    """
    if all(m.execution for m in found):
        newest = max(found, key=lambda m: (m.execution, m.report.delivered_at, m.report.name))
    else:
        newest = max(found, key=lambda m: (m.report.delivered_at, m.execution, m.report.name))
    last = max(m.report.delivered_at for m in found)
    return dataclasses.replace(newest, report=dataclasses.replace(newest.report, delivered_at=last))


def _in_progress(manifest: RemoteReport, members: Iterable[RemoteReport]) -> bool:
    """Whether files were written again after the manifest: a newer one is about to come."""
    return any(member.delivered_at > manifest.delivered_at for member in members)


def _with_members(
    manifest: RemoteReport, scope: str, content: bytes, members: Iterable[RemoteReport]
) -> RemoteReport:
    """The manifest with what it lists, and a change token of all of it.

    An export that overwrites may write the same manifest for other data.
    """
    listed = {
        member.name: dataclasses.replace(
            member, delivery_scope=scope, delivered_at=manifest.delivered_at
        )
        for member in members
    }
    ordered = tuple(listed[name] for name in sorted(listed))
    state = "\n".join(f"{m.name} {m.etag}" for m in ordered).encode()
    return dataclasses.replace(
        manifest,
        etag=hashlib.sha256(content + state).hexdigest()[:32],
        size=len(content),
        md5=None,
        delivery_scope=scope,
        members=ordered,
        content=content,
    )


def _manifest(
    source_name: str, report: RemoteReport, read: Callable[[RemoteReport], bytes]
) -> Iterator[_Manifest]:
    """What a manifest says; nothing for JSON that lists no files and is none therefore."""
    content = read(report)
    try:
        said = json.loads(content)
    except ValueError as error:
        raise IngestError(
            f"{source_name}: {report.name} is no JSON ({error}), so nobody can say which files "
            "count. Copy it again, or wait until it is delivered whole."
        ) from None
    keys = (said.get("dataFiles") or said.get("reportKeys")) if isinstance(said, dict) else None
    if keys is None and isinstance(said, dict) and "dataFiles" in said:
        keys = []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        return
    path = _path(report.name)
    month = path.month or _told_month(said)
    if month is None:
        raise IngestError(
            f"{source_name}: {report.name} lies in no folder such as BILLING_PERIOD=2026-08 and "
            "names no billing period. Copy the tree with its folders."
        )
    named = _MANIFEST.fullmatch(path.file)
    path = dataclasses.replace(path, month=month)
    yield _Manifest(
        report, content, path, _scope(path.root, named and named[1], month), tuple(keys)
    )


def _told_month(said: Mapping[str, Any]) -> str | None:
    period = said.get("billingPeriod")
    text = period.get("start") if isinstance(period, dict) else period
    found = re.match(r"(\d{4})-?(\d{2})", text) if isinstance(text, str) else None
    return f"{found[1]}-{found[2]}" if found else None


def _scope(root: str, name: str | None, month: str) -> str:
    """`<export>/<YYYY-MM>`: the export's folder, and its name where the folder has another."""
    last = root.rpartition("/")[2]
    export = "/".join(part for part in (root, "" if name == last else name) if part)
    return f"{export}/{month}" if export else month


def _path(name: str) -> _Path:
    *folders, file = _parts(name)
    month, at = None, len(folders)
    for i, folder in enumerate(folders):
        if found := _MONTH.fullmatch(folder):
            month, at = f"{found[1]}-{found[2]}", i
            break
    above = folders[:at]
    if above and above[-1].lower() in _TOP:
        above = above[:-1]
    below = folders[at + 1 : at + 2]
    execution = below[0] if below and _EXECUTION.fullmatch(below[0]) else ""
    return _Path("/".join(above), month, execution, file)


def _place(file: RemoteReport) -> tuple[str, str | None]:
    path = _path(file.name)
    return path.root, path.month


def _parts(name: str) -> list[str]:
    return unquote(name).split("/")


class _Finder:
    """The files of a place by the names that manifests have for them."""

    def __init__(self, files: Iterable[RemoteReport]) -> None:
        self._named: dict[str, list[tuple[list[str], RemoteReport]]] = defaultdict(list)
        for file in files:
            parts = _parts(file.name)
            self._named[parts[-1].lower()].append((parts, file))

    def file(self, key: str, manifest: _Manifest) -> RemoteReport:
        """The file that a manifest means; a made-up one, which cannot be fetched, if it is gone."""
        wanted = [part for part in _parts(key.removeprefix("s3://")) if part]
        best: tuple[int, int] = (0, 0)
        found: RemoteReport | None = None
        near = _parts(manifest.report.name)
        for parts, file in self._named[wanted[-1].lower()]:
            score = (_alike(reversed(wanted), reversed(parts)), _alike(near, parts))
            # The folders above must be the same too, as far as the copy has them.
            if score[0] >= min(2, len(parts), len(wanted)) and score > best:
                best, found = score, file
        gone = RemoteReport(key, _GONE, 0, None, manifest.report.delivered_at)
        return found or gone


def _alike(one: Iterable[str], other: Iterable[str]) -> int:
    """How many parts are the same before the first that is not; case tells nothing."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a.lower() != b.lower():
            break
        count += 1
    return count


def _made(files: Iterable[RemoteReport]) -> Iterator[RemoteReport]:
    """Manifests from the listing, for what no manifest tells."""
    by_scope: dict[str, list[RemoteReport]] = defaultdict(list)
    for file in files:
        path = _path(file.name)
        if path.month is None:  # nobody can say what it replaces
            by_scope[file.name].append(file)
            continue
        chunk = _CHUNK.fullmatch(path.file)
        by_scope[_scope(path.root, chunk and chunk[1], path.month)].append(file)
    for scope, found in sorted(by_scope.items()):
        executions = {_path(f.name).execution for f in found}
        newest = max(executions, key=lambda e: _made_at(e, found, executions))
        members = [f for f in found if _path(f.name).execution == newest]
        names = sorted(f.name for f in members)
        made = RemoteReport(
            name=f"{scope}/made-from-listing.json",
            etag="",
            size=None,
            md5=None,
            delivered_at=max(f.delivered_at for f in members),
        )
        yield _with_members(made, scope, json.dumps({"dataFiles": names}).encode(), members)


def _made_at(
    execution: str, files: Iterable[RemoteReport], executions: Iterable[str]
) -> tuple[Any, ...]:
    """What orders executions: their names, unless files lie beside the folders too.

    Then the export was switched from overwriting to creating anew, or back; times tell which.
    """
    if "" not in executions:
        return (execution,)
    own = (f.delivered_at for f in files if _path(f.name).execution == execution)
    return (max(own), execution)
