"""What rules would leave unallocated, for many rule sets in one pass over the stored costs.

Whose a charge is depends on little of it, so costs are summed to just that before any rules are
tried. The parts that owners have of a figure sum to the figure, whichever rules made them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow.compute as pc

from finops_pipeline.allocate.in_force import RulesOfDay
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.days import chunks
from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline.lake.home import Home
from finops_pipeline.store.allocated import GROUP, SUBJECT, daily_of_sql, left_sql
from finops_pipeline.store.allocation import Allocated, allocate
from finops_pipeline.store.cluster_usage import ClusterUsage
from finops_pipeline.store.earlier import EarlierShares

_CHUNK = 1_000_000  # allocated figures that are summed at a time
_COSTS = "costs that rules are tried on"
_WEIGHED = ("x_Source", "x_ChargeDay", "BillingCurrency", "ConsumedUnit", *SUBJECT.values())

Costs = dict[str, Decimal]  # EffectiveCost by billing currency


def left_by(
    home: Home,
    engine: Engine,
    sets: Sequence[Rules],
    since: date | None = None,
    until: date | None = None,
) -> list[Costs]:
    """What each of the rule sets leaves unallocated of the stored costs of these days.

    Those after the first are quick where they decide as the first does.
    """
    table = home.table("allocated_costs")
    files: dict[str, list[LakeFile]] = defaultdict(list)
    for file in table.files():
        day = date.fromisoformat(file.partition[2])
        if (since or day) <= day <= (until or day):
            files[file.partition[0]].append(file)
    deciders = [Decider(rules) for rules in sets]
    left: list[Costs] = [defaultdict(Decimal) for _ in sets]
    for source, of_source in files.items():
        for costs, found in zip(
            left, _Source(home, engine, source, of_source).left(deciders), strict=True
        ):
            for currency, cost in found.items():
                costs[currency] = EXACT.add(costs[currency], cost)
    return left


class _PartlyUnallocated(Exception):
    """A part of a pool is unallocated: parts are rounded figure by figure, not sum by sum."""


@dataclass(frozen=True)
class _Source:
    home: Home
    engine: Engine
    name: str
    files: Sequence[LakeFile]

    def left(self, deciders: Sequence[Decider]) -> list[Costs]:
        first, others = deciders[0], deciders[1:]
        self._bind(self.files)
        days = {first.calendar.stretch(d): d for d in self._files_of()}.values()
        subjects = [Subject(**row) for row in self.engine.rows(_subjects_sql()).to_pylist()]
        otherwise = [d for d in others if not _decide_alike(first, d, subjects, days)]
        try:
            told = self._told([first, *otherwise], _WEIGHED)
        except _PartlyUnallocated:
            told = self._told([first, *otherwise], GROUP)
        return [told[d] if d in told else told[first] for d in deciders]

    def _told(self, deciders: Sequence[Decider], grain: Sequence[str]) -> dict[Decider, Costs]:
        files = self._files_of()
        shares = self.home.table("shares")
        earlier = {d: EarlierShares(shares, self.name, files) for d in deciders}
        usage = ClusterUsage(self.home)
        left: dict[Decider, Costs] = {d: defaultdict(Decimal) for d in deciders}
        for chunk in chunks(
            sorted(files), lambda day: sum(map(self._table.rows, files[day])), _CHUNK
        ):
            self._bind([f for day in chunk for f in files[day]])
            self.engine.make("daily", daily_of_sql(_COSTS, tuple(grain)))
            for decider in deciders:
                made = allocate(self.engine, self.name, decider, earlier[decider], usage)
                if grain is _WEIGHED and _is_partly_unallocated(made):
                    raise _PartlyUnallocated
                for row in self.engine.rows(left_sql()).to_pylist():
                    costs, currency = left[decider], row["currency"]
                    costs[currency] = EXACT.add(costs[currency], row["cost"])
        return left

    @property
    def _table(self) -> LakeTable:
        return self.home.table("allocated_costs")

    def _files_of(self) -> Mapping[date, list[LakeFile]]:
        found: dict[date, list[LakeFile]] = defaultdict(list)
        for file in self.files:
            found[date.fromisoformat(file.partition[2])].append(file)
        return found

    def _bind(self, files: Iterable[LakeFile]) -> None:
        table = self._table
        self.engine.bind_files(_COSTS, table.table, [table.location(f) for f in files])


@cache
def _subjects_sql() -> Sql:
    costs: ir.Table = ibis.table(ibis_schema(tables()["allocated_costs"]), name=_COSTS)
    return Sql(costs.select(**SUBJECT).distinct())


def _decide_alike(
    first: Decider, other: Decider, subjects: Sequence[Subject], days: Iterable[date]
) -> bool:
    """Whether both give every subject to the same taker, and take pools apart among the same.

    Workloads of a cluster are no subjects of charges: with clusters it is not known.
    """
    for day in days:
        one, two = first.calendar.on(day), other.calendar.on(day)
        if one.clusters or two.clusters or _splits(one) != _splits(two):
            return False
        for subject in subjects:
            was, is_now = first.decide(subject, day), other.decide(subject, day)
            if (was.owner, was.pool, was.pool_part) != (
                is_now.owner,
                is_now.pool,
                is_now.pool_part,
            ):
                return False
    return True


def _splits(of_day: RulesOfDay) -> dict[str, Any]:
    """All that tells how each pool is split, but for what there is to weigh."""
    return {
        pool.name: (
            pool.drivers,
            of_day.recipients(pool),
            [of_day.weights(driver.weights) for driver in pool.drivers if driver.weights],
        )
        for pool in of_day.rules.pools
    }


def _is_partly_unallocated(made: Allocated) -> bool:
    nobodys = made.shares.filter(pc.equal(made.shares.column("owner"), UNALLOCATED))
    return any(share != 1 for share in nobodys.column("share").to_pylist())
