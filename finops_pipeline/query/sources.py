"""Which files a question reads: of each month the smallest table that answers it exactly.

A roll-up is read where it was made from just the files that the lake holds of the month, where the
question asks for no more than it keeps, and, if it sums whole months, where no day of the month is
left out. Every other month is read from the costs themselves. What is read is thus never older
than the costs, at whatever time it is asked as of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from finops_pipeline.contracts.tables import tables
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.lake.listing import Listing, listing
from finops_pipeline.query.compile import that_count
from finops_pipeline.query.dimensions import TABLE, dimension
from finops_pipeline.query.model import CostQuery
from finops_pipeline.store.summaries import SUMMARIES, by_month, summary_files


@dataclass(frozen=True)
class _Month:
    files: tuple[LakeFile, ...]
    first: str
    last: str


def files_to_read(home: Home, query: CostQuery) -> dict[str, list[LakeFile]]:
    """The files that can hold a charge that counts, as known at `as_of`, by table."""
    months, wanted = _months(listing(home.table(TABLE), query.as_of))
    suffice = [name for name in SUMMARIES if _suffices(name, query)]
    made: dict[str, set[LakeFile]] = {}  # listed once they may be read
    since = query.since.isoformat() if query.since else ""
    until = query.until.isoformat() if query.until else "9999"
    read: dict[str, list[LakeFile]] = {}
    for month, held in months.items():
        if held.last < since or held.first > until:
            continue
        whole = since <= f"{month}-01" and held.last <= until
        for name in suffice:
            if not whole and name != "daily_costs":
                continue
            if name not in made:
                made[name] = set(listing(home.table(name), query.as_of).files)
            if (file := wanted[name][month]) in made[name]:
                read.setdefault(name, []).append(file)
                break
        else:
            if files_of_days := that_count(tables()[TABLE], held.files, query):
                read.setdefault(TABLE, []).extend(files_of_days)
    return read


def _suffices(name: str, query: CostQuery) -> bool:
    """Whether a roll-up keeps all that a question looks at."""
    asked = [dimension(d) for d in (*query.by, *query.filters, *query.exclude)]
    if name == "monthly_costs" and any(d.form == "day" for d in asked):
        return False
    return {d.column for d in asked} <= {*SUMMARIES[name], "x_ChargeDay"}


@lru_cache(maxsize=8)
def _months(
    costs: Listing,
) -> tuple[Mapping[str, _Month], Mapping[str, Mapping[str, LakeFile]]]:
    """The months of the costs, and the roll-ups that would hold just their files."""
    grouped = by_month(costs.files)
    months = {
        month: _Month(
            tuple(files),
            min(f.partition[2] for f in files),
            max(f.partition[2] for f in files),
        )
        for month, files in grouped.items()
    }
    return months, summary_files(grouped)
