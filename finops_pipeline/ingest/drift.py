"""Drift: columns that a provider began or ceased to deliver, each told once.

Tag columns come and go with the tags and are no drift, and JSON lines leave out what is empty. Of
a record within a record only the whole is looked at. A column whose values became of another kind
is not told here: its rows are rejected with their place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from finops_pipeline.ingest.ledger import LedgerEntry

_LEAVE_OUT = (".json", ".jsonl")  # files of these leave out what is empty


@dataclass(frozen=True)
class Drift:
    """A report with columns that no earlier one had, or without ones that all had."""

    source: str
    report: str
    delivered_at: datetime
    added: tuple[str, ...]
    removed: tuple[str, ...]


def drifts(entries: Iterable[LedgerEntry]) -> list[Drift]:
    """The drift that a source's ledger tells, earliest first; a change of format begins anew."""
    found = []
    ever: dict[str, set[str]] = {}
    always: dict[str, set[str]] = {}
    for entry in sorted(entries, key=lambda e: (*e.order, e.archived_at)):
        if entry.status != "read" or not entry.rows:
            continue
        columns = {c.partition(".")[0] for c in entry.columns if not c.startswith("tags/")}
        seen = ever.setdefault(entry.format, set(columns))
        stable = always.setdefault(entry.format, set(columns))
        if entry.name.removesuffix(".gz").endswith(_LEAVE_OUT):
            columns |= stable
        added, removed = tuple(sorted(columns - seen)), tuple(sorted(stable - columns))
        if added or removed:
            found.append(Drift(entry.source, entry.name, entry.delivered_at, added, removed))
        seen |= columns
        stable &= columns
    return found
