"""Two sources that deliver the same charges in two formats: found, so that nothing counts twice.

The ledger knows the places of the provider's hierarchy (compartments, accounts, projects) that a
report charges, and the days. Where a report of another format of the same provider has a place and
a day in common with one of ours, both tell the same bill.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.ledger import LedgerEntry


def tells_the_same_bill(one: Source, other: Source) -> bool:
    """Whether two sources may hold the same charges: one provider, two formats."""
    provider = formats()[one.format].provider
    return one.format != other.format and provider == formats()[other.format].provider


def overlaps(
    ours: Iterable[LedgerEntry], source: Source, theirs: Iterable[LedgerEntry]
) -> dict[date, str]:
    """The charge days that `source` tells as well, each with the reason why it is refused."""
    places: dict[date, set[str]] = defaultdict(set)
    for entry in theirs:
        for day in entry.charge_days:
            places[day].update(entry.scopes)
    found = {}
    for entry in ours:
        for day in entry.charge_days:
            if both := places[day].intersection(entry.scopes):
                found[day] = (
                    f"{day}: {entry.name} charges {min(both)}, and so does source {source.name} in "
                    f"format {source.format}: the two formats tell the same bill, and loading both "
                    f"would count it twice. Remove one of the two sources from finops.yaml"
                )
    return found
