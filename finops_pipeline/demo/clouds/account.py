"""The truth about a cloud's bill: exact sums of the rows that stand, and of those that do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.clouds.lines import COST_DIGITS, Lines
from finops_pipeline.demo.money import EXACT
from finops_pipeline.demo.truth import DayTruth, OwnerTruth


@dataclass
class _Sum:
    """Rows, billed and effective cost, in 10^-11 of the currency."""

    rows: int = 0
    billed: int = 0
    effective: int = 0

    def add(self, other: _Sum) -> None:
        self.rows += other.rows
        self.billed += other.billed
        self.effective += other.effective


class CloudAccount:
    """The truth in the making, by charge day and line owner."""

    def __init__(self, lines: Lines, first_day: date, currency: str) -> None:
        self._lines = lines
        self._first_day = first_day
        self._currency = currency
        self._net: dict[tuple[int, int], _Sum] = defaultdict(_Sum)
        self._superseded: dict[int, _Sum] = defaultdict(_Sum)

    def add(self, line: Ints, start: Ints, billed: Ints, effective: Ints) -> None:
        """Count rows that stand."""
        owner = self._lines.owner[line]
        for day in np.unique(start // 24).tolist():
            of_day = start // 24 == day
            for number in np.unique(owner[of_day]).tolist():
                mine = of_day & (owner == number)
                self._net[day, number].add(_sum(mine, billed, effective))

    def add_superseded(self, start: Ints, billed: Ints, effective: Ints) -> None:
        """Count rows that were delivered again."""
        for day in np.unique(start // 24).tolist():
            self._superseded[day].add(_sum(start // 24 == day, billed, effective))

    @property
    def rows(self) -> int:
        """Rows that stand."""
        return sum(s.rows for s in self._net.values())

    def days(self) -> Iterator[DayTruth]:
        """What was delivered, what counts and what does not, by day."""
        for day in sorted({day for day, _ in self._net}):
            net = _Sum()
            for (of_day, _), part in self._net.items():
                if of_day == day:
                    net.add(part)
            lost = self._superseded.get(day, _Sum())
            yield DayTruth(
                currency=self._currency,
                day=self._first_day + timedelta(day),
                delivered_rows=net.rows + lost.rows,
                delivered_cost=_money(net.billed + lost.billed),
                net_rows=net.rows,
                net_cost=_money(net.billed),
                net_effective_cost=_money(net.effective),
                superseded_rows=lost.rows,
                superseded_cost=_money(lost.billed),
            )

    def owners(self) -> Iterator[OwnerTruth]:
        """Who owns what counts, by day, owner and tier."""
        for (day, number), part in sorted(self._net.items()):
            owner, tier = self._lines.owners[number]
            yield OwnerTruth.model_validate(
                {
                    "currency": self._currency,
                    "day": self._first_day + timedelta(day),
                    "owner": owner,
                    "tier": tier,
                    "rows": part.rows,
                    "cost": _money(part.billed),
                    "effective_cost": _money(part.effective),
                }
            )


def _sum(mask: np.ndarray[tuple[int], np.dtype[np.bool_]], billed: Ints, effective: Ints) -> _Sum:
    return _Sum(int(mask.sum()), int(billed[mask].sum()), int(effective[mask].sum()))


def _money(units: int) -> Decimal:
    return Decimal(units).scaleb(-COST_DIGITS, EXACT)
