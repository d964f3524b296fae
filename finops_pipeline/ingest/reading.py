"""Opening an archived report for the engine: its header, its rows as text, its bad rows apart.

Used twice for each report: for the control totals (`totals.py`) and for the mapping to FOCUS
(`normalize/`). Both must see the same rows, so there is one way to open a report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from finops_pipeline.contracts.raw import (
    Header,
    HeaderProblem,
    RawFormat,
    hold_contract,
    read_header,
)
from finops_pipeline.ingest.rows import CutOffError, NotWellFormedError, read_rows
from finops_pipeline.ingest.salvage import BadRow, read_names, salvage

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
        raise cut_off(error) from None
    if not names:
        raise UnreadableReport("there is no header; expected a CSV file with column names")
    if names[0].lstrip().startswith("<"):
        raise UnreadableReport(
            f"it begins with {names[0].lstrip()[:40]!r}: a web page or XML saved under a "
            "report's name, perhaps a login or error page; download the report again"
        )
    return names, plain


def with_rows(
    report: Report,
    columns: Mapping[str, int | None],
    spool: Path,
    use: Callable[[Iterator[pa.Table]], T],
    unlike: Collection[str] = (),
) -> T:
    """Call `use` with the report's rows; if they are no well-formed CSV, again after a salvage.

    The rows are those of `read_rows`. After a salvage `report.bad_rows` holds what was set aside.
    Raises UnreadableReport for a report that is cut off: its missing rows cannot be known, so
    none of it is taken.
    """
    width = report.header.width
    try:
        if report.plain:
            return use(read_rows(report.path, width, columns, unlike))
    except CutOffError as error:
        raise cut_off(error) from None
    except NotWellFormedError:
        pass
    spool.mkdir(parents=True, exist_ok=True)
    clean = spool / f"{report.path.parent.name}-{report.path.name}.clean.csv"
    try:
        report.bad_rows = salvage(report.path, width, clean)
        return use(read_rows(clean, width, columns, unlike, clean=True))
    except CutOffError as error:
        raise cut_off(error) from None
    finally:
        clean.unlink(missing_ok=True)


def field_of(row: BadRow, position: int | None) -> str | None:
    """A bad row's field, where its fields can be told apart; None when empty or unknown."""
    if position is None or not row.fields:
        return None
    return row.fields[position] or None


def bad_fields(
    rows: Iterable[BadRow], positions: Mapping[str, int | None]
) -> dict[str, list[str | None]]:
    """The named fields of bad rows, as columns of text."""
    rows = list(rows)
    return {name: [field_of(row, p) for row in rows] for name, p in positions.items()}


def cut_off(error: CutOffError) -> UnreadableReport:
    """What a reader is told of a report whose end is missing or damaged."""
    return UnreadableReport(
        f"the compressed data is damaged or ends too early ({error}); nothing of it was taken, "
        "since the missing rows cannot be known: download the report again"
    )
