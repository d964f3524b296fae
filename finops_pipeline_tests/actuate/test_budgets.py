"""Budget status and crossings: golden cases worked out by hand, and properties over many months."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, Inexact
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_pipeline.actuate.budgets import BudgetStatus, Crossing, DailySpend, crossings, status
from finops_pipeline.config import Budget

JANUARY = date(2025, 1, 1)


def budget(amount: str = "1000", *thresholds: str) -> Budget:
    shares = tuple(Decimal(t) for t in thresholds or ("50", "80", "100"))
    return Budget(name="platform", amount=Decimal(amount), thresholds=shares)


def days(**amounts: str) -> list[DailySpend]:
    """`d3="5"` is five units of money on 3 January 2025."""
    return [
        DailySpend(date(2025, 1, int(day.removeprefix("d"))), Decimal(amount))
        for day, amount in amounts.items()
    ]


def january(day: int) -> date:
    return date(2025, 1, day)


def test_a_month_as_worked_out_by_hand() -> None:
    spend = days(d1="300", d2="199.99", d3="0.01", d5="333.335")
    assert status(budget(), "USD", spend, january(5)) == BudgetStatus(
        budget="platform",
        month=JANUARY,
        charge_day=january(5),
        amount=Decimal("1000"),
        spent=Decimal("833.335"),
        percent=Decimal("83.33"),  # 83.3335
        remaining=Decimal("166.665"),
        crossed=(Decimal(50), Decimal(80)),
        currency="USD",
    )
    assert crossings(budget(), "USD", spend, january(5)) == (
        Crossing(
            budget="platform",
            month=JANUARY,
            charge_day=january(3),
            threshold=Decimal(50),
            amount=Decimal(1000),
            spent=Decimal(500),
            percent=Decimal("50.00"),
            currency="USD",
        ),
        Crossing(
            budget="platform",
            month=JANUARY,
            charge_day=january(5),
            threshold=Decimal(80),
            amount=Decimal(1000),
            spent=Decimal("833.335"),
            percent=Decimal("83.33"),
            currency="USD",
        ),
    )


@pytest.mark.parametrize(
    ("spent", "percent", "crossed"),
    [
        ("800", "80.00", ("80",)),
        ("799.999999999999999999", "80.00", ()),  # looks like 80 %, is not
        ("800.000000000000000001", "80.00", ("80",)),
        ("1000", "100.00", ("80", "100")),
        ("0", "0.00", ()),
    ],
)
def test_a_threshold_is_reached_at_exactly_its_share(
    spent: str, percent: str, crossed: tuple[str, ...]
) -> None:
    got = status(budget("1000", "100", "80"), "USD", days(d2=spent), january(2))
    assert got.percent == Decimal(percent)
    assert got.crossed == tuple(Decimal(c) for c in crossed)


@pytest.mark.parametrize(
    ("amount", "spent", "percent"),
    [
        ("10000", "0.5", "0.01"),  # 0.005: half goes up
        ("10000", "0.499999999999999999", "0.00"),
        ("10000", "-0.5", "-0.01"),
        ("10000", "-0.4", "0.00"),
        ("3", "2", "66.67"),
        ("3", "1", "33.33"),
        ("0.000000000000000001", "12345678901234567890", "12345678901234567890" + "0" * 20 + ".00"),
    ],
)
def test_percent_is_rounded_half_up_once(amount: str, spent: str, percent: str) -> None:
    got = status(budget(amount), "USD", days(d1=spent), january(1)).percent
    assert str(got) == percent


def test_nothing_spent_is_a_status_too() -> None:
    got = status(budget(), "EUR", [], january(31))
    assert (got.spent, got.percent, got.remaining) == (Decimal(0), Decimal("0.00"), Decimal(1000))
    assert (got.crossed, got.currency) == ((), "EUR")


def test_credits_can_outweigh_the_charges() -> None:
    got = status(budget(), "USD", days(d1="100", d2="-350.5"), january(2))
    assert (got.spent, got.percent) == (Decimal("-250.5"), Decimal("-25.05"))
    assert (got.remaining, got.crossed) == (Decimal("1250.5"), ())


def test_a_credit_takes_back_no_crossing_and_the_first_day_stands() -> None:
    spend = days(d1="500", d2="-100", d3="200")
    assert status(budget(), "USD", spend, january(2)).crossed == (Decimal(50),)
    assert [c.charge_day for c in crossings(budget(), "USD", spend, january(3))] == [january(1)]


def test_a_credit_of_the_same_day_counts_before_the_day_is_judged() -> None:
    spend = [*days(d1="600"), *days(d1="-200")]
    assert crossings(budget(), "USD", spend, january(1)) == ()


def test_only_the_days_of_the_month_so_far_count() -> None:
    spend = [
        DailySpend(date(2024, 12, 31), Decimal(900)),
        DailySpend(january(31), Decimal(400)),
        DailySpend(date(2025, 2, 1), Decimal(7)),
    ]
    assert status(budget(), "USD", spend, january(30)).spent == 0
    assert status(budget(), "USD", spend, january(31)).spent == 400
    february = status(budget(), "USD", spend, date(2025, 2, 28))
    assert (february.month, february.spent) == (date(2025, 2, 1), Decimal(7))


def test_all_18_digits_of_large_sums_are_kept() -> None:
    large = "99999999999999999999.999999999999999999"  # 38 digits
    got = status(
        budget("1"), "USD", days(d1=large, d2=large, d3="0.000000000000000002"), january(3)
    )
    assert got.spent == Decimal("200000000000000000000")
    assert got.remaining == Decimal("-199999999999999999999")


def test_no_digit_is_dropped_in_silence() -> None:
    with pytest.raises(Inexact):
        status(budget(), "USD", days(d1="1e100", d2="1e-100"), january(2))


def test_a_float_is_refused() -> None:
    fractions: Any = 0.1
    with pytest.raises(TypeError):
        status(budget(), "USD", [DailySpend(january(1), fractions)], january(1))


def test_the_same_threshold_written_twice_is_one() -> None:
    got = crossings(budget("1000", "50", "50.0", "5E+1"), "USD", days(d1="500"), january(1))
    assert len(got) == 1


def test_a_threshold_may_be_fractional_or_above_the_budget() -> None:
    got = status(budget("1000", "150", "12.5"), "USD", days(d1="125", d2="1375"), january(2))
    assert got.crossed == (Decimal("12.5"), Decimal(150))


# The same month in whole units of 10^-18, where the rule is plain integer arithmetic.
UNIT = Decimal("1e-18")
AMOUNT_UNITS = 1000 * 10**18
MONTHS = st.lists(
    st.tuples(st.integers(1, 31), st.integers(-400 * 10**18, 400 * 10**18)), max_size=40
)


def as_spend(rows: list[tuple[int, int]]) -> list[DailySpend]:
    # `scaleb` would round to 28 digits, so the decimal is built from its digits.
    return [DailySpend(january(day), _units(units)) for day, units in rows]


def _units(units: int) -> Decimal:
    return Decimal((int(units < 0), tuple(int(d) for d in str(abs(units))), -18))


@settings(max_examples=150, deadline=None)
@given(rows=MONTHS, last=st.integers(1, 31))
def test_agrees_with_integers(rows: list[tuple[int, int]], last: int) -> None:
    first_days: dict[int, int] = {}
    for day in range(1, last + 1):
        total = sum(units for row_day, units in rows if row_day <= day)
        has_spend = any(row_day == day for row_day, _ in rows)
        for threshold in (50, 80, 100):
            if has_spend and total * 100 >= AMOUNT_UNITS * threshold:
                first_days.setdefault(threshold, day)
    got = crossings(budget(), "USD", as_spend(rows), january(last))
    assert {int(c.threshold): c.charge_day.day for c in got} == first_days
    spent = status(budget(), "USD", as_spend(rows), january(last)).spent
    assert spent == _units(sum(units for day, units in rows if day <= last))


@settings(max_examples=100, deadline=None)
@given(rows=MONTHS, runs=st.lists(st.integers(1, 30)), data=st.data())
def test_days_in_any_order_and_repeated_find_the_same_crossings(
    rows: list[tuple[int, int]], runs: list[int], data: st.DataObject
) -> None:
    in_order = set(crossings(budget(), "USD", as_spend(rows), january(31)))
    shuffled = as_spend(data.draw(st.permutations(rows)))
    found: set[Crossing] = set()
    for day in data.draw(st.permutations([*runs, 31])):
        found |= set(crossings(budget(), "USD", shuffled, january(day)))
    assert found == in_order
