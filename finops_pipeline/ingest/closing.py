"""When a month is closed, and which deliveries moved one that was.

A month counts as closed some days after its end, by provider (`contracts/data/closing.csv`). Moved
is told from the ledger alone: from what a delivery holds of a month beside what it takes the place
of. Only what became different after this pipeline had archived the month counts, so a first run
over years of reports finds nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache

from finops_pipeline.contracts.formats import formats
from finops_pipeline.contracts.tables import read_facts
from finops_pipeline.ingest.ledger import LedgerEntry
from finops_pipeline.ingest.totals import EXACT

_Sums = dict[tuple[date, str], tuple[int, Decimal]]


@dataclass(frozen=True)
class Moved:
    """A closed month that a delivery changed: by how many rows and how much, in one currency."""

    source: str
    month: date
    currency: str
    report: str
    delivered_at: datetime
    rows: int
    cost: Decimal


def closed_at(month: date, format_name: str) -> datetime:
    """When a month of a format's provider counts as closed, in UTC."""
    after = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
    return datetime.combine(after, time(), UTC) + timedelta(days=days_to_close(format_name))


def days_to_close(format_name: str) -> int:
    """How many days after its end a month of a format's provider counts as closed."""
    return _days()[formats()[format_name].provider]


@cache
def _days() -> dict[str, int]:
    return {row["provider"]: int(row["days"]) for row in read_facts("contracts/data/closing.csv")}


def moved_months(entries: Iterable[LedgerEntry]) -> list[Moved]:
    """Every move of a closed month that the entries of a source's ledger tell, earliest first."""
    by_id = {e.report_id: e for e in entries}
    standing: dict[str, list[LedgerEntry]] = {}
    archived: dict[date, datetime] = {}  # since when a month is known
    found: list[Moved] = []
    for delivery in sorted(_deliveries(by_id.values()), key=lambda e: (e.archived_at, *e.order)):
        name, reports = _held(delivery, by_id)
        now, before = _sums(reports), _sums(standing.get(name, ()))
        standing[name] = reports
        for month, currency in sorted(now.keys() | before.keys()):
            rows, cost = _difference(now, before, (month, currency))
            closed = delivery.delivered_at >= closed_at(month, delivery.format)
            known = month in archived and archived[month] < delivery.delivered_at
            if closed and known and (rows or cost):
                found.append(
                    Moved(
                        delivery.source, month, currency, delivery.name, delivery.delivered_at,
                        rows, cost,
                    )
                )  # fmt: skip
        for month, _ in now:
            archived.setdefault(month, delivery.archived_at)
    return found


def _deliveries(entries: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
    """What changes what stands: manifests, and reports that stand for themselves."""
    for entry in entries:
        if entry.members is not None or (entry.delivery_scope is None and entry.status == "read"):
            yield entry


def _held(delivery: LedgerEntry, by_id: dict[str, LedgerEntry]) -> tuple[str, list[LedgerEntry]]:
    """What a delivery takes the place of, by name, and the reports it stands for."""
    if delivery.members is None:
        return delivery.name, [delivery]
    return f"scope {delivery.delivery_scope}", [by_id[i] for i in delivery.members]


def _sums(reports: Iterable[LedgerEntry]) -> _Sums:
    sums: dict[tuple[date, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for total in (t for report in reports for t in report.totals):
        key = (total.charge_day.replace(day=1), total.currency)
        rows, cost = sums[key]
        sums[key] = (rows + total.rows, EXACT.add(cost, total.cost))
    return dict(sums)


def _difference(now: _Sums, before: _Sums, key: tuple[date, str]) -> tuple[int, Decimal]:
    rows, cost = now.get(key, (0, Decimal(0)))
    old_rows, old_cost = before.get(key, (0, Decimal(0)))
    return rows - old_rows, EXACT.subtract(cost, old_cost)
