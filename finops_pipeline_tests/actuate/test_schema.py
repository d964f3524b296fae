"""The table of budget statuses: described, exact, and in one order."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from finops_pipeline.actuate.budgets import BudgetStatus, DailySpend, status
from finops_pipeline.actuate.schema import BUDGET_STATUS, budget_status_table
from finops_pipeline.config import Budget

JANUARY = date(2025, 1, 1)
BUDGET = Budget(name="platform", amount=Decimal(1000))


def days(*amounts: str) -> list[DailySpend]:
    """The spend of 1 January 2025 and the days after it."""
    return [DailySpend(JANUARY + timedelta(days=n), Decimal(a)) for n, a in enumerate(amounts)]


def test_the_table_says_what_each_column_is() -> None:
    assert BUDGET_STATUS.names == list(BudgetStatus.__dataclass_fields__)
    for field in BUDGET_STATUS:
        assert field.metadata[b"description"].endswith(b"."), field.name
        assert not field.nullable
    for name in ("amount", "spent", "remaining"):
        assert BUDGET_STATUS.field(name).type == pa.decimal128(38, 18)


def test_the_table_keeps_every_digit_and_its_order() -> None:
    spend = days("500.000000000000000001", "99999999999999999000")
    made = [status(BUDGET, "USD", spend, JANUARY + timedelta(days=n)) for n in (1, 0)]
    table = budget_status_table(made)
    assert table.schema.equals(BUDGET_STATUS, check_metadata=True)
    assert table.to_pylist()[0] == {
        "budget": "platform",
        "month": JANUARY,
        "as_of_day": JANUARY,
        "amount": Decimal(1000),
        "spent": Decimal("500.000000000000000001"),
        "percent": Decimal("50.00"),
        "remaining": Decimal("499.999999999999999999"),
        "crossed": [Decimal(50)],
        "currency": "USD",
    }
    assert table["spent"].to_pylist()[1] == Decimal("99999999999999999500.000000000000000001")
    assert budget_status_table([]).schema.equals(BUDGET_STATUS)


def test_the_table_refuses_what_it_cannot_hold() -> None:
    made = status(BUDGET, "USD", days("0.0000000000000000001"), JANUARY)
    with pytest.raises(pa.ArrowInvalid):
        budget_status_table([made])
