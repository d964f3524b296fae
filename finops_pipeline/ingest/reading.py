"""Opening an archived report for the engine: its header, its rows as text, its bad rows apart.

Used twice for each report: for the control totals (`totals.py`) and for the mapping to FOCUS
(`normalize/`). Both must see the same rows, so there is one way to open a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from finops_pipeline.contracts.raw import (
    Header,
    HeaderProblem,
    RawFormat,
    hold_contract,
    read_header,
)
from finops_pipeline.engine.protocol import Engine, ReportCutOffError, ReportSyntaxError
from finops_pipeline.ingest.salvage import BadRow, CutOffError, read_names, salvage

T = TypeVar("T")


class UnreadableReport(Exception):
    """A report that cannot be read at all; the message says what it is and what to do."""


@dataclass
class Report:
    """An archived report, opened. `bad_rows` fills when the engine refuses the report.

    `plain` says whether the header is the first line and no more, as the engine expects it.
    """

    path: Path
    raw: RawFormat
    header: Header
    names: tuple[str, ...]
    plain: bool
    bad_rows: list[BadRow] = field(default_factory=list)


def open_report(path: Path, raw: RawFormat) -> Report:
    """Read the header of an archived report, held against the raw contract.

    Raises UnreadableReport.
    """
    names, plain = _names(path)
    try:
        header = read_header(raw, names)
        hold_contract(raw, header, names)
        return Report(path, raw, header, tuple(names), plain)
    except HeaderProblem as problem:
        raise UnreadableReport(str(problem)) from None


def _names(path: Path) -> tuple[list[str], bool]:
    if path.stat().st_size == 0:
        raise UnreadableReport(
            "the file is empty; deliver it again, or remove it if there was nothing to report"
        )
    try:
        names, plain = read_names(path)
    except CutOffError as error:
        raise _cut_off(error, path) from None
    if not names:
        raise UnreadableReport("there is no header; expected a CSV file with column names")
    if names[0].lstrip().startswith("<"):
        raise UnreadableReport(
            f"it begins with {names[0].lstrip()[:40]!r}: a web page or XML saved under a "
            "report's name, perhaps a login or error page; download the report again"
        )
    return names, plain


def with_rows(
    engine: Engine,
    name: str,
    report: Report,
    columns: dict[str, int | None],
    spool: Path,
    use: Callable[[], T],
    constants: Mapping[str, object] | None = None,
) -> T:
    """Bind the report's rows to `name` and call `use`; salvage the report if the engine refuses.

    After a salvage `report.bad_rows` holds what was set aside. Raises UnreadableReport for a
    report that is cut off: its missing rows cannot be known, so none of it is taken.
    """
    engine.bind_report(name, report.path, report.header.width, columns, False, constants or {})
    try:
        if report.plain:
            return use()
    except ReportCutOffError as error:
        raise _cut_off(error, report.path) from None
    except ReportSyntaxError:
        pass
    spool.mkdir(parents=True, exist_ok=True)
    clean = spool / f"{report.path.parent.name}-{report.path.name}.clean.csv"
    try:
        report.bad_rows = salvage(report.path, report.header.width, clean)
        engine.bind_report(name, clean, report.header.width, columns, True, constants or {})
        return use()
    except CutOffError as error:
        raise _cut_off(error, report.path) from None
    finally:
        clean.unlink(missing_ok=True)


def field_of(row: BadRow, position: int | None) -> str | None:
    """A bad row's field, where its fields can be told apart; None when empty or unknown."""
    if position is None or not row.fields:
        return None
    return row.fields[position] or None


def bad_fields(
    rows: Iterable[BadRow], positions: dict[str, int | None]
) -> dict[str, list[str | None]]:
    """The named fields of bad rows, as columns of text."""
    rows = list(rows)
    return {name: [field_of(row, p) for row in rows] for name, p in positions.items()}


def _cut_off(error: Exception, path: Path) -> UnreadableReport:
    found = str(error).replace(f": {path}", "")
    return UnreadableReport(
        f"the compressed data is damaged or ends too early ({found}); nothing of it was taken, "
        "since the missing rows cannot be known: download the report again"
    )
