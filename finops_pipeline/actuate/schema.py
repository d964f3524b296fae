"""The table `budget_status`: its columns, types and descriptions, written once.

What the figures mean and how they are computed is in `budgets.py`; writing the table is the
lake's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pyarrow as pa

from finops_pipeline.actuate.budgets import BudgetStatus

_MONEY = pa.decimal128(38, 18)


def _column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"description": description})


BUDGET_STATUS = pa.schema(
    [
        _column("budget", pa.string(), "Name of the budget in finops.yaml."),
        _column("month", pa.date32(), "First day of the calendar month (UTC) the budget is for."),
        _column("as_of_day", pa.date32(), "Charge day (UTC) whose end the row describes."),
        _column("amount", _MONEY, "The budget for the month, in `currency`."),
        _column("spent", _MONEY, "Spend of the month up to and including `as_of_day`."),
        _column(
            "percent",
            pa.decimal128(38, 2),
            "`spent` as a percentage of `amount`, rounded half up to two digits.",
        ),
        _column("remaining", _MONEY, "`amount` less `spent`; negative when overspent."),
        _column(
            "crossed",
            pa.list_(pa.field("element", _MONEY, nullable=False)),
            "Thresholds, in percent of `amount`, reached on any day of the month so far, "
            "ascending; a later credit takes none out.",
        ),
        _column("currency", pa.string(), "Reporting currency of all amounts, ISO 4217."),
    ],
    metadata={"description": "Monthly budgets; one row per budget and charge day."},
)


def budget_status_table(statuses: Iterable[BudgetStatus]) -> pa.Table:
    """The statuses as rows of `BUDGET_STATUS`, ordered by budget and day whatever order they came.

    Raises pyarrow.ArrowInvalid for an amount that DECIMAL(38,18) cannot hold exactly.
    """
    ordered = sorted(statuses, key=lambda status: (status.budget, status.as_of_day))
    return pa.Table.from_pylist([asdict(status) for status in ordered], schema=BUDGET_STATUS)
