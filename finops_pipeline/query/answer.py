"""The answer to a `CostQuery`: its lines, its total, and what the total does not hold.

The expression is made in `compile.py`; how an answer looks is in `show.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.delta import LakeTable
from finops_pipeline.lake.home import Home
from finops_pipeline.lake.listing import listing
from finops_pipeline.query.compile import GROUP, TOTAL, bound, question
from finops_pipeline.query.dimensions import OTHER, TABLE
from finops_pipeline.query.model import QUANTITY, REPORTING, CostQuery, QueryError
from finops_pipeline.query.sources import files_to_read

# Python's usual context would silently round a sum to 28 digits. This one has room for any sum of
# DECIMAL(38,18), and raises where it would have to round.
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])

NOTHING_YET = "The lake holds no cost yet: run `finops run` to ingest what the sources have."

Row = tuple[str | Decimal | None, ...]


@dataclass(frozen=True)
class Answer:
    """What was asked and what came out.

    A row is the values of the dimensions, null where a charge has none, and the sum last. `total`
    is the exact sum over every matching charge, also of those that `top` sums as `(other)`; it is
    None where quantities have different units. `currency` is None for a quantity, and where
    nothing matched in the reporting currency. `without_rate` has, for each billing currency
    without an exchange rate, how many rows are in no sum, and their cost in that currency;
    `incomplete` has the positions of the rows that lack some of it. `note` says what a reader has
    to know, empty otherwise.
    """

    query: CostQuery
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Decimal | None
    currency: str | None
    without_rate: dict[str, tuple[int, Decimal]]
    incomplete: frozenset[int]
    as_of: datetime | None
    note: str


@dataclass(frozen=True)
class _Line:
    values: tuple[str | None, ...]
    cost: Decimal
    rows_without: int


def ask(home: Home, engine: Engine, query: CostQuery, most: int | None = None) -> Answer:
    """Answer a question from the lake. Raises QueryError when the data has no one true answer.

    An answer of more lines than `most` is refused with a QueryError too, and never all in memory.
    One question at a time for an engine: each binds the files that it reads to the same name.
    """
    read = bind_asked(home, engine, query)
    if not read:
        return _nothing(query, _why_no_files(home.table(TABLE), query))
    found = engine.rows(engine.compile(question(query, read, most))).to_pylist()
    groups = sum(row["kind"] == GROUP for row in found)
    if most is not None and groups > most and (query.top is None or query.top > most):
        raise QueryError(too_many(most))
    with localcontext(_EXACT):
        return _answer(query, found)


def holds_costs(home: Home) -> bool:
    """Whether the lake holds any cost by now."""
    return bool(listing(home.table(TABLE)).files)


def too_many(most: int) -> str:
    """The refusal of an answer with more lines than that."""
    return (
        f"the answer has more than {most:,} lines: name fewer dimensions or days, filter, or ask "
        "for the costliest alone with `top`"
    )


def bind_asked(home: Home, engine: Engine, query: CostQuery) -> tuple[str, ...]:
    """Bind the files that can hold what is asked for; returns the tables that are read.

    Raises QueryError for files that are vacuumed.
    """
    read = files_to_read(home, query)
    for name, files in read.items():
        table = home.table(name)
        if query.as_of and (gone := table.gone(files)):
            raise QueryError(
                f"the lake no longer holds what it knew at {query.as_of:%Y-%m-%d %H:%M:%S} UTC: "
                f"{gone.fingerprint}.parquet was vacuumed; ask as of a later time"
            )
        engine.bind_files(bound(name), table.table, [table.location(f) for f in files])
    return tuple(read)


def _answer(query: CostQuery, found: list[dict[str, Any]]) -> Answer:
    totals = [row for row in found if row["kind"] == TOTAL]
    if not totals:
        return _nothing(query, "No charge matches.")
    currency = _currency(query, totals)
    units = {row["unit"] for row in totals}
    whole = _Line((), _sum(r["cost"] for r in totals), sum(int(r["rows_without"]) for r in totals))
    lines = _lines(query, [row for row in found if row["kind"] == GROUP], whole)
    return Answer(
        query=query,
        columns=query.columns,
        rows=tuple((*line.values, line.cost) for line in lines),
        total=whole.cost if len(units) == 1 else None,
        currency=currency,
        without_rate=_without_rate(totals),
        incomplete=frozenset(i for i, line in enumerate(lines) if line.rows_without),
        as_of=query.as_of,
        note=_note(query, len(units)),
    )


def _currency(query: CostQuery, totals: Sequence[dict[str, Any]]) -> str | None:
    if query.metric == QUANTITY:
        return None
    if query.currency != REPORTING:
        return query.currency
    used = sorted({row["reporting"] for row in totals})
    if len(used) > 1:
        raise QueryError(
            f"these charges were converted to {' and '.join(used)}, which do not add up: the "
            "reporting currency was changed in between; run `finops run --full` to convert all "
            "to one, or ask for a shorter period"
        )
    return str(used[0])


def _lines(query: CostQuery, groups: Sequence[dict[str, Any]], whole: _Line) -> list[_Line]:
    if not query.by:
        return [whole]
    lines = [
        _Line(
            tuple(row[f"d{i}"] for i in range(len(query.by))), row["cost"], int(row["rows_without"])
        )
        for row in groups
    ]
    lines.sort(key=_by_cost)
    top, rest = lines[: query.top], lines[query.top :] if query.top else []
    if query.order == "name":
        top.sort(key=_by_name)
    if rest:
        top.append(
            _Line(
                (OTHER,) * len(query.by),
                whole.cost - _sum(line.cost for line in top),
                whole.rows_without - sum(line.rows_without for line in top),
            )
        )
    return top


def _by_name(line: _Line) -> tuple[tuple[bool, str], ...]:
    return tuple([(value is None, value or "") for value in line.values])


def _by_cost(line: _Line) -> tuple[Decimal, tuple[tuple[bool, str], ...]]:
    return -line.cost, _by_name(line)


def _without_rate(totals: Iterable[dict[str, Any]]) -> dict[str, tuple[int, Decimal]]:
    """By billing currency, in order; the rows are one for each currency by now."""
    return {
        row["billing"]: (int(row["rows_without"]), row["cost_without"])
        for row in sorted(totals, key=lambda row: str(row["billing"]))
        if row["rows_without"]
    }


def _note(query: CostQuery, units: int) -> str:
    if units > 1:
        return "No total: quantities of different units do not add up."
    if query.currency != REPORTING:
        return f"Only charges billed in {query.currency} count."
    return ""


def _nothing(query: CostQuery, note: str) -> Answer:
    billed = query.currency if query.currency != REPORTING and query.metric != QUANTITY else None
    return Answer(query, query.columns, (), Decimal(0), billed, {}, frozenset(), query.as_of, note)


def _why_no_files(table: LakeTable, query: CostQuery) -> str:
    if not table.files():
        return NOTHING_YET
    if query.as_of is not None and not table.files(as_of=query.as_of):
        return (
            f"The lake held no cost at {query.as_of:%Y-%m-%d %H:%M:%S} UTC: ask as of a later time."
        )
    return "No charge matches."


def _sum(costs: Iterable[Decimal]) -> Decimal:
    return sum(costs, Decimal(0))
