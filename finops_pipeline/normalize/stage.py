"""Stage one report: map it to FOCUS once, as Parquet files that the lake may take in.

A staged report is a file for each charge day it touches, lying where the lake will look for it
but not yet in the lake; its name is the fingerprint of all that made it. A note beside says which
files there are, and is written last: without it the report is staged again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa

from finops_pipeline.contracts.formats import formats
from finops_pipeline.contracts.raw import Header, raw_format, read_header
from finops_pipeline.durable import make_folder, write_whole
from finops_pipeline.engine.kept import kept, named
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.ledger import LedgerEntry
from finops_pipeline.ingest.reading import UnreadableReport, open_report, plain_rows, with_rows
from finops_pipeline.ingest.rows import CutOffError, NotWellFormedError
from finops_pipeline.ingest.structured import BrokenFileError
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.normalize.catalogue import bind_catalogues, catalogue_hash, paths_of
from finops_pipeline.normalize.dayfiles import DayFiles
from finops_pipeline.normalize.mapper import FILED_BY, Mapper, Parcel, batches
from finops_pipeline.normalize.mapping import Mapping, bound_columns, mapping
from finops_pipeline.normalize.rates import Rates

_Alike = tuple[str, tuple[str, ...], bool]

_TABLES = ("focus_costs", "rejected_rows")
# What a report may raise that is then staged on its own.
_LEFT = (UnreadableReport, NotWellFormedError, CutOffError, BrokenFileError, FileNotFoundError)


class LostRowsError(Exception):
    """Fewer or more rows came out of a report than the ledger counted in it."""


@dataclass(frozen=True)
class Staged:
    """A staged report: its charge files and rejected files by charge day."""

    entry: LedgerEntry
    fingerprint: str
    charges: MappingType[str, int]
    rejected: MappingType[str, int]

    def charge_file(self, source: str, day: str) -> LakeFile | None:
        """The file with the report's charges of a day, if it has any."""
        return LakeFile((source, day), self.fingerprint) if day in self.charges else None

    def rejected_file(self, source: str, day: str) -> LakeFile | None:
        """The file with the report's rejected rows of a day, if it has any."""
        return LakeFile((source, day), self.fingerprint) if day in self.rejected else None


class Stager:
    """Stages the reports of one source."""

    def __init__(
        self,
        home: Home,
        source: str,
        engine: Engine,
        rates: Rates,
        scopes: MappingType[str, str],
        first_day: date,
    ) -> None:
        self.home = home
        self.source = source
        self.engine = engine
        self.rates = rates
        self.scopes = scopes
        self.first_day = first_day
        self._bound: str | None = None  # the provider whose catalogues are
        self._fingerprints: dict[str, str] = {}
        self._mappings: dict[_Alike, Mapping] = {}
        self._mapped: dict[_Alike, str] = {}

    def fingerprint(self, entry: LedgerEntry) -> str:
        """A hash of all that the staged report is made from: content, rules, facts and rates."""
        if entry.report_id not in self._fingerprints:
            self._fingerprints[entry.report_id] = self._fingerprint(entry)
        return self._fingerprints[entry.report_id]

    def _fingerprint(self, entry: LedgerEntry) -> str:
        made_from = (
            self._mapped_by(entry),
            catalogue_hash(_provider(entry)),
            entry.report_id,
            sorted(self._constants(entry).items()),
            self.rates.rows(_currencies([entry])),
            paths_of(entry.scopes, self.scopes),
        )
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:32]

    def stage(self, entry: LedgerEntry) -> Staged:
        """The report as charge files; made only when it is not there yet.

        Raises LostRowsError when charges and rejected rows are not all rows of the report, or
        when the archive no longer has it as it was.
        """
        fingerprint = self.fingerprint(entry)
        try:
            return self._noted(entry, fingerprint) or self._make(entry)
        except (UnreadableReport, FileNotFoundError) as problem:
            raise LostRowsError(
                f"{self.source}: report {entry.name}: the archived file {entry.archive_path} could "
                f"be read once and now cannot: {problem}. Restore it, and run again."
            ) from problem

    def stage_together(self, entries: Iterable[LedgerEntry]) -> None:
        """Stage what is not there yet, all reports with one header in one pass.

        Only a saving: a batch of rows costs as much again as it has rows. What does not go
        smoothly is left, and `stage` does it on its own and says what is wrong.
        """
        waiting: dict[_Alike, list[LedgerEntry]] = defaultdict(list)
        for entry in entries:
            if entry.rows and self._noted(entry, self.fingerprint(entry)) is None:
                waiting[self._alike(entry)].append(entry)
        for alike_entries in waiting.values():
            self._make_together(alike_entries)

    def _make_together(self, entries: Sequence[LedgerEntry]) -> None:
        read: list[LedgerEntry] = []

        def parcels() -> Iterator[Parcel]:
            for entry in entries:
                try:
                    with self.home.archive.local(entry.archive_path) as path:
                        report = open_report(path, raw_format(entry.format))
                        if not report.plain:
                            continue
                        columns = bound_columns(report.header, entry.format)
                        unlike = report.raw.unlike
                        for rows in plain_rows(report, columns, unlike):
                            yield Parcel(self._constants(entry), rows)
                except _LEFT:
                    continue
                read.append(entry)

        mapper = self._mapper(entries)
        with DayFiles(self.home.spool / f"{self.fingerprint(entries[0])}-together") as files:
            for batch in batches(parcels()):
                self._add(files, mapper, batch)
                for entry in read:
                    self._take(files, entry)
                read.clear()

    def _make(self, entry: LedgerEntry) -> Staged:
        mapper = self._mapper([entry])
        constants = self._constants(entry)
        with (
            self.home.archive.local(entry.archive_path) as path,
            DayFiles(self.home.spool / self.fingerprint(entry)) as files,
        ):
            report = open_report(path, raw_format(entry.format))
            columns = bound_columns(report.header, entry.format)

            def use(tables: Iterator[pa.Table]) -> None:
                files.drop(entry.report_id)
                for batch in batches(Parcel(constants, t) for t in tables):
                    self._add(files, mapper, batch)

            with_rows(report, columns, self.home.spool, use, report.raw.unlike)
            if report.bad_rows:
                rejected = mapper.bad_rows(report.bad_rows, columns, constants)
                files.add("rejected_rows", rejected, "report_id", "charge_day")
            staged = self._take(files, entry)
        if staged is None:
            raise LostRowsError(
                f"{self.source}: report {entry.name}: the ledger counted {entry.rows} rows, the "
                "mapping gave another number. The archived file "
                f"{entry.archive_path} may be damaged: compare its SHA-256 with the ledger's, "
                "restore it, and run again."
            )
        return staged

    def _add(self, files: DayFiles, mapper: Mapper, batch: Sequence[Parcel]) -> None:
        charges, rejected = mapper.map(batch)
        files.add("focus_costs", charges, *FILED_BY)
        files.add("rejected_rows", rejected, "report_id", "charge_day")

    def _take(self, files: DayFiles, entry: LedgerEntry) -> Staged | None:
        """Put a report's files in place if they hold every row of it, and note it."""
        written = files.close(entry.report_id)
        if sum(rows for days in written.values() for _, rows in days.values()) != entry.rows:
            return None
        fingerprint = self.fingerprint(entry)
        found: dict[str, dict[str, int]] = {}
        for name in _TABLES:
            days = dict(sorted(written.get(name, {}).items()))
            self.home.table(name).place(
                {LakeFile((self.source, day), fingerprint): part for day, part in days.items()}
            )
            found[name] = {day: rows for day, (_, rows) in days.items()}
        charges, rejected = (found[name] for name in _TABLES)
        self._write_note(fingerprint, charges, rejected)
        return Staged(entry, fingerprint, charges, rejected)

    def _mapper(self, entries: Sequence[LedgerEntry]) -> Mapper:
        if self._bound != (provider := _provider(entries[0])):
            bind_catalogues(self.engine, provider, self.scopes)
            self._bound = provider
        self.engine.keep("catalogue rate", self.rates.table(_currencies(entries)))
        return Mapper(self.engine, self._mapping(entries[0]))

    def _noted(self, entry: LedgerEntry, fingerprint: str) -> Staged | None:
        note = self._note(fingerprint)
        if not note.exists():
            return None
        found = json.loads(note.read_text(encoding="utf-8"))
        staged = Staged(entry, fingerprint, found["charges"], found["rejected"])
        tables_and_days = [
            (self.home.table("focus_costs"), staged.charges),
            (self.home.table("rejected_rows"), staged.rejected),
        ]
        complete = all(
            table.holds(LakeFile((self.source, day), fingerprint))
            for table, days in tables_and_days
            for day in days
        )
        return staged if complete else None

    def _note(self, fingerprint: str) -> Path:
        return self.home.staged / self.source / f"{fingerprint}.json"

    def _write_note(
        self, fingerprint: str, charges: dict[str, int], rejected: dict[str, int]
    ) -> None:
        note = self._note(fingerprint)
        make_folder(note.parent)
        write_whole(note, json.dumps({"charges": charges, "rejected": rejected}).encode())

    def _mapping(self, entry: LedgerEntry) -> Mapping:
        alike = self._alike(entry)
        if alike not in self._mappings:
            header: Header = read_header(raw_format(entry.format), entry.columns)
            reporting, foreign = self.rates.reporting_currency, self._is_foreign(entry)
            made = mapping(entry.format, header, self.source, reporting, foreign)
            self._mappings[alike] = made
        return self._mappings[alike]

    def _mapped_by(self, entry: LedgerEntry) -> str:
        """The mapping's fingerprint: known without the mapping, which takes a tenth of a second."""
        alike = self._alike(entry)
        if alike not in self._mapped:
            made_from = named(*alike, self.source, self.rates.reporting_currency)
            self._mapped[alike] = kept(
                "mapping", made_from, lambda: self._mapping(entry).fingerprint
            )
        return self._mapped[alike]

    def _alike(self, entry: LedgerEntry) -> _Alike:
        """What reports have in common that one mapping serves."""
        return entry.format, entry.columns, self._is_foreign(entry)

    def _is_foreign(self, entry: LedgerEntry) -> bool:
        return {t.currency for t in entry.totals} != {self.rates.reporting_currency}

    def _constants(self, entry: LedgerEntry) -> dict[str, str]:
        return {
            "report_name": entry.name,
            "report_id": entry.report_id,
            "delivered_at": entry.delivered_at.isoformat(),
            "delivery_day": entry.delivery_day.isoformat(),
            "first_day": self.first_day.isoformat(),
            "last_day": (entry.archived_at.date() + timedelta(days=1)).isoformat(),
        }


def _currencies(entries: Iterable[LedgerEntry]) -> Iterator[tuple[str, date]]:
    """What these reports bill in, on each day."""
    return ((t.currency, t.charge_day) for e in entries for t in e.totals)


def _provider(entry: LedgerEntry) -> str:
    return formats()[entry.format].provider
