"""Normalize charge days of a source: stage what touches them, choose the rows, commit the days.

Each day is worked out on its own and becomes visible with the others of the range in one commit
per table. What a day holds follows from the ledger alone, so the order of runs does not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa

from finops_pipeline.config import Source
from finops_pipeline.contracts.check import Violation, violations
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.ledger import Ledger, LedgerEntry
from finops_pipeline.ingest.totals import EXACT
from finops_pipeline.lake.days import by_day, chunks
from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline.lake.home import Home
from finops_pipeline.normalize.books import LEDGER, books_sql
from finops_pipeline.normalize.dayfiles import write_without
from finops_pipeline.normalize.deduplicate import superseded_sql
from finops_pipeline.normalize.stage import LostRowsError, Staged, Stager

_PARTS = ("stored", "superseded", "rejected")
_CHUNK = 500_000  # charges whose keys are compared at a time

_TABLES = ("focus_costs", "rejected_rows", "superseded_rows", "conservation")


@dataclass(frozen=True)
class DayResult:
    """What became of one charge day: its books by currency, and what broke, if anything did."""

    day: date
    books: tuple[dict[str, Any], ...]
    problems: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def rows(self) -> int:
        """Charges stored."""
        return sum(b["stored_rows"] for b in self.books)

    @property
    def rejected(self) -> int:
        """Rows rejected."""
        return sum(b["rejected_rows"] for b in self.books)


@dataclass(frozen=True)
class _Day:
    """A charge day worked out and not yet committed: its files by table."""

    result: DayResult
    files: dict[str, list[LakeFile]]


class Normalize:
    """The means to normalize one source."""

    def __init__(
        self,
        home: Home,
        source: Source,
        ledger: Ledger,
        engine: Engine,
        stager: Stager,
        refused: Mapping[date, str] | None = None,
    ) -> None:
        """`refused` are days that may not be normalized, with the reason of each."""
        self.home = home
        self._refused = refused or {}
        self.source = source
        self.ledger = ledger
        self.engine = engine
        self.stager = stager
        numbered = raw_format(source.format).reference is not None
        self._superseded_sql = superseded_sql(source.corrections, by_content=not numbered)
        self._seen = {name: home.table(name).seen() for name in _TABLES}
        self._touching: dict[date, list[LedgerEntry]] = defaultdict(list)
        for entry in (e.kept_since(stager.first_day) for e in ledger.live()):
            for day in entry.charge_days:
                self._touching[day].append(entry)
        self._replaced: dict[date, list[LedgerEntry]] = defaultdict(list)
        for entry in (e.kept_since(stager.first_day) for e in ledger.replaced()):
            for day in entry.charge_days:
                self._replaced[day].append(entry)
        books = self._table("conservation").files(source.name)
        self._made = {date.fromisoformat(f.partition[1]): f.fingerprint for f in books}

    def days(self) -> list[date]:
        """Every charge day that a report of the source touches, or that was made, in order.

        A day that was made and is touched no more lies before `first_day` now: it goes.
        """
        return sorted(self._touching.keys() | self._replaced.keys() | self._made.keys())

    def stale_days(self) -> list[date]:
        """The charge days that are not made from what the ledger knows now, in order.

        So is a day of which the books tell and no row is there: a table of the lake was lost, or a
        commit of it.
        """
        tables = (self._table(name) for name in _TABLES if name != "conservation")
        there = {f.partition[1] for table in tables for f in table.files(self.source.name)}
        return [
            day
            for day in self.days()
            if self._made.get(day) != self.fingerprint(day)
            or (self._touching.get(day) and day.isoformat() not in there)
        ]

    def fingerprint(self, day: date) -> str:
        """A hash of all that a charge day is made from."""
        made_from = (
            sorted(self.stager.fingerprint(e) for e in self._touching[day]),
            sorted(e.report_id for e in self._replaced[day]),
            self._superseded_sql.text,
            books_sql().text,
        )
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:32]

    def run(
        self, days: Sequence[date], progress: Callable[[str], None] = lambda _: None
    ) -> list[DayResult]:
        """Normalize these charge days; a day that breaks keeps its last good data.

        Returns what became of each day, in order.
        """
        allowed = (d for d in days if d not in self._refused)
        self.stager.stage_together(
            {e.report_id: e for d in allowed for e in self._touching[d]}.values()
        )
        worked_out: list[_Day] = []
        for chunk in chunks(days, self._rows, _CHUNK):
            worked_out += self._work_out(chunk)
            progress(chunk[-1].isoformat())
        self._check_contract(worked_out)
        good = [d for d in worked_out if not d.result.problems]
        note = {"finops.reports": json.dumps(self._reports_of(d.result.day for d in good))}
        prefixes = [(self.source.name, d.result.day.isoformat()) for d in good]
        # The books last: a day counts as made when its books are there.
        for name in _TABLES:
            files = [f for d in good for f in d.files[name]]
            self._table(name).replace(prefixes, files, note, self._seen[name])
        return [d.result for d in worked_out]

    def _reports_of(self, days: Iterable[date]) -> list[str]:
        return sorted({e.report_id for day in days for e in self._touching[day]})

    def _rows(self, day: date) -> int:
        touching = (*self._touching[day], *self._replaced[day])
        return sum(t.rows for e in touching for t in e.totals if t.charge_day == day)

    def _work_out(self, days: Sequence[date]) -> list[_Day]:
        staged, broken = self._stage(days)
        days = [d for d in days if d in staged]
        source = self.source.name
        candidates = [
            f for d in days for s in staged[d] if (f := s.charge_file(source, d.isoformat()))
        ]
        self._bind("candidates", "focus_costs", candidates)
        superseded = self.engine.rows(self._superseded_sql)
        lost = dict(by_day(superseded, "charge_day"))
        files: dict[date, dict[str, list[LakeFile]]] = {}
        for day in days:
            iso = day.isoformat()
            files[day] = {
                "focus_costs": self._standing(staged[day], iso, lost.get(day, _none())),
                "rejected_rows": [f for s in staged[day] if (f := s.rejected_file(source, iso))],
                "superseded_rows": self._write("superseded_rows", day, lost.get(day)),
            }
        books = dict(by_day(self._books(days, files, superseded), "charge_day"))
        done = []
        for day in days:
            files[day]["conservation"] = self._write("conservation", day, books.get(day))
            rows = books[day].to_pylist() if day in books else []
            done.append(_Day(_result(day, rows), files[day]))
        return sorted([*done, *broken], key=lambda d: d.result.day)

    def _stage(self, days: Sequence[date]) -> tuple[dict[date, list[Staged]], list[_Day]]:
        """The staged reports of each day, and the days that a report is lost for."""
        staged: dict[date, list[Staged]] = {}
        broken = []
        for day in days:
            if day in self._refused:
                broken.append(_Day(DayResult(day, (), (self._refused[day],)), {}))
                continue
            try:
                staged[day] = [self.stager.stage(entry) for entry in self._touching[day]]
            except LostRowsError as error:
                broken.append(_Day(DayResult(day, (), (str(error),)), {}))
        return staged, broken

    def _standing(self, staged: Sequence[Staged], day: str, superseded: pa.Table) -> list[LakeFile]:
        """The charge files of the day without the superseded rows."""
        rows_of = defaultdict(list)
        for report, row in zip(
            superseded.column("report_id").to_pylist(),
            superseded.column("report_row").to_pylist(),
            strict=True,
        ):
            rows_of[report].append(row)
        standing = []
        for item in staged:
            file = item.charge_file(self.source.name, day)
            lost = sorted(rows_of.get(item.entry.report_id, ()))
            if file is None or len(lost) == item.charges[day]:
                continue
            standing.append(self._without(file, lost) if lost else file)
        return standing

    def _without(self, file: LakeFile, rows: list[int]) -> LakeFile:
        """The file without some rows of its report: made once, named by what is left out."""
        left_out = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
        kept = LakeFile(file.partition, f"{file.fingerprint}-{left_out}")
        table = self._table("focus_costs")
        if not table.holds(kept):
            finished = self.home.spool / f"{kept.fingerprint}-{file.partition[1]}.parquet"
            table.place({kept: write_without(table.source(file), rows, finished)})
        return kept

    def _books(
        self,
        days: Sequence[date],
        files: Mapping[date, Mapping[str, list[LakeFile]]],
        superseded: pa.Table,
    ) -> pa.Table:
        """The books of the days, one row for each currency: see the table `conservation`."""
        for name, table in (("standing", "focus_costs"), ("rejected", "rejected_rows")):
            self._bind(name, table, [f for day in days for f in files[day][table]])
        self.engine.bind_arrow("superseded", superseded)
        lines = [line for day in days for line in self._ledger_lines(day)]
        self.engine.bind_arrow("ledger", pa.Table.from_pylist(lines, schema=LEDGER))
        books = self.engine.rows(books_sql())
        return books.cast(arrow_schema(tables()["conservation"]))

    def _ledger_lines(self, day: date) -> Iterator[dict[str, Any]]:
        """What the ledger says of a day: all that was delivered, and what a rewrite replaced."""
        for kind, entries in (
            ("delivered", self._touching[day] + self._replaced[day]),
            ("superseded", self._replaced[day]),
        ):
            for total in (t for e in entries for t in e.totals if t.charge_day == day):
                yield {
                    "source": self.source.name,
                    "charge_day": day,
                    "kind": kind,
                    "currency": total.currency,
                    "rows": total.rows,
                    "cost": total.cost,
                }

    def _check_contract(self, worked_out: list[_Day]) -> None:
        """Hold the new charge files against the contract; name the days that break it."""
        known = set(self._table("focus_costs").files(self.source.name))
        new = [f for d in worked_out for f in d.files.get("focus_costs", ()) if f not in known]
        if not new or not self._violations(new):
            return
        for i, day in enumerate(worked_out):
            files = day.files.get("focus_costs", [])
            if files and (found := self._violations(files)):
                problems = (*day.result.problems, *(str(v) for v in found))
                result = DayResult(day.result.day, day.result.books, problems, tuple(found))
                worked_out[i] = _Day(result, day.files)

    def _violations(self, files: Sequence[LakeFile]) -> list[Violation]:
        self._bind("contracted", "focus_costs", files)
        return violations(self.engine, tables()["focus_costs"], "contracted")

    def _bind(self, name: str, table: str, files: Sequence[LakeFile]) -> None:
        lake = self._table(table)
        self.engine.bind_files(name, lake.table, [lake.location(f) for f in files])

    def _write(self, name: str, day: date, rows: pa.Table | None) -> list[LakeFile]:
        if rows is None or not rows.num_rows:
            return []
        file = LakeFile((self.source.name, day.isoformat()), self.fingerprint(day))
        return [self._table(name).write(file, rows)]

    def _table(self, name: str) -> LakeTable:
        return self.home.table(name)


def _none() -> pa.Table:
    return arrow_schema(tables()["superseded_rows"]).empty_table()


def _result(day: date, books: list[dict[str, Any]]) -> DayResult:
    problems = tuple(
        f"{day}: {b['currency'] or '(no currency)'}: delivered {_money(b['delivered_cost'])} in "
        f"{b['delivered_rows']} rows, but stored + superseded + rejected is "
        f"{_money(_sum(b[f'{part}_cost'] for part in _PARTS))} in "
        f"{sum(b[f'{part}_rows'] for part in _PARTS)} rows"
        for b in books
        if not b["balanced"]
    )
    return DayResult(day, tuple(books), problems)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(EXACT.add, amounts, Decimal(0))


def _money(amount: Decimal) -> str:
    return format(amount.normalize(EXACT), "f")
