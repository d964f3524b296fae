"""Keeps the truth while rows are written: exact sums a charge day, currency and seat.

Costs come as two integers each (see `Money.parts`), so that whole batches add up in 64 bits without
rounding; a day is put together as one decimal only when it is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from finops_pipeline.demo.calendar import Calendar
from finops_pipeline.demo.catalogue import Catalogue, Profile
from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.corrections import Correction
from finops_pipeline.demo.delivery import Batch
from finops_pipeline.demo.fleet import Fleet
from finops_pipeline.demo.money import EXACT, Money, amount
from finops_pipeline.demo.truth import DayTruth, OwnerTruth


@dataclass(frozen=True)
class Sum:
    """Some rows and their exact cost."""

    rows: int
    cost: Decimal

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.rows + other.rows, EXACT.add(self.cost, other.cost))

    def __sub__(self, other: Sum) -> Sum:
        return Sum(self.rows - other.rows, EXACT.subtract(self.cost, other.cost))


_NOTHING = Sum(0, Decimal(0))


class _Day:
    """One charge day: for each group, rows and both parts of their cost, by what became of them."""

    def __init__(self, groups: int) -> None:
        self._parts = np.zeros((2, 3, groups), dtype=np.int64)
        self._single: dict[tuple[int, int], Sum] = {}

    def add_rows(self, superseded: int, group: Ints, parts: tuple[Ints, Ints]) -> None:
        rows, billionths, rest = self._parts[superseded]
        rows += np.bincount(group, minlength=len(rows))
        np.add.at(billionths, group, parts[0])
        np.add.at(rest, group, parts[1])

    def add_one(self, superseded: int, group: int, cost: Decimal) -> None:
        key = (superseded, group)
        self._single[key] = self._single.get(key, _NOTHING) + Sum(1, cost)

    def sum(self, superseded: int, group: int) -> Sum:
        rows, billionths, rest = (int(n) for n in self._parts[superseded, :, group])
        many = Sum(rows, amount(billionths, rest))
        return many + self._single.get((superseded, group), _NOTHING)


class Account:
    """The truth in the making. A group is a seat and the subscription that pays for it."""

    def __init__(
        self, fleet: Fleet, money: Money, goods: Catalogue, profile: Profile, calendar: Calendar
    ) -> None:
        self._fleet = fleet
        self._money = money
        self._calendar = calendar
        self._seats = goods.seats
        self._currency = [
            profile.subscriptions[profile.subscription(seat.compartment)].currency
            for seat in goods.seats
        ]
        self._days: dict[date, _Day] = {}

    def add(self, batch: Batch) -> None:
        """Count a batch as delivered, and what it supersedes."""
        day, seats = self._day(batch.rows.window), self._fleet.seat[batch.rows.line]
        day.add_rows(0, seats, self._money.parts(batch.rows.entry))
        if batch.superseded is not None:
            day.add_rows(1, seats, self._money.parts(batch.superseded))

    def add_correction(self, correction: Correction) -> None:
        """Count a correction row as delivered, and what it replaces."""
        row = correction.row
        day, seat = self._day(row.window), int(self._fleet.seat[row.line[0]])
        day.add_one(0, seat, correction.cost)
        if correction.replaces is not None:
            day.add_one(1, seat, correction.replaces)

    def days(self) -> Iterator[DayTruth]:
        """What was delivered, what counts and what does not, by day and currency."""
        for date_, day in sorted(self._days.items()):
            for currency in sorted(set(self._currency)):
                seats = [i for i, c in enumerate(self._currency) if c == currency]
                delivered = sum((day.sum(0, i) for i in seats), _NOTHING)
                superseded = sum((day.sum(1, i) for i in seats), _NOTHING)
                net = delivered - superseded
                if delivered.rows:
                    yield DayTruth(
                        currency=currency,
                        day=date_,
                        delivered_rows=delivered.rows,
                        delivered_cost=delivered.cost,
                        net_rows=net.rows,
                        net_cost=net.cost,
                        net_effective_cost=net.cost,
                        superseded_rows=superseded.rows,
                        superseded_cost=superseded.cost,
                    )

    def owners(self) -> Iterator[OwnerTruth]:
        """Who owns what counts, by day, currency, owner and tier."""
        for date_, day in sorted(self._days.items()):
            owned: dict[tuple[str, str, str], Sum] = {}
            for i, seat in enumerate(self._seats):
                key = (self._currency[i], seat.owner, seat.tier)
                owned[key] = owned.get(key, _NOTHING) + day.sum(0, i) - day.sum(1, i)
            for (currency, owner, tier), total in sorted(owned.items()):
                if total.rows:
                    yield OwnerTruth.model_validate(
                        {
                            "currency": currency,
                            "day": date_,
                            "owner": owner,
                            "tier": tier,
                            "rows": total.rows,
                            "cost": total.cost,
                            "effective_cost": total.cost,
                        }
                    )

    def _day(self, window: int) -> _Day:
        return self._days.setdefault(self._calendar.day_of(window), _Day(len(self._seats)))
