"""Reads a tenancy's files with nothing but gzip, csv and Decimal, and counts again.

It shares no code with the maker of the files, so that agreement of the two means something.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path

EXACT = Context(prec=60)


@dataclass(frozen=True)
class Line:
    """One line of a report, in words that both formats share."""

    file: str
    reference: str
    corrects: str
    day: str
    start: str
    currency: str
    cost: Decimal
    quantity: Decimal
    service: str
    compartment_id: str
    resource: str
    tags: tuple[tuple[str, str], ...]
    cells: dict[str, str]


@dataclass
class Tally:
    """Lines and their exact cost."""

    rows: int = 0
    cost: Decimal = Decimal(0)

    def add(self, cost: Decimal) -> None:
        self.rows += 1
        self.cost = EXACT.add(self.cost, cost)


def report_paths(folder: Path, format_: str) -> list[Path]:
    """The reports of one format in the order of their sequence numbers."""
    pattern = {"cost": "reports/cost-csv/*.csv.gz", "focus": "FOCUS Reports/*/*/*/*.csv.gz"}
    return sorted(folder.glob(pattern[format_]), key=lambda p: p.name)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one report as they are."""
    with gzip.open(path, "rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield from csv.DictReader(text, strict=True)


def lines(folder: Path, format_: str) -> Iterator[Line]:
    """Every line of every report."""
    read = _cost_line if format_ == "cost" else _focus_line
    for path in report_paths(folder, format_):
        for cells in rows_of(path):
            yield read(path.relative_to(folder).as_posix(), cells)


def counting(all_lines: list[Line], style: str) -> list[Line]:
    """The lines that count: the latest of each reference, less those that a correction replaces."""
    latest = {line.reference: line for line in all_lines}
    replaced = {line.corrects for line in latest.values()} if style == "replace" else set()
    return [line for line in latest.values() if line.reference not in replaced]


def by_day(some: list[Line]) -> dict[tuple[str, str], Tally]:
    """Lines and cost by currency and charge day."""
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for line in some:
        tallies[line.currency, line.day].add(line.cost)
    return dict(tallies)


def _cost_line(file: str, cells: dict[str, str]) -> Line:
    return Line(
        file=file,
        reference=cells["lineItem/referenceNo"],
        corrects=cells["lineItem/backreferenceNo"],
        day=cells["lineItem/intervalUsageStart"][:10],
        start=cells["lineItem/intervalUsageStart"][:16],
        currency=cells["cost/currencyCode"],
        cost=Decimal(cells["cost/myCost"]),
        quantity=Decimal(cells["usage/billedQuantity"]),
        service=cells["product/service"],
        compartment_id=cells["product/compartmentId"],
        resource=cells["product/resourceId"],
        tags=tuple(
            sorted((k.removeprefix("tags/"), v) for k, v in cells.items() if "tags/" in k and v)
        ),
        cells=cells,
    )


def _focus_line(file: str, cells: dict[str, str]) -> Line:
    return Line(
        file=file,
        reference=cells["oci_ReferenceNumber"],
        corrects=cells["oci_BackReferenceNumber"],
        day=cells["ChargePeriodStart"][:10],
        start=cells["ChargePeriodStart"][:16],
        currency=cells["BillingCurrency"],
        cost=Decimal(cells["BilledCost"]),
        quantity=Decimal(cells["UsageQuantity"]),
        service=cells["ServiceName"],
        compartment_id=cells["oci_CompartmentId"],
        resource=cells["ResourceId"],
        tags=tuple(sorted(json.loads(cells["Tags"]).items())),
        cells=cells,
    )
