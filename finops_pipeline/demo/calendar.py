"""The period that a tenancy covers: its hours, windows and deliveries.

Hours are counted from the first day's midnight, UTC. A window is the six hours that one delivery
is made for; windows and deliveries have the same numbers, and four more deliveries follow the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from finops_pipeline.demo.chance import Ints

WINDOW = 6
TRAILING = 4
_OVERAGE_FROM_DAY = 28


@dataclass(frozen=True)
class Calendar:
    """`days` charge days, beginning with `first_day`."""

    first_day: date
    days: int

    @property
    def hours(self) -> int:
        """Hours of usage in the period."""
        return self.days * 24

    @property
    def windows(self) -> int:
        """Windows of usage in the period."""
        return self.hours // WINDOW

    @property
    def deliveries(self) -> int:
        """Deliveries that are seen: one a window, and those of the day after."""
        return self.windows + TRAILING

    def window_hours(self, window: int) -> Ints:
        """The six hours of a window."""
        return np.arange(window * WINDOW, (window + 1) * WINDOW, dtype=np.int64)

    def time_of(self, hour: int) -> datetime:
        """When an hour begins."""
        return datetime.combine(self.first_day, time(), UTC) + timedelta(hours=hour)

    def day_of(self, window: int) -> date:
        """The charge day that a window lies in."""
        return self.first_day + timedelta(days=window * WINDOW // 24)

    def day_number(self, window: int) -> int:
        """The same as a count of days from the first."""
        return window * WINDOW // 24

    def hour_of_week(self, hours: Ints) -> Ints:
        """Hours since Monday 00:00, for each of `hours`."""
        return (hours + self.first_day.weekday() * 24) % 168

    def delivered_at(self, delivery: int) -> datetime:
        """When a delivery arrives: four to five hours after its window, at times next month."""
        late = timedelta(hours=4, minutes=7 + delivery * 17 % 49, seconds=delivery * 13 % 60)
        return self.time_of((delivery + 1) * WINDOW) + late

    def in_overage(self, window: int) -> bool:
        """Whether a month's commitment is used up: the last days of a calendar month."""
        return self.day_of(window).day >= _OVERAGE_FROM_DAY
