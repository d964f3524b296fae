"""The ledger: every report that was ever archived, with its control totals.

One Parquet file for each source and delivery day, replaced whole, so that a report and its totals
become known in one commit. How the totals are made is elsewhere (`totals.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property

import pyarrow as pa

from finops_pipeline.contracts.formats import formats
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.ingest.totals import EXACT, Total
from finops_pipeline.lake.delta import LakeFile, LakeTable, Overtaken

_TIMES = ("delivered_at", "archived_at")


@dataclass(frozen=True)
class LedgerEntry:
    """A report in the archive: what the table `reports` says of it, column by column."""

    source: str
    delivery_day: date
    report_id: str
    name: str
    etag: str
    size: int
    md5: str
    sha256: str
    delivered_at: datetime
    archived_at: datetime
    archive_path: str
    format: str
    status: str
    problem: str | None
    columns: tuple[str, ...]
    rows: int
    scopes: tuple[str, ...]
    rounded_rows: int
    totals: tuple[Total, ...]
    delivery_scope: str | None = None
    members: tuple[str, ...] | None = None

    @property
    def order(self) -> tuple[datetime, str]:
        """Which of two reports is the later one: by delivery time, then by name."""
        return (self.delivered_at, self.name)

    @cached_property
    def charge_days(self) -> frozenset[date]:
        """The charge days that the report touches."""
        return frozenset(t.charge_day for t in self.totals)

    def kept_since(self, first_day: date) -> LedgerEntry:
        """The entry where charges before that day are rejected, which counts on its delivery day.

        The ledger tells every charge's own day: what is kept can be changed in `finops.yaml`.
        """
        if all(t.charge_day >= first_day for t in self.totals):
            return self
        sums: dict[tuple[date, str], Total] = {}
        for total in self.totals:
            day = total.charge_day if total.charge_day >= first_day else self.delivery_day
            before = sums.get((day, total.currency), Total(day, total.currency, 0, Decimal(0)))
            sums[day, total.currency] = Total(
                day,
                total.currency,
                before.rows + total.rows,
                EXACT.add(before.cost, total.cost),
            )
        return dataclasses.replace(self, totals=tuple(sums[key] for key in sorted(sums)))


def report_id(source: str, name: str, sha256: str) -> str:
    """The identity of a report: the same content under the same name is the same report."""
    return hashlib.sha256(f"{source}\n{name}\n{sha256}".encode()).hexdigest()[:32]


Known = dict[LakeFile, list[LedgerEntry]]


class Ledger:
    """The ledger of one source, as it was when it was opened plus what was recorded since.

    `known` is what was read of its files before, which stays as it was: a file's name follows from
    what it says. What is read is added to it.
    """

    def __init__(self, table: LakeTable, source: str, known: Known | None = None) -> None:
        self._table = table
        self._known = {} if known is None else known
        self.source = source
        self._entries: dict[str, LedgerEntry] = {}
        self._look()

    def _look(self) -> None:
        """Take in what the table holds now."""
        self._seen = self._table.seen()
        for file in self._table.files(self.source):
            if file not in self._known:
                self._known[file] = _read(self._table, file)
            self._entries |= {e.report_id: e for e in self._known[file]}

    @property
    def entries(self) -> list[LedgerEntry]:
        """Every report, earliest first."""
        return sorted(self._entries.values(), key=lambda e: (*e.order, e.archived_at))

    @cached_property
    def _versions(self) -> dict[str, LedgerEntry]:
        return {e.name: e for e in self._as_archived()}

    def _as_archived(self) -> list[LedgerEntry]:
        """Every report, that which was archived last at the end.

        Not by delivery: a place may go back to a content that it had before.
        """
        return sorted(self._entries.values(), key=lambda e: (e.archived_at, *e.order))

    @property
    def latest(self) -> datetime | None:
        """The latest time that it knows of; None while it is empty.

        That much time has passed, whatever the clock of this machine says now.
        """
        times = ((e.archived_at, e.delivered_at) for e in self._entries.values())
        return max((moment for pair in times for moment in pair), default=None)

    def live(self) -> list[LedgerEntry]:
        """The newest version of each report that can be read, earliest first.

        An object that the provider rewrote under the same name takes the place of what it was,
        unless it cannot be read: then the last good one stays. Of a delivery scope stands what
        its newest manifest lists, and nothing else. Where nothing tells charges apart, a copy of a
        report under another name is left out: the one that came first stands.
        """
        alone = {
            e.name: e
            for e in self._as_archived()
            if e.status == "read" and e.delivery_scope is None
        }
        listed = {i: self._entries[i] for m in self.manifests() for i in m.members or ()}
        return sorted((*_without_copies(alone.values()), *listed.values()), key=lambda e: e.order)

    def manifests(self) -> list[LedgerEntry]:
        """The manifest that stands for each delivery scope: the newest that can be read whole.

        The newest is the one that was delivered last; of two delivered at one time, the one that
        was archived last.
        """
        standing: dict[str, LedgerEntry] = {}
        for entry in sorted(self._entries.values(), key=lambda e: (e.delivered_at, e.archived_at)):
            if entry.delivery_scope is not None and self._is_whole(entry):
                standing[entry.delivery_scope] = entry
        return [standing[scope] for scope in sorted(standing)]

    def _is_whole(self, entry: LedgerEntry) -> bool:
        """Whether it is a manifest all of whose members can be read."""
        return entry.members is not None and all(
            self._entries[i].status == "read" for i in entry.members
        )

    def newest(self) -> list[LedgerEntry]:
        """The newest version of each report, readable or not, in order of their names."""
        return [self._versions[name] for name in sorted(self._versions)]

    def replaced(self) -> list[LedgerEntry]:
        """Readable reports in whose place a newer version stands."""
        live = {e.report_id for e in self.live()}
        return [e for e in self.entries if e.status == "read" and e.report_id not in live]

    def knows(self, name: str, etag: str, size: int | None = None, md5: str | None = None) -> bool:
        """Whether the object was archived under this change token.

        Nor may its size or MD5 be another, where they are told: whoever copies a bucket may keep
        its tokens and not its content.
        """
        newest = self.newest_of(name)
        return (
            newest is not None
            and newest.etag == etag
            and size in (None, newest.size)
            and md5 in (None, newest.md5)
        )

    def newest_of(self, name: str) -> LedgerEntry | None:
        """What was archived last under that name, whether it can be read or not."""
        return self._versions.get(name)

    def get(self, report_id: str) -> LedgerEntry | None:
        """The report of that identity."""
        return self._entries.get(report_id)

    def record(self, entries: Iterable[LedgerEntry]) -> None:
        """Make reports known, all in one commit; a known report takes the place of itself.

        What another run recorded meanwhile stays known beside them.
        """
        entries = list(entries)
        while True:
            try:
                return self._record(entries)
            except Overtaken:
                self._look()

    def _record(self, entries: Sequence[LedgerEntry]) -> None:
        changed: set[date] = set()
        for entry in entries:
            self._entries[entry.report_id] = entry
            changed.add(entry.delivery_day)
        if not changed:
            return
        self.__dict__.pop("_versions", None)
        by_day = defaultdict(list)
        for entry in self.entries:
            if entry.delivery_day in changed:
                by_day[entry.delivery_day].append(entry)
        files = [_write(self._table, self.source, day, found) for day, found in by_day.items()]
        days = [(self.source, day.isoformat()) for day in changed]
        self._table.replace(days, files, seen=self._seen)


def _without_copies(entries: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
    contents = set()
    for entry in sorted(entries, key=lambda e: e.order):
        if entry.sha256 not in contents:
            yield entry
        if formats()[entry.format].copies_once:
            contents.add(entry.sha256)


def _write(table: LakeTable, source: str, day: date, entries: list[LedgerEntry]) -> LakeFile:
    rows = [dataclasses.asdict(e) for e in entries]
    identity = "\n".join(f"{e.report_id} {e.etag} {e.archived_at}" for e in entries)
    file = LakeFile((source, day.isoformat()), hashlib.sha256(identity.encode()).hexdigest()[:32])
    table.write(file, pa.Table.from_pylist(rows, schema=arrow_schema(tables()["reports"])))
    return file


def _read(table: LakeTable, file: LakeFile) -> list[LedgerEntry]:
    found = table.read(file)
    for name in _TIMES:
        # Arrow imports pandas before it makes a time with a zone: a quarter of a second.
        position = found.schema.get_field_index(name)
        found = found.set_column(position, name, found.column(name).cast(pa.timestamp("us")))
    return [
        LedgerEntry(
            **{
                **row,
                **{name: row[name].replace(tzinfo=UTC) for name in _TIMES},
                "columns": tuple(row["columns"]),
                "scopes": tuple(row["scopes"]),
                "members": None if row["members"] is None else tuple(row["members"]),
                "totals": tuple(Total(**total) for total in row["totals"]),
            }
        )
        for row in found.to_pylist()
    ]
