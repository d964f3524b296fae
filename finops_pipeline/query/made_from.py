"""What the figures of two times were made from: files of other tables, by source and charge day.

What a day's figures were made from is what the other tables held at the moment when that day was
committed to `allocated_costs`; so a time that falls between the commits of two tables is no
in-between state. What is asked of these files is in `diff.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from finops_pipeline.lake.days import chunks
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

_CHUNK = 500_000  # charges that are compared at a time

Place = tuple[str, str]  # a source and a charge day


class MadeFrom:
    """The files that figures were made from: by table, then or now, source and charge day."""

    def __init__(
        self, home: Home, costs: Mapping[str, Mapping[LakeFile, datetime]], places: Sequence[Place]
    ) -> None:
        self._home = home
        self._moments = {side: _moments(files, set(places)) for side, files in costs.items()}
        self._read: dict[tuple[str, datetime], dict[Place, list[LakeFile]]] = {}

    def files(self, table: str, side: str, places: Iterable[Place]) -> set[LakeFile]:
        """What a table held of these days when their figures of that side were committed."""
        moments = self._moments[side]
        return {
            file
            for place in places
            if place in moments
            for file in self._at(table, moments[place]).get(place, ())
        }

    def chunks(self, places: Sequence[Place]) -> Iterator[list[Place]]:
        """The places, as many days at a time as are compared at once."""
        table = self._home.table("focus_costs")
        by_day: dict[Any, list[Place]] = defaultdict(list)
        for place in places:
            by_day[place[1]].append(place)

        def rows(day: Any) -> int:
            sides = (self.files("focus_costs", m, by_day[day]) for m in ("then", "now"))
            return sum(table.rows(f) for f in set().union(*sides) if table.holds(f))

        for days in chunks(list(by_day), rows, _CHUNK):
            yield [place for day in days for place in by_day[day]]

    def _at(self, table: str, moment: datetime) -> dict[Place, list[LakeFile]]:
        if (table, moment) not in self._read:
            found: dict[Place, list[LakeFile]] = defaultdict(list)
            for file in self._home.table(table).files(as_of=moment):
                found[file.partition[0], file.partition[1]].append(file)
            self._read[table, moment] = found
        return self._read[table, moment]


def _moments(files: Mapping[LakeFile, datetime], places: set[Place]) -> dict[Place, datetime]:
    found: dict[Place, datetime] = {}
    for file, moment in files.items():
        place = (file.partition[0], file.partition[2])
        if place in places:
            found[place] = max(moment, found.get(place, moment))
    return found
