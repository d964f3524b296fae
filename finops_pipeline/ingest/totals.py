"""Control totals: what a report says it holds, summed from its text before anything is mapped.

They are the other side of the books: what `focus_costs` holds later must add up to them
(promise 1). Exact decimals, per charge day and currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.engine.functions import countable, parse_number, parse_time
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.ingest.reading import Report, bad_fields, with_rows

EXACT = Context(prec=76)  # the default one would round a sum to 28 digits
_ROLES = ("start", "cost", "currency", "scope")
_TOGETHER = 500_000  # rows that are summed in one query


@dataclass(frozen=True, order=True)
class Total:
    """Rows and cost of one charge day in one currency (as written; empty where there is none)."""

    charge_day: date
    currency: str
    rows: int
    cost: Decimal


@dataclass(frozen=True)
class Examination:
    """What a pass over a report's text found."""

    rows: int
    totals: tuple[Total, ...]
    scopes: tuple[str, ...]
    rounded_rows: int


def charge_day(
    start: ir.StringValue, delivery_day: ir.DateValue, last: ir.DateValue
) -> ir.DateValue:
    """The partition of a row: the UTC day it starts on, or the delivery day.

    The delivery day takes rows whose start cannot be read, or lies after the last possible one (the
    day after archiving): they are rejected there. So are rows before the first day that is kept,
    but which that is may change (`LedgerEntry.kept_since`).
    """
    day = parse_time(start).date()
    return (day <= last).fill_null(False).ifelse(day, delivery_day)


class Examiner:
    """Sums the text of reports: of as many at a time as make a query worth its planning."""

    def __init__(self, engine: Engine, spool: Path) -> None:
        self._engine = engine
        self._spool = spool
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._days: list[dict[str, object]] = []
        self._sums: dict[int, list[dict[str, Any]]] = defaultdict(list)

    def add(self, report: Report, delivery_day: date, last_day: date) -> int:
        """Take in a report's text; returns the key of its examination.

        Raises UnreadableReport when it cannot be read; then nothing of it was taken in.
        """
        columns = {
            role: None
            if (name := getattr(report.raw, role)) is None
            else report.header.position(name)
            for role in _ROLES
        }
        key = with_rows(
            report,
            columns,
            self._spool,
            lambda rows: self._take(rows, delivery_day, last_day),
        )
        if report.bad_rows:
            text = bad_fields(report.bad_rows, columns)
            bad = {k: pa.array(v, pa.string()).dictionary_encode() for k, v in text.items()}
            self._wait(pa.table(bad), key)
        return key

    def results(self) -> dict[int, Examination]:
        """What was found in the reports that were taken in since the last call, by key."""
        self._sum_up()
        found = {key: _examination(sums) for key, sums in self._sums.items()}
        self._sums.clear()
        return found

    def _take(self, rows: Iterable[pa.Table], delivery_day: date, last_day: date) -> int:
        key = len(self._days)
        self._days.append({"report": key, "delivery_day": delivery_day, "last_day": last_day})
        self._sums[key] = []
        for table in rows:
            self._wait(table.select(_ROLES), key)
        return key

    def _wait(self, table: pa.Table, key: int) -> None:
        self._waiting.append(table.append_column("report", pa.repeat(key, table.num_rows)))
        self._waiting_rows += table.num_rows
        if self._waiting_rows >= _TOGETHER:
            self._sum_up()

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        self._engine.bind_arrow("days", pa.Table.from_pylist(self._days))
        self._engine.bind_arrow("examined", pa.concat_tables(self._waiting))
        self._waiting.clear()
        self._waiting_rows = 0
        for row in self._engine.rows(_totals_sql()).to_pylist():
            self._sums[row["report"]].append(row)


@cache
def _totals_sql() -> Sql:
    text = ibis.table({**dict.fromkeys(_ROLES, "string"), "report": "int64"}, name="examined")
    days = ibis.table(
        {"report": "int64", **dict.fromkeys(("delivery_day", "last_day"), "date")},
        name="days",
    )
    # By the text first, which repeats: so the parsing is done on few rows.
    same_text = text.group_by("report", "start", "currency", "scope").aggregate(
        rows=text.count(),
        cost=countable(parse_number(text.cost)).sum().fill_null(0),
        rounded=_has_more_than_18_digits(text.cost).sum().fill_null(0),
    )
    rows = same_text.inner_join(days, "report")
    grouped = rows.group_by(
        report=rows.report,
        charge_day=charge_day(rows.start, rows.delivery_day, rows.last_day),
        currency=rows.currency.strip().fill_null(""),
    )
    return Sql(
        grouped.aggregate(
            rows=rows.rows.sum().cast("int64"),
            cost=rows.cost.sum(),
            rounded=rows.rounded.sum().cast("int64"),
            scopes=rows.scope.collect(distinct=True),
        )
    )


def _has_more_than_18_digits(cost: ir.StringValue) -> ir.BooleanValue:
    """Whether a number's text has more than 18 digits after the point, written out in full."""
    may = (cost.length() > 19) | cost.contains("E") | cost.contains("e")
    digits = cost.re_extract(r"\.(\d*?)0*(?:[eE]|$)", 1).length()
    exponent = cost.re_extract(r"[eE]([+-]?\d+)", 1).try_cast("int64").fill_null(0)
    return may.ifelse(digits - exponent > 18, False)


def _examination(found: list[dict[str, Any]]) -> Examination:
    rows: dict[tuple[date, str], int] = defaultdict(int)
    cost: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for row in found:
        key = (row["charge_day"], row["currency"])
        rows[key] += int(row["rows"])  # the engine sums into decimals
        cost[key] = EXACT.add(cost[key], row["cost"])
    scopes = {scope for row in found for scope in row["scopes"] or () if scope is not None}
    return Examination(
        sum(rows.values()),
        tuple(Total(*key, rows[key], cost[key]) for key in sorted(rows)),
        tuple(sorted(scopes)),
        sum(int(row["rounded"]) for row in found),
    )
