"""What must hold of one report's bytes in ingest, whatever they are: the property of the fuzzer.

Either the report is refused with a clear word, or every row of it is accounted for: numbered from
1 without a gap, as this reading and a second one (`plain.py`) both find it, and with its cost in
the totals. Everything that the package says here is what a run of ingest would have it say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest import rows as rows_module
from finops_pipeline.ingest import salvage
from finops_pipeline.ingest.reading import (
    Report,
    UnreadableReport,
    bad_fields,
    open_report,
    with_rows,
)
from finops_pipeline.ingest.rows import ROW, read_rows
from finops_pipeline.ingest.totals import Examination, Examiner
from finops_pipeline_tests.fuzz import plain
from finops_pipeline_tests.fuzz.plain import Sums, Window

WINDOW = Window(date(2026, 9, 10), date(2020, 1, 1), date(2026, 9, 21))
Rows = list[dict[str, str | None]]
Numbered = tuple[int, list[str | None]]
_ROLES = ("reference", "start", "cost", "currency")


@dataclass(frozen=True)
class Read:
    """The rows that the reader took from a report, and the fields of those it set aside.

    `by_arrow`: whether Arrow was let read the report as it is.
    """

    rows: Rows
    bad: Rows
    by_arrow: bool


def read(path: Path, format_: str) -> Read | str:
    """Read a report as ingest does, hold it against other readings; its problem if refused."""
    try:
        report = open_report(path, raw_format(format_))
        rows, by_arrow = _rows(report, path.parent / "spool")
    except UnreadableReport as problem:
        assert str(problem) and str(path.parent) not in str(problem)
        return str(problem)
    numbers = [row for row, _ in rows] + [bad.row for bad in report.bad_rows]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"rows are numbered {numbers}"
    assert all(bad.reason and bad.column for bad in report.bad_rows)
    expected = plain.records(path.read_bytes(), rows_module.LONGEST_LINE)
    if expected is not None:
        assert not report.bad_rows
        _assert_alike(rows, [(n, _nulled(record)) for n, record in enumerate(expected) if n])
    _salvaged_alike(report, rows, path.parent / "salvaged.csv")
    positions = _positions(report)
    return Read(
        [{role: f[p] for role, p in positions.items()} for _, f in rows], _bad(report), by_arrow
    )


def _rows(report: Report, spool: Path) -> tuple[list[Numbered], bool]:
    """The rows as ingest reads them, with every field: text that is read is text that is valid.

    Beside them, whether they came at the first try, by Arrow alone.
    """
    columns = {f"c{i}": i for i in range(report.header.width)}
    tries = 0

    def use(tables: Iterable[pa.Table]) -> list[Numbered]:
        nonlocal tries
        tries += 1
        return _numbered(tables)

    # Half of the columns as plain text: both ways in which a column comes are to be seen.
    rows = with_rows(report, columns, spool, use, tuple(columns)[::2])
    return rows, report.plain and tries == 1


def _numbered(tables: Iterable[pa.Table]) -> list[Numbered]:
    """Rows of tables as plain values, which must come in order."""
    found: list[Numbered] = []
    for table in tables:
        *fields, numbers = (column.to_pylist() for column in table.columns)
        assert table.column_names[-1] == ROW
        found += [(n, list(row)) for n, *row in zip(numbers, *fields, strict=True)]
    assert [n for n, _ in found] == sorted(n for n, _ in found)
    return found


def _salvaged_alike(report: Report, rows: list[Numbered], clean: Path) -> None:
    """The slow reader, which a report only comes to when the engine refuses it, finds the same."""
    bad = salvage.salvage(report.path, report.header.width, clean)
    assert bad == report.bad_rows, f"set aside only by one reader: {_told(bad, report.bad_rows)}"
    with clean.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))[1:]
    width = report.header.width
    others = [(int(r[-1]), _nulled(r[:-1])) for r in found]
    _assert_alike(rows, others)
    columns = {f"c{i}": i for i in range(width)}
    _assert_alike(others, _numbered(read_rows(clean, width, columns, clean=True)))


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


def totals(engine: DuckDBEngine, path: Path, format_: str) -> Examination:
    """Ingest's whole examination of a readable report."""
    report = open_report(path, raw_format(format_))
    examiner = Examiner(engine, path.parent / "spool")
    key = examiner.add(report, WINDOW.delivery, WINDOW.last)
    return examiner.results().get(key, Examination(0, (), (), 0))


def assert_totals(found: Examination, rows: Rows) -> None:
    """The totals are those of these rows, summed again."""
    assert found.rows == len(rows)
    plain.assert_same(plain.as_kept(summed(found), WINDOW), plain.sums(rows, WINDOW))


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


def format_of(content: bytes) -> str:
    """The format that a report's text looks like, so that most are read as what they are."""
    return "oci_focus" if b"chargeperiod" in content[:4000].lower() else "oci_cost_csv"
