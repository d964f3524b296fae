"""The shares of earlier charge days, which pools with the driver `last known` fall back on.

Only days on which a pool was split by a weight count, so no day rests on one that itself rests on
another: once the days that count are made, one more pass over the others is enough.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

from finops_pipeline.allocate.shares import LAST_KNOWN, Known, Share
from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.lake.delta import LakeTable

_Pool = tuple[str, str]


class EarlierShares:
    """The shares that the lake has of a source, but of the days that are made anew those of now."""

    def __init__(self, table: LakeTable, source: str, anew: Iterable[date] = ()) -> None:
        self._table = table
        self._source = source
        self._anew = {day.isoformat() for day in anew}
        self._known: dict[_Pool, dict[date, dict[str, Fraction]]] | None = None
        self._days: dict[_Pool, list[date]] = defaultdict(list)
        self._recorded: list[tuple[date, Sequence[Share]]] = []

    def last(self, pool: str, part: str, before: date) -> Known | None:
        """The shares of the last day before, on which the pool was split by a weight."""
        if self._known is None:
            self._read()
        days = self._days[pool, part]
        place = bisect_left(days, before)
        if not place or self._known is None:
            return None
        day = days[place - 1]
        return Known(day, self._known[pool, part][day])

    def record(self, day: date, shares: Sequence[Share]) -> None:
        """Remember what a pool of a day came to."""
        if self._known is None:
            self._recorded.append((day, shares))
            return
        for share in shares:
            self._add(day, share.pool, share.pool_part, share.driver, share.owner, share.fraction)

    def _read(self) -> None:
        self._known = defaultdict(lambda: defaultdict(dict))
        for file in self._table.files(self._source):
            if file.partition[1] not in self._anew:
                for row in self._table.read(file).to_pylist():
                    self._add_row(row)
        for day, shares in self._recorded:
            self.record(day, shares)
        self._recorded.clear()

    def _add_row(self, row: dict[str, Any]) -> None:
        names = ("charge_day", "pool", "pool_part", "driver", "owner", "fraction")
        self._add(*(row[name] for name in names))

    def _add(self, day: date, pool: str, part: str, driver: str, owner: str, fraction: str) -> None:
        if driver == UNALLOCATED or driver.startswith(LAST_KNOWN) or self._known is None:
            return
        days = self._known[pool, part]
        if day not in days:
            insort(self._days[pool, part], day)
        days[day][owner] = days[day].get(owner, Fraction(0)) + Fraction(fraction)
