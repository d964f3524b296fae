"""Snapshots of a month, as AWS and Azure deliver them: each tells the whole month so far.

A month that was closed is delivered once more some days later, in its second edition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finops_pipeline.demo.clouds.goods import Special
from finops_pipeline.demo.clouds.usage import (
    Charges,
    CloudUsage,
    Month,
    exactly,
    share_of,
    together,
)

_CREDIT_DAY, _MARKETPLACE_DAY = 10, 5
_AGAIN_AFTER = 5  # days after the delivery that closed the month


@dataclass(frozen=True)
class Snapshot:
    """A delivery: the days of a month up to `through`, delivered in the morning of a day.

    `stands` tells the last one of its month; `is_first` the first, whose files come in more parts.
    """

    month: Month
    through: int
    delivered: int
    edition: int
    stands: bool
    is_first: bool


def schedule(month: Month, last_day: int, every: int) -> list[Snapshot]:
    """The snapshots of a month: one each `every` days, one at its end, one after it was closed.

    `last_day` is the last day of the period; nothing is delivered later than the day after it.
    """
    through = [*range(month.first + every - 1, month.last, every), month.last]
    found = [(day, day + 1, 1) for day in through]
    if month.is_closed:
        found.append((month.last, min(month.last + 1 + _AGAIN_AFTER, last_day + 1), 2))
    return [
        Snapshot(month, day, delivered, edition, number == len(found) - 1, number == 0)
        for number, (day, delivered, edition) in enumerate(found)
    ]


def charges_of(usage: CloudUsage, export: str, snapshot: Snapshot) -> Iterator[Charges]:
    """The charges of a snapshot, of one day at a time; what concerns the whole month comes last."""
    month, billed = snapshot.month, 0
    for day in range(month.first, snapshot.through + 1):
        use = usage.use(day, export, month, snapshot.edition)
        billed += int(use.billed.sum())
        yield from together([use, *_of_day(usage, export, snapshot, day, use)]).pieces()
    for line, special in usage.lines.specials(export):
        if row := _of_month(usage, snapshot, line, special, billed):
            yield row


def _of_day(
    usage: CloudUsage, export: str, snapshot: Snapshot, day: int, use: Charges
) -> Iterator[Charges]:
    month = snapshot.month
    a_day = usage.commitment(export)
    used = int(use.effective[usage.lines.covered[use.line]].sum())
    for line, special in usage.lines.specials(export):
        role, amount = special.role, exactly(special.amount)
        if role == "purchase" and usage.is_bought_monthly:
            if day == month.first:
                yield usage.special(line, day, 24, a_day * (month.end - month.start).days, 0)
        elif role == "purchase":
            yield usage.special(line, day, 24, a_day, 0)
        elif role == "unused" and a_day > used:
            yield usage.special(line, day, 24, 0, a_day - used)
        elif role in _DAY_OF and day == month.day(_DAY_OF[role]):
            yield usage.special(line, day, 24, amount)


_DAY_OF = {"credit": _CREDIT_DAY, "marketplace": _MARKETPLACE_DAY}


def _of_month(
    usage: CloudUsage, snapshot: Snapshot, line: int, special: Special, billed: int
) -> Charges | None:
    month = snapshot.month
    if special.role == "tax":
        hours = usage.hours_to(month.first, month.end)
        return usage.special(line, month.first, hours, share_of(billed, special.share))
    if special.role == "support" and month.is_closed and snapshot.through == month.last:
        hours = usage.hours_to(month.first, month.end)
        return usage.special(line, month.first, hours, share_of(billed, special.share))
    if special.role.startswith("late-") and snapshot.edition > 1:
        return usage.special(line, month.last, 24, exactly(special.amount))
    return None
