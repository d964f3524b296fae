"""Monthly budgets: how much of one is spent on a charge day, and which thresholds it has reached.

Plain functions of the spend they are given. Where spend comes from (the cost lake, filtered by the
budget's `filters` and summed over its `metric`) and where a status is kept is in `run.py`; how a
crossing becomes an event in `events.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from fractions import Fraction

from finops_pipeline.config import Budget

# Python's usual context would silently round a sum to 28 digits. This one has room for any sum of
# DECIMAL(38,18), and raises where it would have to round.
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True)
class DailySpend:
    """Spend of one charge day, in the reporting currency; negative when credits outweigh charges.

    Several rows of one day add up, so the caller may bring one per source or owner.
    """

    charge_day: date
    amount: Decimal


@dataclass(frozen=True)
class BudgetStatus:
    """One budget as of one charge day: the month's spend up to and including that day.

    `percent` is of `amount`, rounded half up (away from zero) to two digits; it is for reading.
    `remaining` is negative once the budget is overspent. `crossed` holds the thresholds, ascending,
    that the running total has reached on any day of the month so far: a later credit that brings
    the total back below one does not take it out, as its event has been sent.
    """

    budget: str
    month: date
    charge_day: date
    amount: Decimal
    spent: Decimal
    percent: Decimal
    remaining: Decimal
    crossed: tuple[Decimal, ...]
    currency: str


@dataclass(frozen=True)
class Crossing:
    """The first charge day of a month on which the running total reached a threshold of a budget.

    `threshold` is a percentage of `amount`; `spent` and `percent` are those of `charge_day`.
    """

    budget: str
    month: date
    charge_day: date
    threshold: Decimal
    amount: Decimal
    spent: Decimal
    percent: Decimal
    currency: str


def status(
    budget: Budget, currency: str, spend: Sequence[DailySpend], charge_day: date
) -> BudgetStatus:
    """The budget as of `charge_day`, from the spend of its month up to and including that day.

    Rows of other months and of later days are ignored; a month without rows has spent zero.
    `currency` is the reporting currency, in which both the budget and the spend are.
    Raises decimal.Inexact for amounts too long to be added without rounding.
    """
    totals = _running_totals(spend, charge_day)
    spent = totals[-1][1] if totals else Decimal(0)
    with localcontext(_EXACT):
        remaining = budget.amount - spent
    return BudgetStatus(
        budget=budget.name,
        month=charge_day.replace(day=1),
        charge_day=charge_day,
        amount=budget.amount,
        spent=spent,
        percent=_percent(spent, budget.amount),
        remaining=remaining,
        crossed=tuple(c.threshold for c in crossings(budget, currency, spend, charge_day)),
        currency=currency,
    )


def crossings(
    budget: Budget, currency: str, spend: Sequence[DailySpend], charge_day: date
) -> tuple[Crossing, ...]:
    """Every threshold reached in the month up to and including `charge_day`, ascending, each once.

    A threshold is reached when the running total at the end of a day is at least that share of the
    amount, compared exactly and not by the rounded percentage. The crossing carries the first such
    day, whichever day is asked about: so every later day of the month repeats it unchanged, and
    days may be run in any order, or again. Raises decimal.Inexact like `status`.
    """
    totals = _running_totals(spend, charge_day)
    found = (
        _first_crossing(budget, currency, totals, threshold)
        for threshold in sorted(set(budget.thresholds))
    )
    return tuple(crossing for crossing in found if crossing is not None)


def _first_crossing(
    budget: Budget, currency: str, totals: list[tuple[date, Decimal]], threshold: Decimal
) -> Crossing | None:
    for day, spent in totals:
        if _reaches(spent, budget.amount, threshold):
            return Crossing(
                budget=budget.name,
                month=day.replace(day=1),
                charge_day=day,
                threshold=threshold,
                amount=budget.amount,
                spent=spent,
                percent=_percent(spent, budget.amount),
                currency=currency,
            )
    return None


def _reaches(spent: Decimal, amount: Decimal, threshold: Decimal) -> bool:
    with localcontext(_EXACT):
        return spent * 100 >= amount * threshold


def _running_totals(spend: Sequence[DailySpend], charge_day: date) -> list[tuple[date, Decimal]]:
    """The month's total at the end of each day that has spend, up to and including `charge_day`."""
    first = charge_day.replace(day=1)
    by_day: dict[date, Decimal] = defaultdict(Decimal)
    totals = []
    total = Decimal(0)
    with localcontext(_EXACT):
        for row in spend:
            if first <= row.charge_day <= charge_day:
                by_day[row.charge_day] += row.amount
        for day in sorted(by_day):
            total += by_day[day]
            totals.append((day, total))
    return totals


def _percent(spent: Decimal, amount: Decimal) -> Decimal:
    # A quotient has no exact decimal form, and rounding a rounded quotient can go the wrong way:
    # so the hundredths of a percent are rounded once, as an exact fraction.
    ratio = Fraction(spent) * 10_000 / Fraction(amount)
    hundredths = (2 * abs(ratio.numerator) + ratio.denominator) // (2 * ratio.denominator)
    with localcontext(_EXACT):
        return Decimal(hundredths if ratio >= 0 else -hundredths).scaleb(-2)
