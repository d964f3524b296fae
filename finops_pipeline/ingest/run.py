"""Ingest: bring every new report of a source into the archive and the ledger.

New is what the location lists with a name and change token that the ledger does not know, however
old its name or its charges. Where reports come from is `location.py`, what is summed from them
`totals.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from finops_pipeline.config import Source
from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.fetch import FetchedReport, fetch
from finops_pipeline.ingest.ledger import Ledger, LedgerEntry, report_id
from finops_pipeline.ingest.location import Location, RemoteReport, ReportChanged, ReportDamaged
from finops_pipeline.ingest.reading import UnreadableReport, open_report
from finops_pipeline.ingest.totals import Examination, Examiner
from finops_pipeline.lake.archive import Archive

_BATCH = 50  # reports that become known in one commit; a kill costs at most these

_NOTHING = Examination(0, (), (), 0)


@dataclass(frozen=True)
class Ingested:
    """What an ingest did: the reports it archived, and those it could not fetch with the reason."""

    archived: tuple[LedgerEntry, ...]
    failed: tuple[str, ...]

    @property
    def unreadable(self) -> tuple[LedgerEntry, ...]:
        """Archived reports that cannot be read."""
        return tuple(e for e in self.archived if e.status == "unreadable")


class Ingest:
    """The means to ingest one source."""

    def __init__(
        self,
        source: Source,
        location: Location,
        ledger: Ledger,
        archive: Archive,
        engine: Engine,
        spool: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self.location = location
        self.ledger = ledger
        self.archive = archive
        self.engine = engine
        self.spool = spool
        self.clock = clock

    def new_reports(self) -> list[RemoteReport]:
        """What the location lists and the ledger does not know, earliest delivery first.

        A manifest comes after those of its members that are new. Raises IngestError when the
        location cannot be listed.
        """
        new = [r for r in self.location.reports() if not self._knows(r)]
        return [
            report
            for listed in sorted(new, key=lambda r: (r.delivered_at, r.name))
            for report in (*(m for m in listed.members or () if not self._knows(m)), listed)
        ]

    def _knows(self, report: RemoteReport) -> bool:
        return self.ledger.knows(report.name, report.etag, report.size, report.md5)

    def run(
        self, reports: Iterable[RemoteReport], progress: Callable[[str], None] = lambda _: None
    ) -> Ingested:
        """Archive these reports. One that fails is named and blocks no other."""
        archived: list[LedgerEntry] = []
        failed: list[str] = []
        remaining = iter(reports)
        while batch := list(islice(remaining, _BATCH)):
            entries = list(self._batch(batch, failed, progress))
            self.ledger.record(entries)
            archived += entries
        return Ingested(tuple(archived), tuple(failed))

    def _batch(
        self, batch: list[RemoteReport], failed: list[str], progress: Callable[[str], None]
    ) -> Iterator[LedgerEntry]:
        """The entries of these reports; the rows of all are summed before the first is given."""
        examiner = Examiner(self.engine, self.spool)
        passed = self.ledger.latest
        kept: list[_Kept] = []
        for report in batch:
            try:
                kept.append(self._keep(report, examiner, passed))
            except (ReportChanged, ReportDamaged) as error:
                failed.append(str(error))
            progress(report.name)
        examined = examiner.results()
        made: dict[str, LedgerEntry] = {}
        for one in kept:
            entry = one.known or _entry(self.source, one, examined.get(one.examination, _NOTHING))
            if one.report.members is not None:
                try:
                    members = self._members(one.report, made)
                except ReportDamaged as error:
                    failed.append(str(error))
                    continue
                entry = dataclasses.replace(entry, members=members)
            made[entry.name] = entry
            yield entry

    def _members(self, manifest: RemoteReport, made: Mapping[str, LedgerEntry]) -> tuple[str, ...]:
        """The identifiers of a manifest's members.

        Raises ReportDamaged while one of them is not archived, or has not the rows it should have.
        """
        found = []
        for member in manifest.members or ():
            entry = made.get(member.name) or self.ledger.newest_of(member.name)
            if entry is None or entry.etag != member.etag:
                raise _incomplete(self.source, manifest, member, "could not be archived")
            if entry.status == "read" and member.rows not in (None, entry.rows):
                told = f"has {entry.rows} rows where the manifest says {member.rows}"
                raise _incomplete(self.source, manifest, member, told)
            found.append(entry.report_id)
        return tuple(sorted(found))

    def _keep(self, report: RemoteReport, examiner: Examiner, passed: datetime | None) -> _Kept:
        fetched = fetch(self.location, report, self.spool)
        # Never before what is known to have passed: a clock that was set back would have charges
        # of yesterday rejected as those of days to come.
        now = max(self.clock(), report.delivered_at, passed or report.delivered_at)
        now = now.replace(microsecond=0)
        identity = report_id(self.source.name, report.name, _content(report, fetched))
        newest = self.ledger.newest_of(report.name)
        if newest is not None and newest.report_id == identity:  # touched, not changed
            fetched.path.unlink()
            touched = dataclasses.replace(newest, etag=report.etag)
            return _Kept(report, fetched, identity, now, newest.archive_path, known=touched)
        if newest is not None:
            now = max(now, newest.archived_at + timedelta(seconds=1))
        if (known := self.ledger.get(identity)) is not None:  # what it was before it was rewritten
            report = dataclasses.replace(report, delivered_at=known.delivered_at)
        day = report.delivered_at.date()
        place = self.archive.keep(
            fetched.path, self.source.name, day.isoformat(), identity, report.name
        )
        one = _Kept(report, fetched, identity, now, place)
        if report.members is not None:
            return one
        try:
            with self.archive.local(place) as path:
                opened = open_report(path, raw_format(self.source.format))
                last_day = now.date() + timedelta(days=1)
                key = examiner.add(opened, day, last_day)
        except UnreadableReport as problem:
            return dataclasses.replace(one, problem=str(problem))
        return dataclasses.replace(one, columns=opened.names, examination=key)


@dataclass(frozen=True)
class _Kept:
    """A report in the archive: how it was found to be, and the key of its examination.

    `known` is its entry where the ledger has it already.
    """

    report: RemoteReport
    fetched: FetchedReport
    identity: str
    archived_at: datetime
    place: str
    problem: str | None = None
    columns: tuple[str, ...] = ()
    examination: int = -1
    known: LedgerEntry | None = None


def _content(report: RemoteReport, fetched: FetchedReport) -> str:
    """What tells one version of a report from another.

    For a manifest that is its members and its time too: the same text may list other data, and a
    delivery that goes back to an older one is a new delivery.
    """
    if report.members is None:
        return fetched.sha256
    return f"{fetched.sha256} {report.etag} {report.delivered_at.isoformat()}"


def _entry(source: Source, kept: _Kept, examined: Examination) -> LedgerEntry:
    return LedgerEntry(
        source=source.name,
        delivery_day=kept.report.delivered_at.date(),
        report_id=kept.identity,
        name=kept.report.name,
        etag=kept.report.etag,
        size=kept.fetched.size,
        md5=kept.fetched.md5,
        sha256=kept.fetched.sha256,
        delivered_at=kept.report.delivered_at,
        archived_at=kept.archived_at,
        archive_path=kept.place,
        format=source.format,
        status=_status(kept),
        problem=kept.problem,
        columns=kept.columns,
        rows=examined.rows,
        scopes=examined.scopes,
        rounded_rows=examined.rounded_rows,
        totals=examined.totals,
        delivery_scope=kept.report.delivery_scope,
    )


def _status(kept: _Kept) -> str:
    if kept.report.members is not None:
        return "manifest"
    return "unreadable" if kept.problem else "read"


def _incomplete(
    source: Source, manifest: RemoteReport, member: RemoteReport, what: str
) -> ReportDamaged:
    return ReportDamaged(
        f"{source.name}: {manifest.name}: {member.name}, which it lists, {what}, so what was known "
        f"before of {manifest.delivery_scope} stays. Run again; if it stays, ask why the "
        "provider's files are changing or missing."
    )
