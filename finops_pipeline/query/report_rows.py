"""Rows of archived reports as they were delivered, for charges that are explained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.ingest import salvage
from finops_pipeline.ingest.gcp_rows import MADE
from finops_pipeline.ingest.rows import WITHIN, CutOffError
from finops_pipeline.ingest.structured import BrokenFileError, kind_of, record_texts
from finops_pipeline.lake.home import Home
from finops_pipeline.query.explanation import Charge

Row = dict[str, Any]


class ReportRows:
    """The report rows of these charges: each report is read once and no further than needed.

    `known` are the reports' rows of the ledger by identifier.
    """

    def __init__(self, home: Home, known: Mapping[str, Row], charges: Iterable[Charge]) -> None:
        self._known = known
        wanted: dict[str, set[int]] = {}
        for charge in charges:
            wanted.setdefault(charge.report_id, set()).add(charge.report_row % WITHIN)
        self._read = {i: _read(home, known.get(i), rows) for i, rows in wanted.items()}

    def with_raw(self, charge: Charge) -> Charge:
        """The charge with its row as delivered, or with why there is none."""
        numbered = _is_numbered(self._known.get(charge.report_id))
        return _joined(charge, self._read[charge.report_id], numbered)


def _read(home: Home, entry: Row | None, rows: set[int]) -> dict[int, str] | str:
    """The text of these rows of an archived report, or why they cannot be shown."""
    if entry is None:
        return "the ledger does not know this report"
    place = f"archive/{entry['archive_path']}"
    try:
        with home.archive.local(entry["archive_path"]) as path:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                return (
                    f"{place} is not what was archived (its SHA-256 is {digest}, the ledger says "
                    f"{entry['sha256']}); restore it from a backup"
                )
            width = len(entry["columns"]) - len(MADE.get(entry["format"], ()))
            return _records(path, width, rows)
    except FileNotFoundError:
        return f"{place} is missing; restore it from a backup"
    except (OSError, CutOffError, BrokenFileError) as error:
        return f"{place} cannot be read: {getattr(error, 'strerror', None) or error}"


def _records(path: Path, width: int, rows: set[int]) -> dict[int, str]:
    """Rows by number, 1 the first after the header: numbered as ingest numbers them."""
    kind = kind_of(path)
    if kind != "csv":
        return record_texts(path, kind, rows)
    found = islice(salvage.records(path, width), max(rows))
    return {
        number: record.decode("utf-8", errors="backslashreplace")
        for number, record in enumerate(found, 1)
        if number in rows
    }


def _is_numbered(entry: Row | None) -> bool:
    """Whether the provider numbers the charges of the report."""
    return entry is not None and raw_format(entry["format"]).reference is not None


def _joined(charge: Charge, read: Mapping[int, str] | str, numbered: bool) -> Charge:
    if isinstance(read, str):
        return replace(charge, raw_problem=read)
    row = charge.report_row % WITHIN
    raw = read.get(row)
    if raw is None:
        return replace(charge, raw_problem=f"the report ends before row {row}")
    known = not numbered or (charge.reference_number or "") in raw
    problem = None if known else "the row has another reference number"
    return replace(charge, raw=raw, raw_problem=problem)
