"""What must hold of one report's bytes in ingest, whatever they are: the property of the fuzzer.

Either the report is refused with a clear word, or every row of it is accounted for: numbered from
1 without a gap, as this reading and a second one (`plain.py`) both find it, and with its cost in
the totals. Everything that the package says here is what a run of ingest would have it say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from pathlib import Path

from finops_pipeline.config import ReportFormat
from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine import duckdb
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest import salvage
from finops_pipeline.ingest.reading import (
    Report,
    UnreadableReport,
    bad_fields,
    open_report,
    with_rows,
)
from finops_pipeline.ingest.totals import Examination, examine
from finops_pipeline_tests.fuzz import plain
from finops_pipeline_tests.fuzz.plain import Sums, Window

WINDOW = Window(date(2026, 9, 10), date(2020, 1, 1), date(2026, 9, 21))
Rows = list[dict[str, str | None]]
Numbered = tuple[int, list[str | None]]
_ROLES = ("reference", "start", "cost", "currency")


@dataclass(frozen=True)
class Read:
    """The rows that the reader took from a report, and the fields of those it set aside."""

    rows: Rows
    bad: Rows


def read(engine: DuckDBEngine, path: Path, format_: ReportFormat) -> Read | str:
    """Read a report as ingest does, hold it against other readings; its problem if refused."""
    try:
        report = open_report(path, raw_format(format_))
        rows = _rows(engine, report, path.parent / "spool")
    except UnreadableReport as problem:
        assert str(problem) and str(path.parent) not in str(problem)
        return str(problem)
    numbers = [row for row, _ in rows] + [bad.row for bad in report.bad_rows]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"rows are numbered {numbers}"
    assert all(bad.reason and bad.column for bad in report.bad_rows)
    expected = plain.records(path.read_bytes(), duckdb.LONGEST_LINE)
    if expected is not None:
        assert not report.bad_rows
        _assert_alike(rows, [(n, _nulled(record)) for n, record in enumerate(expected) if n])
    _salvaged_alike(report, rows, path.parent / "salvaged.csv")
    positions = _positions(report)
    return Read([{role: f[p] for role, p in positions.items()} for _, f in rows], _bad(report))


def _rows(engine: DuckDBEngine, report: Report, spool: Path) -> list[Numbered]:
    """The rows that the engine takes, with every field: text that is read is text that is valid."""
    columns = {f"c{i}": i for i in range(report.header.width)}
    sql = 'SELECT * FROM "report read" ORDER BY report_row'
    found = with_rows(
        engine, "report read", report, dict(columns), spool, lambda: engine.rows(sql).to_pylist()
    )
    return [(row["report_row"], [row[c] for c in columns]) for row in found]


def _salvaged_alike(report: Report, rows: list[Numbered], clean: Path) -> None:
    """The slow reader, which a report only comes to when the engine refuses it, finds the same."""
    bad = salvage.salvage(report.path, report.header.width, clean)
    assert bad == report.bad_rows, f"set aside only by one reader: {_told(bad, report.bad_rows)}"
    with clean.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))[1:]
    _assert_alike(rows, [(int(r[-1]), _nulled(r[:-1])) for r in found])


def _nulled(fields: Sequence[str]) -> list[str | None]:
    return [field or None for field in fields]


def _assert_alike(rows: list[Numbered], others: list[Numbered]) -> None:
    assert rows == others, f"read as one thing and as another: {_told(rows, others)}"


def _told(some: Sequence[object], others: Sequence[object]) -> str:
    """The first place where two readings differ, and how many each has."""
    pairs = enumerate(zip_longest(some, others), 1)
    number, pair = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
    return f"number {number} of {len(some)} and {len(others)}: {pair!a:.500}"


def _positions(report: Report) -> dict[str, int]:
    return {role: plain.position(report.names, getattr(report.raw, role)) for role in _ROLES}


def _bad(report: Report) -> Rows:
    columns = bad_fields(report.bad_rows, dict(_positions(report)))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def totals(engine: DuckDBEngine, path: Path, format_: ReportFormat) -> Examination:
    """Ingest's whole examination of a readable report."""
    spool = path.parent / "spool"
    report = open_report(path, raw_format(format_))
    return examine(engine, report, WINDOW.delivery, WINDOW.first, WINDOW.last, spool)


def assert_totals(found: Examination, rows: Rows) -> None:
    """The totals are those of these rows, summed again."""
    assert found.rows == len(rows)
    plain.assert_same(summed(found), plain.sums(rows, WINDOW))


def summed(found: Examination) -> Sums:
    """Totals as plain sums."""
    return {(t.charge_day, t.currency): (t.rows, t.cost) for t in found.totals}


def one_report(rows: Rows) -> bytes:
    """A well-formed cost report of rows that were read from many: their totals in one query."""
    raw = raw_format("oci_cost_csv")
    named = {getattr(raw, role): role for role in _ROLES}
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(raw.required)
    writer.writerows([row[named[c]] if c in named else "x" for c in raw.required] for row in rows)
    return out.getvalue().encode()


def format_of(content: bytes) -> ReportFormat:
    """The format that a report's text looks like, so that most are read as what they are."""
    return "oci_focus" if b"chargeperiod" in content[:4000].lower() else "oci_cost_csv"
