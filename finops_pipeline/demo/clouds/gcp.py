"""Google Cloud's detailed billing export: the BigQuery table as files of Cloud Storage.

Rows are only ever added: an export a week, JSON lines and Parquet by turns, with rows that came
late, rows of the week before once more (an overlap, the same to the last field), and after a
month's close its tax, a rounding error and an adjustment that is billed in the month after.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.clouds.account import CloudAccount
from finops_pipeline.demo.clouds.files import DataFiles
from finops_pipeline.demo.clouds.gcp_table import DISCOUNTS, GcpTable
from finops_pipeline.demo.clouds.goods import Cloud
from finops_pipeline.demo.clouds.usage import Charges, CloudUsage, Month, exactly, share_of
from finops_pipeline.demo.truth import FileTruth

_EVERY = 7
_LATE_EVERY, _LATE = 10, 3
_OVERLAP_DAYS = 2
_ADJUSTED_DAY = 20

_Days = tuple[int, int]


@dataclass(frozen=True)
class _Batch:
    """Rows of one export, with the month of their invoice where usage does not tell it."""

    charges: Charges
    exported: datetime
    invoice: str | None = None


class GcpTree:
    """Writes the files of one billing account's export."""

    def __init__(
        self, out: Path, goods: Cloud, usage: CloudUsage, account: CloudAccount,
        rng: random.Random, split_rows: int,
    ) -> None:  # fmt: skip
        self._out = out
        self._usage = usage
        self._account = account
        self._split_rows = split_rows
        self._name = next(iter(goods.exports))
        self._table = GcpTable(goods, usage)
        self._billed: dict[Month, int] = defaultdict(int)

    def deliver(self, months: list[Month]) -> Iterator[list[FileTruth]]:
        """Write all exports; gives the files of each."""
        last_day = months[-1].last
        ends = [*range(_EVERY - 1, last_day, _EVERY), last_day]
        starts = [0, *(end + 1 for end in ends[:-1])]
        weeks: list[_Days | None] = [*zip(starts, ends, strict=True), None]
        closed = [m for m in months if m.is_closed]
        for number, week in enumerate(weeks):
            before = weeks[number - 1] if number else None
            at = self._time(number, week[1] + 1 if week else last_day + 1, week is None)
            kind = "parquet" if number % 2 else "json"
            batches = self._batches(week, before, months, at)
            files = self._write(batches, at, kind, "")
            while closed and (week is None or closed[0].last < week[1]):
                files += self._write(self._closing(closed.pop(0), at), at, kind, "-close")
            if before and number % 2:
                again = self._overlap(before, months, number - 1)
                files += self._write(again, at, "json", "-again", superseded=True)
            yield files

    def _batches(
        self, week: _Days | None, before: _Days | None, months: list[Month],
        at: datetime,
    ) -> Iterator[_Batch]:  # fmt: skip
        if before:
            use = self._use(before[1], months)
            yield _Batch(use.where(use.line % _LATE_EVERY == _LATE), at)
        if week is None:
            return
        for day in range(week[0], week[1] + 1):
            use = self._use(day, months)
            self._billed[_month_of(day, months)] += int(use.effective.sum())
            if day == week[1]:
                use = use.where(use.line % _LATE_EVERY != _LATE)
            yield _Batch(use, at)

    def _overlap(self, week: _Days, months: list[Month], number: int) -> Iterator[_Batch]:
        """Punctual rows of a week's last days as they were, but exported once more."""
        at = self._time(number, week[1] + 1, trailing=False)
        for day in range(max(week[0], week[1] - _OVERLAP_DAYS + 1), week[1] + 1):
            use = self._use(day, months)
            if day == week[1]:
                use = use.where(use.line % _LATE_EVERY != _LATE)
            yield _Batch(use, at)

    def _closing(self, month: Month, at: datetime) -> Iterator[_Batch]:
        of_month = f"{month.start:%Y%m}"
        for line, special in self._usage.lines.specials():
            if special.role == "adjustment":
                day, after = month.day(_ADJUSTED_DAY), f"{month.end:%Y%m}"
                row = self._usage.special(line, day, 24, exactly(special.amount))
                yield _Batch(row, at, after)
            else:
                billed = share_of(self._billed[month], special.share)
                amount = billed if special.role == "tax" else exactly(special.amount)
                yield _Batch(self._usage.special(line, month.last, 24, amount), at, of_month)

    def _use(self, day: int, months: list[Month]) -> Charges:
        return self._usage.use(day, self._name, _month_of(day, months))

    def _write(
        self, batches: Iterator[_Batch], at: datetime, kind: str, mark: str,
        superseded: bool = False,
    ) -> list[FileTruth]:  # fmt: skip
        folder = f"{self._name}/{at:%Y%m%d}"
        files = DataFiles(
            self._out,
            lambda number, suffix: f"{folder}/export{mark}-{number:012d}.{suffix}",
            kind, "gcp_detailed", at, self._split_rows, counts=True,
        )  # fmt: skip
        for batch in batches:
            for charges in batch.charges.pieces():
                credits = self._table.credits(charges)
                rows = self._table.rows(charges, credits, batch.exported, batch.invoice, kind)
                files.write(rows)
                self._count(charges, credits, superseded)
        files.roll()
        return files.files

    def _count(self, charges: Charges, credits: Ints, superseded: bool) -> None:
        # Discounts lower the charge; what pays a part of it afterwards is a charge of its own.
        net = charges.cost + credits[:, :DISCOUNTS].sum(axis=1)
        paid = credits[:, DISCOUNTS]
        has = paid != 0
        rows = (
            (charges.line, charges.start, net),
            (charges.line[has], charges.start[has], paid[has]),
        )
        for line, start, cost in rows:
            if superseded:
                self._account.add_superseded(start, cost, cost)
            else:
                self._account.add(line, start, cost, cost)

    def _time(self, number: int, day: int, trailing: bool) -> datetime:
        hour = time(17 if trailing else 4, 21 + number % 30, tzinfo=UTC)
        return datetime.combine(self._usage.first_day + timedelta(day), hour)


def _month_of(day: int, months: list[Month]) -> Month:
    return next(m for m in months if day <= m.last)
