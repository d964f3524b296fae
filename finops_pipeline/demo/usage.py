"""When a line is used, and how much: daily and weekly rhythm, growth, noise, spikes.

The answer is a pure function of line and hour. Which report the row ends in is `delivery.py`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from finops_pipeline.demo.calendar import Calendar
from finops_pipeline.demo.catalogue import Catalogue
from finops_pipeline.demo.chance import Ints, Luck, luck
from finops_pipeline.demo.fleet import Fleet, hours_of_week
from finops_pipeline.demo.money import RUNGS, RUNGS_TO_DOUBLE, Money
from finops_pipeline.demo.truth import Anomaly

_MOST_GROWTH = 100  # rungs; keeps usage on the ladder in a tenancy of many years


@dataclass(frozen=True)
class Rows:
    """Rows of one window, an array a column. `entry` is the row's place in Money's table."""

    window: int
    line: Ints
    hour: Ints
    entry: Ints
    luck: Luck

    def __len__(self) -> int:
        return len(self.line)

    def where(self, mask: NDArray[np.bool_]) -> Rows:
        """Those rows only."""
        return Rows(
            self.window, self.line[mask], self.hour[mask], self.entry[mask], self.luck[mask]
        )


class Usage:
    """What the lines of a fleet use in any hour of the period."""

    def __init__(
        self, fleet: Fleet, money: Money, goods: Catalogue, calendar: Calendar, salt: np.uint64
    ) -> None:
        self._fleet = fleet
        self._money = money
        self._calendar = calendar
        self._salt = salt
        self._billed = hours_of_week(goods)
        rhythms = list(goods.rhythms.values())
        self._growth = np.array([r.growth for r in rhythms], dtype=np.int64)
        self._noise = np.array([r.noise for r in rhythms], dtype=np.int64)
        self._swing = np.array(
            [[h - (r.weekend if d > 4 else 0) for d in range(7) for h in r.day] for r in rhythms],
            dtype=np.int64,
        )
        self.anomalies = tuple(
            Anomaly(
                day=calendar.first_day + timedelta(days=int(calendar.days * s.at)),
                service=s.service,
                owner=s.owner,
                factor=s.factor,
            )
            for s in goods.anomalies
        )
        self._spiked = [self._lines_of(goods, a.service, a.owner) for a in self.anomalies]

    def rows(self, lines: Ints, window: int, hours: Ints) -> Rows:
        """The rows that `lines` make in `hours`, which lie in `window`; line after line."""
        fleet, week = self._fleet, self._calendar.hour_of_week(hours)
        across = hours[None, :]
        bits = luck(self._salt, lines[:, None], across)
        active = (fleet.born[lines][:, None] <= across) & (across < fleet.died[lines][:, None])
        active &= self._billed[fleet.hours[lines]][:, week] == 1
        active &= (bits & np.uint64(0xFFFF)) < np.uint64(fleet.thinning)
        at, when = np.nonzero(active)
        line, chosen = lines[at], bits[at, when]
        first = self._money.first_entries(self._calendar.in_overage(window))
        entry = first[fleet.offer[line]] + self._rungs(line, window, week[when], chosen)
        return Rows(window, line, hours[when], entry, chosen)

    def _rungs(self, line: Ints, window: int, week: Ints, bits: Luck) -> Ints:
        rhythm, day = self._fleet.rhythm[line], self._calendar.day_number(window)
        noise = self._noise[rhythm]
        grown = np.minimum(self._growth * day // 100, _MOST_GROWTH)
        rungs: Ints = self._fleet.base[line] + self._swing[rhythm, week] + grown[rhythm]
        rungs += (bits >> np.uint64(20)).astype(np.int64) % (2 * noise + 1) - noise
        today = self._calendar.day_of(window)
        for anomaly, spiked in zip(self.anomalies, self._spiked, strict=True):
            if anomaly.day == today:
                rungs += spiked[line] * round(RUNGS_TO_DOUBLE * math.log2(anomaly.factor))
        rungs.clip(0, RUNGS - 1, out=rungs)
        return rungs

    def _lines_of(self, goods: Catalogue, service: str, owner: str) -> NDArray[np.bool_]:
        seats = np.array([s.owner == owner for s in goods.seats])
        places = np.array([place[-1] == service for place in self._fleet.places])
        lines: NDArray[np.bool_] = seats[self._fleet.seat] & places[self._fleet.place]
        return lines
