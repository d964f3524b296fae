"""Showback: what an owner cost in a month, by the way it came to it, and why that changed.

The figures are those that `ask` answers, so a statement cannot disagree with `finops costs`. What
the drivers mean is in `drivers.py`; how a statement looks in `show_statement.py` and
`statement_page.py`.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.answer import ask, bind_asked
from finops_pipeline.query.dimensions import dimension
from finops_pipeline.query.drivers import DRIVERS, LOOKED_AT, OTHER, effects
from finops_pipeline.query.model import CostQuery, QueryError


class UnknownOwner(QueryError):
    """There is no cost of this owner in the month nor in the one before."""


# The parts of an owner's cost, by the tier that decided it.
PARTS = {"tag": "direct", "scope": "inherited", "pool": "shared", "unallocated": "unallocated"}
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Amount:
    """EffectiveCost in the reporting currency, of the month before and of the month."""

    before: Decimal = _ZERO
    now: Decimal = _ZERO

    @property
    def change(self) -> Decimal:
        """What it costs more."""
        return EXACT.subtract(self.now, self.before)


@dataclass(frozen=True)
class Statement:
    """An owner's month. `parts` sum to `total`, `services` too, `drivers` to its change."""

    owner: str
    total: Amount
    parts: Mapping[str, Amount]
    services: tuple[tuple[str, Amount], ...]
    drivers: Mapping[str, Decimal]


@dataclass(frozen=True)
class Statements:
    """The statements of a month, the largest first, beside the month before.

    `without_rate` has for each billing currency without an exchange rate the rows of both months
    that are in no figure of these statements, and their cost in that currency.
    """

    month: str
    previous: str
    currency: str | None
    statements: tuple[Statement, ...]
    without_rate: Mapping[str, tuple[int, Decimal]]
    note: str


def statements(home: Home, engine: Engine, month: str, owner: str | None = None) -> Statements:
    """The statements of a month (YYYY-MM), of one owner or of all. Raises QueryError."""
    first, last = _days(month)
    if first == date.min:
        raise QueryError(f"there is no month before {month}")
    previous = (first - timedelta(days=1)).isoformat()[:7]
    period = CostQuery(since=_days(previous)[0], until=last)
    answer = ask(
        home,
        engine,
        period.model_copy(update={"by": ("month", "owner", "tier", "service")}),
    )
    sides = {previous: 0, month: 1}
    cells = [
        (str(row[1]), PARTS[str(row[2])], str(row[3]), sides[str(row[0])], Decimal(row[4] or 0))
        for row in answer.rows
    ]
    owners = sorted({cell[0] for cell in cells})
    if owner is not None and owner not in owners:
        known = ", ".join(owners) or "none"
        raise UnknownOwner(
            f"no cost of owner {owner!r} in {previous} or {month}; there is cost of: {known}"
        )
    without_rate = answer.without_rate
    if owner is not None and without_rate:
        # What others have without a rate is nothing that this owner's figures lack.
        of_owner = period.model_copy(update={"filters": {"owner": (owner,)}})
        without_rate = ask(home, engine, of_owner).without_rate
    why = _drivers(home, engine, period, first, answer.currency)
    made = [
        _statement(name, [c for c in cells if c[0] == name], why.get(name, {}))
        for name in ([owner] if owner is not None else owners)
    ]
    made.sort(key=lambda s: (-s.total.now, s.owner))
    return Statements(month, previous, answer.currency, tuple(made), without_rate, answer.note)


def _days(month: str) -> tuple[date, date]:
    """The first and the last day of a month."""
    try:
        dimension("month").check(month)
    except ValueError as error:
        raise QueryError(str(error)) from None
    first = date.fromisoformat(f"{month}-01")
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def _drivers(
    home: Home, engine: Engine, period: CostQuery, first: date, currency: str | None
) -> Mapping[str, Mapping[str, Decimal]]:
    if currency is None:
        return {}
    read = bind_asked(home, engine, period.model_copy(update={"by": LOOKED_AT}))
    return effects(engine, read, first, currency)


def _statement(
    owner: str, cells: Iterable[tuple[str, str, str, int, Decimal]], why: Mapping[str, Decimal]
) -> Statement:
    parts: dict[str, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
    services: dict[str, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
    whole = [_ZERO, _ZERO]
    for _, part, service, side, cost in cells:
        for sums in (parts[part], services[service], whole):
            sums[side] = EXACT.add(sums[side], cost)
    total = Amount(*whole)
    found = {name: why.get(name, _ZERO) for name in DRIVERS}
    # What the drivers should ever leave is told as such.
    for effect in why.values():
        whole[0] = EXACT.add(whole[0], effect)
    found[OTHER] = EXACT.add(found[OTHER], EXACT.subtract(whole[1], whole[0]))
    by_change = sorted(
        ((name, Amount(*both)) for name, both in services.items()),
        key=lambda s: (-s[1].now, s[0]),
    )
    return Statement(
        owner=owner,
        total=total,
        parts={name: Amount(*parts[name]) for name in PARTS.values() if name in parts},
        services=tuple(by_change),
        drivers=found,
    )
