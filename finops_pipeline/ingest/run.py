"""Ingest: bring every new report of a source into the archive and the ledger.

New is what the location lists with a name and change token that the ledger does not know, however
old its name or its charges. Where reports come from is `location.py`, what is summed from them
`totals.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

from finops_pipeline.config import Source
from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.fetch import FetchedReport, fetch
from finops_pipeline.ingest.ledger import Ledger, LedgerEntry, report_id
from finops_pipeline.ingest.location import Location, RemoteReport, ReportChanged, ReportDamaged
from finops_pipeline.ingest.reading import UnreadableReport, open_report
from finops_pipeline.ingest.totals import Examination, examine
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
        first_day: date,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self.location = location
        self.ledger = ledger
        self.archive = archive
        self.engine = engine
        self.spool = spool
        self.first_day = first_day
        self.clock = clock

    def new_reports(self) -> list[RemoteReport]:
        """What the location lists and the ledger does not know, earliest delivery first.

        Raises IngestError when the location cannot be listed.
        """
        return sorted(
            (r for r in self.location.reports() if not self.ledger.knows(r.name, r.etag)),
            key=lambda r: (r.delivered_at, r.name),
        )

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
        for report in batch:
            try:
                yield self._one(report)
            except (ReportChanged, ReportDamaged) as error:
                failed.append(str(error))
            progress(report.name)

    def _one(self, report: RemoteReport) -> LedgerEntry:
        fetched = fetch(self.location, report, self.spool)
        now = self.clock().replace(microsecond=0)
        identity = report_id(self.source.name, report.name, fetched.sha256)
        newest = self.ledger.newest_of(report.name)
        if newest is not None and newest.report_id == identity:  # touched, not changed
            fetched.path.unlink()
            return dataclasses.replace(newest, etag=report.etag)
        if newest is not None:
            now = max(now, newest.archived_at + timedelta(seconds=1))
        if (known := self.ledger.get(identity)) is not None:  # what it was before it was rewritten
            report = dataclasses.replace(report, delivered_at=known.delivered_at)
        day = report.delivered_at.date()
        place = self.archive.keep(
            fetched.path, self.source.name, day.isoformat(), identity, report.name
        )
        problem, names, examined = self._examine(place, day, now)
        return _entry(self.source, report, fetched, identity, now, place, problem, names, examined)

    def _examine(
        self, place: str, day: date, now: datetime
    ) -> tuple[str | None, tuple[str, ...], Examination]:
        raw = raw_format(self.source.format)
        last_day = now.date() + timedelta(days=1)
        try:
            with self.archive.local(place) as path:
                opened = open_report(path, raw)
                examined = examine(self.engine, opened, day, self.first_day, last_day, self.spool)
        except UnreadableReport as problem:
            return str(problem), (), _NOTHING
        return None, opened.names, examined


def _entry(
    source: Source,
    report: RemoteReport,
    fetched: FetchedReport,
    identity: str,
    now: datetime,
    place: str,
    problem: str | None,
    names: tuple[str, ...],
    examined: Examination,
) -> LedgerEntry:
    return LedgerEntry(
        source=source.name,
        delivery_day=report.delivered_at.date(),
        report_id=identity,
        name=report.name,
        etag=report.etag,
        size=fetched.size,
        md5=fetched.md5,
        sha256=fetched.sha256,
        delivered_at=report.delivered_at,
        archived_at=now,
        archive_path=place,
        format=source.format,
        status="unreadable" if problem else "read",
        problem=problem,
        columns=names,
        rows=examined.rows,
        scopes=examined.scopes,
        rounded_rows=examined.rounded_rows,
        totals=examined.totals,
    )
