"""How well charges are tagged: cost by what the values of the rules' keys say, and what drifted.

A value is valid if it names an owner by the rules of that charge day, by the code that decides
owners. Billed tags count, not those that scopes hand down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any, Literal

import ibis
import ibis.expr.types as ir

from finops_pipeline.allocate.in_force import Calendar, RulesOfDay
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.tags import TagTier
from finops_pipeline.allocate.terms import fold
from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.contracts.forms import MONEY, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.functions import json_member
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.answer import ask, bind_asked
from finops_pipeline.query.compile import bound, conditions_of
from finops_pipeline.query.dimensions import TABLE, TAG_PREFIX
from finops_pipeline.query.model import CostQuery

State = Literal["valid", "invalid", "none"]
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Tagged:
    """EffectiveCost (reporting currency) of an owner in an account by what a key's value says."""

    owner: str
    account: str | None
    key: str
    costs: Mapping[State, Decimal]

    @property
    def total(self) -> Decimal:
        """All of it."""
        return _sum(self.costs.values())

    def share(self, state: State) -> Fraction | None:
        """The exact part of the total; None where the total is not above zero."""
        return Fraction(self.costs[state]) / Fraction(self.total) if self.total > 0 else None


@dataclass(frozen=True)
class Spell:
    """A value that a resource had, None for no tag: its days, first and last, and their cost."""

    value: str | None
    first: date
    last: date
    cost: Decimal


@dataclass(frozen=True)
class Drift:
    """A resource whose value of a key changed within the period, in the order of time."""

    source: str
    account: str | None
    resource: str
    key: str
    spells: tuple[Spell, ...]


@dataclass(frozen=True)
class Tagging:
    """Compliance by key, owner and account, and the drift of the costliest resources.

    `drifted` has for each key the number of all resources that drifted.
    """

    currency: str | None
    tagged: tuple[Tagged, ...]
    drifts: tuple[Drift, ...]
    drifted: Mapping[str, int]
    without_rate: Mapping[str, tuple[int, Decimal]]


def tagging(
    home: Home,
    engine: Engine,
    rules: Rules,
    since: date | None = None,
    until: date | None = None,
    top: int = 20,
) -> Tagging:
    """Look at the tags of a period. `top` limits the drifts of a key. Raises QueryError."""
    period = CostQuery(since=since, until=until)
    whole = ask(home, engine, period)
    calendar = Calendar(rules)
    stretches = _stretches(home, calendar, since, until)
    tagged: list[Tagged] = []
    drifts: list[Drift] = []
    drifted: dict[str, int] = {}
    for key in dict.fromkeys(key for tag in rules.tags for key in tag.key):
        tagged += _tagged(home, engine, calendar, stretches, key)
        found = _drifts(home, engine, period, key)
        drifted[key] = len(found)
        drifts += found[:top]
    return Tagging(whole.currency, tuple(tagged), tuple(drifts), drifted, whole.without_rate)


def _stretches(
    home: Home, calendar: Calendar, since: date | None, until: date | None
) -> list[tuple[date, date]]:
    """The stored days of the period, cut where other rules begin to hold."""
    stored = {date.fromisoformat(f.partition[2]) for f in home.table(TABLE).files()}
    days = sorted(d for d in stored if (since or d) <= d <= (until or d))
    cut = [list(of_stretch) for _, of_stretch in groupby(days, calendar.stretch)]
    return [(of_stretch[0], of_stretch[-1]) for of_stretch in cut]


# Compliance


def _tagged(
    home: Home,
    engine: Engine,
    calendar: Calendar,
    stretches: Iterable[tuple[date, date]],
    key: str,
) -> list[Tagged]:
    costs: dict[tuple[str, str | None], dict[State, Decimal]] = defaultdict(
        lambda: {"valid": _ZERO, "invalid": _ZERO, "none": _ZERO}
    )
    for first, last in stretches:
        of_day = calendar.on(first)
        tier = TagTier(of_day)
        by = ("owner", "account", "provider", TAG_PREFIX + key)
        asked = ask(home, engine, CostQuery(by=by, since=first, until=last))
        for owner, account, provider, value, cost in asked.rows:
            if _asked_of(of_day, key, str(provider)):
                state = _state(tier, str(provider), key, None if value is None else str(value))
                sums = costs[str(owner), None if account is None else str(account)]
                sums[state] = EXACT.add(sums[state], Decimal(cost or 0))
    order = sorted(costs, key=lambda place: (place[0], place[1] is None, place[1] or ""))
    return [Tagged(owner, account, key, costs[owner, account]) for owner, account in order]


def _asked_of(of_day: RulesOfDay, key: str, provider: str) -> bool:
    """Whether any rule of the day looks at the key on charges of a provider."""
    return any(
        key in tag.key
        and (tag.providers is None or fold(provider) in {fold(p) for p in tag.providers})
        for tag in of_day.rules.tags
    )


def _state(tier: TagTier, provider: str, key: str, value: str | None) -> State:
    if value is None or not value.strip():
        return "none"
    named, _ = tier.look(provider, {key: value}, {})
    return "invalid" if named is None else "valid"


# Drift


def _drifts(home: Home, engine: Engine, period: CostQuery, key: str) -> list[Drift]:
    """The resources that had several values of a key, the costliest first."""
    by = ("source", "account", "resource", "day", TAG_PREFIX + key)
    read = bind_asked(home, engine, period.model_copy(update={"by": by}))
    if not read:
        return []
    rows = engine.rows(engine.compile(_spells(period, read, key))).to_pylist()
    of_resource: dict[tuple[str, str | None, str], list[Spell]] = defaultdict(list)
    for row in rows:
        place = (row["x_Source"], row["SubAccountId"], row["ResourceId"])
        of_resource[place].append(
            Spell(row["value"], row["first_day"], row["last_day"], row["cost"])
        )
    found = [
        Drift(*place, key, tuple(sorted(spells, key=_in_time)))
        for place, spells in of_resource.items()
    ]
    found.sort(
        key=lambda d: (-_sum(s.cost for s in d.spells), d.source, d.resource, d.account or "")
    )
    return found


def _in_time(spell: Spell) -> tuple[Any, ...]:
    return spell.first, spell.last, spell.value is not None, spell.value or ""


def _spells(period: CostQuery, read: Iterable[str], key: str) -> ir.Table:
    """Each value of the resources that had more than one, no value counted as one."""
    parts = []
    for table in read:
        costs = ibis.table(ibis_schema(tables()[table]), name=bound(table))
        costs = costs.filter(*conditions_of(costs, period), costs.ResourceId.notnull())
        parts.append(
            costs.select(
                "x_Source",
                "SubAccountId",
                "ResourceId",
                value=json_member(costs.Tags, key),
                day=costs.x_ChargeDay,
                cost=costs.x_ReportingEffectiveCost.fill_null(ibis.literal(_ZERO).cast(MONEY)),
            )
        )
    rows = ibis.union(*parts) if len(parts) > 1 else parts[0]
    spells = rows.group_by("x_Source", "SubAccountId", "ResourceId", "value").agg(
        first_day=rows.day.min(), last_day=rows.day.max(), cost=rows.cost.sum().cast(MONEY)
    )
    of_resource = ibis.window(group_by=["x_Source", "SubAccountId", "ResourceId"])
    counted = spells.mutate(values=spells.first_day.count().over(of_resource))
    return counted.filter(counted.values > 1).drop("values")


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
