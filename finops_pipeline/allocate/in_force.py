"""Which rules hold on a charge day. Between two dates of the rules nothing changes."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TypeVar

from finops_pipeline.allocate.clusters import Cluster
from finops_pipeline.allocate.entries import Dated
from finops_pipeline.allocate.pools import Below, Pool, WeightRow, WeightTable
from finops_pipeline.allocate.rules import Rules

D = TypeVar("D", bound=Dated)


@dataclass(frozen=True)
class RulesOfDay:
    """The rules that hold on a day, without their dates; `absent` are the owners who do not."""

    rules: Rules
    absent: frozenset[str]

    @cached_property
    def hash(self) -> str:
        """The same for days on which the same rules hold."""
        content = (self.rules.content, sorted(self.absent))
        return hashlib.sha256(repr(content).encode()).hexdigest()[:32]

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """The pools by name, clusters among them."""
        return {pool.name: pool for pool in (*self.rules.pools, *self.rules.clusters)}

    @cached_property
    def clusters(self) -> dict[str, Cluster]:
        """The clusters by name."""
        return {cluster.name: cluster for cluster in self.rules.clusters}

    def fed(self, pool: str) -> frozenset[str]:
        """The pool, and all pools that it feeds, however far."""
        found, todo = set[str](), [pool]
        while todo:
            name = todo.pop()
            if name in self.pools and name not in found:
                found.add(name)
                todo += self.recipients(self.pools[name])
        return frozenset(found)

    def ends(self, pool: str) -> frozenset[str]:
        """The owners whom cost of the pool may reach; through a cluster it may reach any."""
        fed = self.fed(pool)
        if fed & self.clusters.keys():
            return self.owners
        return self.owners.intersection(n for p in fed for n in self.recipients(self.pools[p]))

    @cached_property
    def owners(self) -> frozenset[str]:
        """The owners by name."""
        return frozenset(self.rules.owner_names)

    def recipients(self, pool: Pool) -> tuple[str, ...]:
        """The owners and pools that may take a part of a pool, in the order of their names."""
        if not pool.recipients:
            return tuple(sorted(self.owners))
        named = {name for one in pool.recipients for name in self._named(one)}
        return tuple(sorted(n for n in named if n in self.owners or n in self.pools))

    def _named(self, recipient: str | Below) -> Iterator[str]:
        if isinstance(recipient, str):
            yield recipient
        else:
            yield from (n for n in self.owners if recipient.below in self.path(n)[:-1])

    def path(self, owner: str) -> tuple[str, ...]:
        """The owner and those above it, the topmost first."""
        parents = {one.name: one.parent for one in self.rules.owners}
        found = [owner]
        while above := parents.get(found[0]):
            found.insert(0, above)
        return tuple(found)

    def weights(self, table: str) -> dict[str, WeightRow]:
        """The rows of a weights table by owner."""
        return {row.owner: row for row in self.rules.weights[table].rows}


class Calendar:
    """The rules by charge day: worked out once for each stretch of days with the same rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._starts = sorted(set(_starts(rules)))
        self._known: dict[int, RulesOfDay] = {}

    def stretch(self, day: date) -> int:
        """The number of the stretch that a day lies in."""
        return bisect_right(self._starts, day)

    def on(self, day: date) -> RulesOfDay:
        """The rules that hold on a day."""
        number = self.stretch(day)
        if number not in self._known:
            self._known[number] = _rules_on(self.rules, day)
        return self._known[number]

    def stretches(self) -> Iterator[RulesOfDay]:
        """The rules of every stretch, in the order of time."""
        first = (self._starts or [date.max])[0]
        yield self.on(first - timedelta(days=1) if first > date.min else first)
        yield from (self.on(start) for start in self._starts)


def _dated(rules: Rules) -> Iterator[Dated]:
    yield from (*rules.owners, *rules.tags, *rules.places, *rules.scopes)
    yield from (*rules.clusters, *rules.pools)


def _starts(rules: Rules) -> Iterator[date]:
    """Every day on which something begins to hold, or holds no more."""
    for one in _dated(rules):
        if one.since:
            yield one.since
        if one.until and one.until < date.max:
            yield one.until + timedelta(days=1)
    for table in rules.weights.values():
        yield from (row.day for row in table.rows)


def _rules_on(rules: Rules, day: date) -> RulesOfDay:
    def held(given: tuple[D, ...]) -> tuple[D, ...]:
        always = {"since": None, "until": None}
        return tuple(one.model_copy(update=always) for one in given if one.holds_on(day))

    owners = held(rules.owners)
    weights = {
        name: WeightTable.model_construct(
            rows=tuple(row.model_copy(update={"day": date.min}) for row in table.on(day))
        )
        for name, table in rules.weights.items()
    }
    # What holds is a part of what was found consistent: it is not examined again.
    kept = {
        "owners": owners,
        "tags": held(rules.tags),
        "places": held(rules.places),
        "scopes": held(rules.scopes),
        "clusters": held(rules.clusters),
        "pools": held(rules.pools),
        "weights": weights,
    }
    absent = {one.name for one in rules.owners} - {one.name for one in owners}
    return RulesOfDay(rules.model_copy(update=kept), frozenset(absent))
