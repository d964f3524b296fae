"""What the lines of a cloud cost on a day, as a pure function: any snapshot can be made again.

A month that was closed is told once more, in a second edition: a few charges less or lower, and
what came late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from finops_pipeline.demo.chance import Ints, luck, salt
from finops_pipeline.demo.clouds.goods import Cloud
from finops_pipeline.demo.clouds.lines import COST_DIGITS, Lines

_CENT: int = 10 ** (COST_DIGITS - 2)
_GROWTH_A_DAY = 2  # thousandths
# In the second edition: lines that cost a tenth less, and lines that are gone on one day.
_LOWERED_EVERY, _LOWERED, _GONE_EVERY, _GONE, _GONE_DAY = 19, 5, 11, 7, 2
_AT_ONCE = 8192  # rows
_COMMITTED_SHARE = 110  # hundredths of what its resources use together are bought


@dataclass(frozen=True)
class Charges:
    """Rows as arrays. `start` is hours since the first day; costs in 10^-11 of the currency.

    `cost` is what usage costs before commitments; of that `billed` is charged.
    """

    line: Ints
    start: Ints
    hours: Ints
    quantity: Ints
    listed: Ints
    cost: Ints
    billed: Ints
    effective: Ints

    def __len__(self) -> int:
        return len(self.line)

    def where(self, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Charges:
        """Those rows only."""
        return Charges(**{name: column[mask] for name, column in vars(self).items()})

    def pieces(self) -> Iterator[Charges]:
        """All rows, some thousand at a time."""
        for at in range(0, len(self), _AT_ONCE):
            yield Charges(**{n: column[at : at + _AT_ONCE] for n, column in vars(self).items()})


def together(parts: list[Charges]) -> Charges:
    """The rows of all parts, in their order."""
    return Charges(
        **{name: np.concatenate([vars(p)[name] for p in parts]) for name in vars(parts[0])}
    )


@dataclass(frozen=True)
class Month:
    """The days of a calendar month that lie in the period, as numbers from the first day."""

    first: int
    last: int
    year: int
    month: int
    is_closed: bool

    @property
    def start(self) -> date:
        """Its first calendar day."""
        return date(self.year, self.month, 1)

    @property
    def end(self) -> date:
        """The first calendar day of the month after."""
        return (self.start + timedelta(days=31)).replace(day=1)

    def day(self, wanted: int) -> int:
        """The period's day that is the `wanted`th of the month, or the last there is."""
        return min(self.first + wanted - 1, self.last)


def months(first_day: date, days: int) -> list[Month]:
    """The months of a period; all but the last are closed."""
    found: list[Month] = []
    start = 0
    for number in range(days):
        day, after = first_day + timedelta(number), first_day + timedelta(number + 1)
        if after.month != day.month or number == days - 1:
            found.append(Month(start, number, day.year, day.month, number < days - 1))
            start = number + 1
    return found


class CloudUsage:
    """The charges of one cloud."""

    def __init__(self, lines: Lines, goods: Cloud, first_day: date, seed: int) -> None:
        self.lines = lines
        # A savings plan is bought day by day, a reservation for the whole month.
        self.is_bought_monthly = (
            goods.commitment is not None and goods.commitment.category == "Usage"
        )
        self.first_day = first_day
        self._salt = salt(seed, goods.display_name)
        self._all = np.arange(len(lines.all), dtype=np.int64)

    def use(self, day: int, export: str, month: Month, edition: int = 1) -> Charges:
        """What resources use on a day."""
        lines = self.lines
        alive = lines.is_use & (lines.born <= day) & (lines.export == lines.exports.index(export))
        chosen = self._all[alive]
        if edition > 1 and day == month.first + _GONE_DAY:
            chosen = chosen[chosen % _GONE_EVERY != _GONE]
        rows = lines.rows_a_day[chosen]
        line = np.repeat(chosen, rows)
        hour = np.arange(len(line)) - np.repeat(np.cumsum(rows) - rows, rows)
        hours = 24 // lines.rows_a_day[line]
        start = day * 24 + hour * hours
        quantity = self._quantity(line, start, day) // lines.rows_a_day[line]
        if edition > 1:
            lowered = line % _LOWERED_EVERY == _LOWERED
            quantity = np.where(lowered, quantity * 9 // 10, quantity)
        cost = quantity * lines.price[line]
        covered = lines.covered[line]
        return Charges(
            line=line,
            start=start,
            hours=hours,
            quantity=quantity,
            listed=quantity * lines.list_price[line],
            cost=cost,
            billed=np.where(covered, 0, cost),
            effective=np.where(covered, quantity * lines.committed[line], cost),
        )

    def _quantity(self, line: Ints, start: Ints, day: int) -> Ints:
        lines = self.lines
        swings = lines.weekend[line] < 1000
        weekend = (self.first_day + timedelta(day)).weekday() > 4
        share = lines.weekend[line] if weekend else np.int64(1000)
        noise = 900 + (luck(self._salt, line, start) % np.uint64(201)).astype(np.int64)
        swung = lines.quantity[line] * share // 1000 * noise // 1000
        swung = swung * (1000 + _GROWTH_A_DAY * min(day, 500)) // 1000
        quantity: Ints = np.where(swings, swung, lines.quantity[line])
        return quantity

    def commitment(self, export: str) -> int:
        """What the commitment of an export costs a day, whole cents."""
        used = self.lines.covered_a_day(export) * _COMMITTED_SHARE // 100
        return (used + _CENT - 1) // _CENT * _CENT

    def special(
        self, line: int, day: int, hours: int, billed: int, effective: int | None = None
    ) -> Charges:
        """One row of a special line."""

        def one(value: int) -> Ints:
            return np.array([value], dtype=np.int64)

        spread = billed if effective is None else effective
        return Charges(
            one(line), one(day * 24), one(hours), one(0), one(billed or spread),
            one(billed or spread), one(billed), one(spread),
        )  # fmt: skip

    def hours_to(self, day: int, end: date) -> int:
        """From a day of the period to the end of its month."""
        return (end - (self.first_day + timedelta(day))).days * 24


def exactly(amount: Decimal) -> int:
    """An amount of money as costs are counted here."""
    return int(amount.scaleb(COST_DIGITS))


def share_of(billed: int, thousandths: int) -> int:
    """A share of an amount, cut to whole cents."""
    return billed * thousandths // 1000 // _CENT * _CENT
