"""Two sources that deliver the same charges: found, so that nothing counts twice.

The ledger knows the places of the provider's hierarchy (compartments, accounts, projects) that a
report charges, and the days. Where a report of another format of the same provider has a place and
a day in common with one of ours, both tell the same bill. So they do where the other source is one
that `finops.yaml` names no more, since what was loaded of it still counts: a source that was
renamed would count twice. And a file of rows is the same charges wherever it lies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
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
    places = _places(theirs)
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


def copies(
    ours: Iterable[LedgerEntry], source: Source, theirs: Iterable[LedgerEntry]
) -> dict[date, str]:
    """The charge days of reports that `source` has byte for byte, each with the reason."""
    known = {e.sha256: e for e in theirs}
    return {
        day: (
            f"{day}: {entry.name} is, byte for byte, {known[entry.sha256].name} of source "
            f"{source.name}: loading both would count it twice. Take one of the two away, or "
            "remove one of the sources from finops.yaml"
        )
        for entry in ours
        if entry.sha256 in known and _is_of_rows(entry)
        for day in entry.charge_days
    }


def told_by_former(
    ours: Iterable[LedgerEntry], name: str, theirs: Collection[LedgerEntry], made: Collection[date]
) -> dict[date, str]:
    """The charge days that a source tells as well which `finops.yaml` names no more.

    `made` are the days that there are figures of it for. The reason is one for all days.
    """
    places = _places(theirs)
    contents = {e.sha256 for e in theirs if _is_of_rows(e)}
    providers = {formats()[e.format].provider for e in theirs}
    days = {
        day
        for entry in ours
        if formats()[entry.format].provider in providers
        for day in entry.charge_days.intersection(made)
        if entry.sha256 in contents or places[day].intersection(entry.scopes)
    }
    reason = (
        f"{len(days)} charge days from {min(days, default=None)} to {max(days, default=None)} are "
        f"in source {name} too, which finops.yaml names no more and whose figures still count: "
        f"loading both would count them twice. If {name} was renamed, give it its name back; else "
        "start with a new `home`, into which everything is loaded again"
    )
    return dict.fromkeys(days, reason)


def _places(entries: Iterable[LedgerEntry]) -> dict[date, set[str]]:
    """The places that are charged, by charge day."""
    places: dict[date, set[str]] = defaultdict(set)
    for entry in entries:
        for day in entry.charge_days:
            places[day].update(entry.scopes)
    return places


def _is_of_rows(entry: LedgerEntry) -> bool:
    """Whether it names its accounts; answers of two accounts may be the same."""
    return formats()[entry.format].content == "rows"
