"""Stage one report: map it to FOCUS once, as Parquet files that the lake may take in.

A staged report is a file for each charge day it touches, lying where the lake will look for it
but not yet in the lake; its name is the fingerprint of all that made it. A note beside says which
files there are, and is written last: without it the report is staged again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingType
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.raw import Header, raw_format, read_header
from finops_pipeline.contracts.tables import tables
from finops_pipeline.durable import make_folder, write_whole
from finops_pipeline.engine.protocol import Engine, ReportCutOffError, ReportSyntaxError
from finops_pipeline.engine.sql import Sql
from finops_pipeline.ingest.ledger import LedgerEntry
from finops_pipeline.ingest.reading import (
    Report,
    UnreadableReport,
    bad_fields,
    open_report,
    with_rows,
)
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.normalize.catalogue import bind_catalogues, catalogue_hash, paths_of
from finops_pipeline.normalize.mapping import Mapping, bound_columns, mapping
from finops_pipeline.normalize.rates import Rates

_TOGETHER_ROWS = 100_000
_TOGETHER_REPORTS = 20


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
        compartments: MappingType[str, str],
        first_day: date,
    ) -> None:
        self.home = home
        self.source = source
        self.engine = engine
        self.rates = rates
        self.compartments = compartments
        self.first_day = first_day
        self._bound_mapping: Mapping | None = None
        self._catalogues_bound = False
        self._fingerprints: dict[str, str] = {}

    def fingerprint(self, entry: LedgerEntry) -> str:
        """A hash of all that the staged report is made from: content, rules, facts and rates."""
        if entry.report_id not in self._fingerprints:
            self._fingerprints[entry.report_id] = self._fingerprint(entry)
        return self._fingerprints[entry.report_id]

    def _fingerprint(self, entry: LedgerEntry) -> str:
        compiled = self._mapping(entry)
        made_from = (
            [sql.text for _, sql in compiled.steps],
            compiled.charges.text,
            compiled.rejected.text,
            catalogue_hash(),
            entry.report_id,
            sorted(self._constants(entry).items()),
            self._rates([entry]).to_pylist(),
            paths_of(entry.scopes, self.compartments),
        )
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:32]

    def stage(self, entry: LedgerEntry) -> Staged:
        """The report as charge files; made only when it is not there yet.

        Raises LostRowsError when charges and rejected rows are not all rows of the report, or
        when the archive no longer has it as it was.
        """
        fingerprint = self.fingerprint(entry)
        try:
            with ExitStack() as copies:
                return self._noted(entry, fingerprint) or self._make(entry, fingerprint, copies)
        except (UnreadableReport, FileNotFoundError) as problem:
            raise LostRowsError(
                f"{self.source}: report {entry.name}: the archived file {entry.archive_path} could "
                f"be read once and now cannot: {problem}. Restore it, and run again."
            ) from problem

    def stage_together(self, entries: Iterable[LedgerEntry]) -> None:
        """Stage what is not there yet, many small reports of one header in one pass.

        Only a saving: planning a pass costs as much as ten thousand rows. What does not go
        smoothly is left, and `stage` does it on its own and says what is wrong.
        """
        waiting: dict[tuple[object, ...], list[LedgerEntry]] = defaultdict(list)
        for entry in entries:
            if self._noted(entry, self.fingerprint(entry)) is None and entry.rows:
                suffix = PurePosixPath(entry.name).suffix
                alike = (entry.format, entry.columns, suffix, self._is_foreign(entry))
                waiting[alike].append(entry)
        for alike_entries in waiting.values():
            for batch in _batches(alike_entries):
                with ExitStack() as copies:
                    self._make_together(batch, copies)

    def _make_together(self, batch: Sequence[LedgerEntry], copies: ExitStack) -> None:
        try:
            reports = [self._open(entry, copies) for entry in batch]
        except (UnreadableReport, FileNotFoundError):
            return
        if not all(report.plain for report in reports):
            return
        self._bind_catalogues(batch)
        before = accumulate((entry.rows for entry in batch[:-1]), initial=0)
        constants = [
            {**self._constants(entry), "rows_before": rows}
            for entry, rows in zip(batch, before, strict=True)
        ]
        folder = self.home.spool / f"{self.fingerprint(batch[0])}-together"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self.engine.bind_reports(
                "report",
                [report.path for report in reports],
                reports[0].header.width,
                bound_columns(reports[0].header, batch[0].format),
                pa.Table.from_pylist(constants),
            )
            compiled = self._mapping(batch[0])
            self._bind(compiled)
            written = self.engine.write_split(
                compiled.charges, ["x_ReportId", "x_ChargeDay"], folder
            )
            self._take(batch, written)
        except (ReportSyntaxError, ReportCutOffError):
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take(
        self, batch: Sequence[LedgerEntry], written: MappingType[tuple[str, ...], tuple[Path, int]]
    ) -> None:
        """Put in place the reports that came out of a common pass whole."""
        files: dict[str, dict[str, tuple[Path, int]]] = defaultdict(dict)
        for (report, day), found in written.items():
            files[report][day] = found
        table = self.home.table("focus_costs")
        for entry in batch:
            days = files[entry.report_id]
            charges = {day: rows for day, (_, rows) in sorted(days.items())}
            whole = sum(charges.values()) == entry.rows
            if whole and all(_numbered(path, entry.rows) for path, _ in days.values()):
                fingerprint = self.fingerprint(entry)
                for day, (path, _) in days.items():
                    table.place(path, LakeFile((self.source, day), fingerprint))
                self._write_note(fingerprint, charges, {})

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

    def _make(self, entry: LedgerEntry, fingerprint: str, copies: ExitStack) -> Staged:
        self._bind_catalogues([entry])
        report = self._open(entry, copies)
        compiled = self._mapping(entry)
        columns = bound_columns(report.header, entry.format)

        def make() -> tuple[dict[str, int], dict[str, int]]:
            self._bind(compiled)
            charges = self._split("focus_costs", compiled.charges, fingerprint, "x_ChargeDay")
            if sum(charges.values()) == entry.rows:
                return charges, {}
            return charges, self._rejected(report, entry, compiled, fingerprint)

        charges, rejected = with_rows(
            self.engine, "report", report, columns, self.home.spool, make, self._constants(entry)
        )
        self._check_rows(entry, charges, rejected)
        self._write_note(fingerprint, charges, rejected)
        return Staged(entry, fingerprint, charges, rejected)

    def _open(self, entry: LedgerEntry, copies: ExitStack) -> Report:
        path = copies.enter_context(self.home.archive.local(entry.archive_path))
        return open_report(path, raw_format(entry.format))

    def _bind_catalogues(self, entries: Sequence[LedgerEntry]) -> None:
        if not self._catalogues_bound:
            bind_catalogues(self.engine, self.compartments)
            self._catalogues_bound = True
        self.engine.keep("catalogue rate", self._rates(entries))

    def _bind(self, compiled: Mapping) -> None:
        if compiled is not self._bound_mapping:
            for name, sql in compiled.steps:
                self.engine.bind_sql(name, sql)
            self._bound_mapping = compiled

    def _rejected(
        self, report: Report, entry: LedgerEntry, compiled: Mapping, fingerprint: str
    ) -> dict[str, int]:
        self.engine.bind_arrow("bad rows", self._bad_rows(report, entry))
        return self._split("rejected_rows", compiled.rejected, fingerprint, "charge_day")

    def _bad_rows(self, report: Report, entry: LedgerEntry) -> pa.Table:
        """The rows that were no CSV, as rejected rows; what can be told of them is told.

        Their text goes through the same expressions as every other row, so that day, currency
        and cost are those that the ledger counted.
        """
        schema = arrow_schema(tables()["rejected_rows"])
        if not report.bad_rows:
            return schema.empty_table()
        columns = bound_columns(report.header, entry.format)
        text = bad_fields(report.bad_rows, columns)
        rows = len(report.bad_rows)
        text |= {name: [str(value)] * rows for name, value in self._constants(entry).items()}
        bound = pa.table({name: pa.array(values, pa.string()) for name, values in text.items()})
        bound = bound.append_column("report_row", pa.array([b.row for b in report.bad_rows]))
        # The rule that speaks for such a row is that it is no row.
        with self.engine.instead("report", bound):
            found = self.engine.rows(self._mapping(entry).rejected_all).to_pylist()
        for row, bad in zip(found, report.bad_rows, strict=True):
            row |= {"column": bad.column, "value": bad.value, "reason": bad.reason}
        return pa.Table.from_pylist(found, schema=schema)

    def _split(self, name: str, sql: Sql, fingerprint: str, by: str) -> dict[str, int]:
        """Write a result as one file for each day, each at its place; returns the rows by day."""
        folder = self.home.spool / f"{fingerprint}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            written = self.engine.write_split(sql, [by], folder)
            table = self.home.table(name)
            for (day,), (path, _) in written.items():
                table.place(path, LakeFile((self.source, day), fingerprint))
            return {day: rows for (day,), (_, rows) in sorted(written.items())}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_rows(
        self, entry: LedgerEntry, charges: dict[str, int], rejected: dict[str, int]
    ) -> None:
        found = sum(charges.values()) + sum(rejected.values())
        if found != entry.rows:
            raise LostRowsError(
                f"{self.source}: report {entry.name}: the ledger counted {entry.rows} rows, the "
                f"mapping gave {found}. The archived file {entry.archive_path} may be damaged: "
                "compare its SHA-256 with the ledger's, restore it, and run again."
            )

    def _note(self, fingerprint: str) -> Path:
        return self.home.staged / self.source / f"{fingerprint}.json"

    def _write_note(
        self, fingerprint: str, charges: dict[str, int], rejected: dict[str, int]
    ) -> None:
        note = self._note(fingerprint)
        make_folder(note.parent)
        write_whole(note, json.dumps({"charges": charges, "rejected": rejected}).encode())

    def _mapping(self, entry: LedgerEntry) -> Mapping:
        header: Header = read_header(raw_format(entry.format), entry.columns)
        reporting = self.rates.reporting_currency
        return mapping(entry.format, header, self.source, reporting, self._is_foreign(entry))

    def _is_foreign(self, entry: LedgerEntry) -> bool:
        return {t.currency for t in entry.totals} != {self.rates.reporting_currency}

    def _rates(self, entries: Iterable[LedgerEntry]) -> pa.Table:
        return self.rates.table((t.currency, t.charge_day) for e in entries for t in e.totals)

    def _constants(self, entry: LedgerEntry) -> dict[str, str]:
        return {
            "report_name": entry.name,
            "report_id": entry.report_id,
            "delivered_at": entry.delivered_at.isoformat(),
            "delivery_day": entry.delivery_day.isoformat(),
            "first_day": self.first_day.isoformat(),
            "last_day": (entry.archived_at.date() + timedelta(days=1)).isoformat(),
        }


def _batches(entries: Sequence[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    """Reports that are staged in one pass: few enough that memory stays what it is."""
    batch: list[LedgerEntry] = []
    rows = 0
    for entry in entries:
        if batch and (rows + entry.rows > _TOGETHER_ROWS or len(batch) == _TOGETHER_REPORTS):
            yield batch
            batch, rows = [], 0
        batch.append(entry)
        rows += entry.rows
    if len(batch) > 1:
        yield batch


def _numbered(path: Path, rows: int) -> bool:
    """Whether the row numbers of a charge file are rows of its report.

    In a common pass they follow from the order that the reports were read in; were that order
    ever another, the numbers would fall outside.
    """
    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index("x_ReportRow")
    groups = [
        metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)
    ]
    return all(group is not None and group.min >= 1 and group.max <= rows for group in groups)
