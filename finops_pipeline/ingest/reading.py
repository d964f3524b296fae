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
from finops_pipeline.ingest.gcp_rows import MADE, GcpRows
from finops_pipeline.ingest.pages import page_names, read_pages
from finops_pipeline.ingest.rows import CutOffError, NotWellFormedError, read_rows
from finops_pipeline.ingest.salvage import BadRow, read_names, salvage
from finops_pipeline.ingest.structured import (
    BrokenFileError,
    column_names,
    kind_of,
    read_structured,
)

T = TypeVar("T")


class UnreadableReport(Exception):
    """A report that cannot be read at all; the message says what it is and what to do."""


@dataclass
class Report:
    """An archived report, opened. `bad_rows` fills when the engine refuses the report.

    `kind` is `csv`, `parquet`, `json` or `pages`; `plain` says of CSV whether the header is the
    first line and no more, as the engine expects it.
    """

    path: Path
    raw: RawFormat
    kind: str
    header: Header
    names: tuple[str, ...]
    plain: bool
    bad_rows: list[BadRow] = field(default_factory=list)

    @property
    def width(self) -> int:
        """How many columns the file itself has; those that are made of them come after."""
        return self.header.width - len(MADE.get(self.raw.name, ()))


def open_report(path: Path, raw: RawFormat) -> Report:
    """Read the header of an archived report, held against the raw contract.

    Raises UnreadableReport.
    """
    kind, names, plain = _names(path, raw)
    names += MADE.get(raw.name, ())
    try:
        header = read_header(raw, names)
        hold_contract(raw, header, names)
        return Report(path, raw, kind, header, tuple(names), plain)
    except HeaderProblem as problem:
        raise UnreadableReport(str(problem)) from None


def _names(path: Path, raw: RawFormat | None = None) -> tuple[str, list[str], bool]:
    """What kind of file it is, its column names, and whether CSV has them as expected."""
    if path.stat().st_size == 0:
        raise UnreadableReport(
            "the file is empty; deliver it again, or remove it if there was nothing to report"
        )
    try:
        if raw is not None and raw.form.content == "pages":
            return "pages", page_names(path, raw.name) or list(raw.required), True
        kind = kind_of(path)
        if kind != "csv":
            return kind, column_names(path, kind), True
        names, plain = read_names(path)
    except CutOffError as error:
        raise cut_off(error) from None
    except BrokenFileError as error:
        raise broken(error) from None
    if not names:
        raise UnreadableReport("there is no header; expected a CSV file with column names")
    if names[0].lstrip().startswith("<"):
        raise UnreadableReport(
            f"it begins with {names[0].lstrip()[:40]!r}: a web page or XML saved under a "
            "report's name, perhaps a login or error page; download the report again"
        )
    return kind, names, plain


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
    try:
        if report.plain:
            return use(plain_rows(report, columns, unlike))
    except CutOffError as error:
        raise cut_off(error) from None
    except BrokenFileError as error:
        raise broken(error) from None
    except NotWellFormedError:
        pass
    spool.mkdir(parents=True, exist_ok=True)
    clean = spool / f"{report.path.parent.name}-{report.path.name}.clean.csv"
    try:
        report.bad_rows = salvage(report.path, report.width, clean)
        return use(_charges(report, columns, unlike, clean))
    except CutOffError as error:
        raise cut_off(error) from None
    finally:
        clean.unlink(missing_ok=True)


def plain_rows(
    report: Report, columns: Mapping[str, int | None], unlike: Collection[str] = ()
) -> Iterator[pa.Table]:
    """The rows of a report that is `plain`, as `read_rows` gives them.

    Raises NotWellFormedError, CutOffError or BrokenFileError, perhaps after some rows.
    """
    return _charges(report, columns, unlike)


def _charges(
    report: Report,
    columns: Mapping[str, int | None],
    unlike: Collection[str],
    clean: Path | None = None,
) -> Iterator[pa.Table]:
    """The rows of a report, or of what was salvaged of it; of some formats a row is several."""

    def read(columns: Mapping[str, int | None]) -> Iterator[pa.Table]:
        if report.kind == "pages":
            return read_pages(report.path, report.raw.name, report.names, columns)
        if report.kind != "csv":
            return read_structured(report.path, report.kind, columns, unlike)
        path, nulls = clean or report.path, report.raw.form.null_words
        salvaged = clean is not None
        return read_rows(path, report.width, columns, unlike, clean=salvaged, null_words=nulls)

    if report.raw.name in MADE:
        return GcpRows(report.raw.name, report.header, report.names).read(columns, read)
    return read(columns)


def field_of(row: BadRow, position: int | None) -> str | None:
    """A bad row's field, where its fields can be told apart; None when empty or unknown."""
    if position is None or position >= len(row.fields):
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


def broken(error: BrokenFileError) -> UnreadableReport:
    """What a reader is told of a file that is no Parquet, no JSON lines, no answer of a service."""
    return UnreadableReport(
        f"the file cannot be read ({error}); nothing of it was taken: download the report again"
    )


def names_in(path: Path) -> list[str]:
    """The column names of a file that holds rows. Raises UnreadableReport or OSError."""
    return _names(path)[1]
