"""The exact shares that owners take of a pool on a charge day.

Shares are running totals, so that parts computed from them telescope to the whole: with the cost
C of a pool, part_i = round(C·S_i) − round(C·S_{i−1}), S_0 = 0, S_n = 1. Only the small table of
shares is made here; the charges are split where they are stored.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from finops_pipeline.allocate.in_force import RulesOfDay
from finops_pipeline.allocate.pools import Driver, Pool
from finops_pipeline.allocate.terms import UNALLOCATED, plain_weight
from finops_pipeline.allocate.weights import EXACT, DayOfDirects
from finops_pipeline.allocate.workloads import Taker, Weighed

LAST_KNOWN = "last known"

_STEPS = 10**12


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a pool that one owner takes: between two running totals of 12 digits.

    `fraction` is the part before rounding; `weight` is in units of the driver, None where the part
    is not by a weight of the owner's own. `route` says, where the part comes through other pools,
    how it came: a JSON list of steps. Of a cluster, an owner takes a part for each of its
    workloads: `cluster`, `namespace`, `workload`, and the `facts` about it.
    """

    pool: str
    owner: str
    position: int
    driver: str
    weight: Decimal | None
    share_before: Decimal
    share_after: Decimal
    fraction: str
    pool_part: str = ""
    route: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    workload: str | None = None
    facts: str | None = None

    @property
    def share(self) -> Decimal:
        """The exact share; the shares of a pool sum to 1."""
        return EXACT.subtract(self.share_after, self.share_before)


@dataclass(frozen=True)
class Known:
    """The shares of an earlier day, by owner, before rounding."""

    day: date
    fractions: Mapping[str, Fraction]


Earlier = Callable[[str, str], Known | None]
Clusters = Callable[[str], Weighed]


@dataclass(frozen=True)
class _Split:
    """A pool's parts by taker, an owner or a pool, and by which driver."""

    driver: str
    parts: Mapping[Taker, Fraction]
    weights: Mapping[Taker, Decimal]
    facts: Mapping[Taker, str] = field(default_factory=dict)


class DayOfShares:
    """Shares of the pools of one charge day.

    `earlier` gives the shares of the last day before on which a pool was split by a weight,
    `clusters` the parts of a cluster by its usage of the day.
    """

    def __init__(
        self,
        of_day: RulesOfDay,
        directs: DayOfDirects,
        earlier: Earlier = lambda pool, part: None,
        clusters: Clusters = lambda cluster: Weighed(),
    ) -> None:
        self._rules = of_day
        self._directs = directs
        self._earlier = earlier
        self._clusters = clusters
        self.rests_on: dict[tuple[str, str], Known] = {}  # earlier shares that were taken

    def shares(self, name: str, part: str = "") -> list[Share]:
        """The shares of a pool, by owner in sorted order; without any weight it is `unallocated`.

        What is below zero, a credit, counts as nothing. A part that rounds to nothing at 12 digits
        is left out. `part` is what the charges belong to (`ownership.part_of`).
        """
        split = self._split(self._rules.pools[name], part)
        routes = list(self._routes(name, split))
        ends: dict[Taker, Fraction] = defaultdict(Fraction)
        for taker, fraction, _, _ in routes:
            ends[taker] += fraction
        through = {taker for taker, _, steps, _ in routes if len(steps) > 1}
        facts = {taker: told for taker, _, _, told in routes}
        taken: list[Share] = []
        running, before = Fraction(0), _decimal(0)
        for taker, fraction in sorted(ends.items()):
            running += fraction
            after = _decimal(_steps(running))
            if after > before:
                steps = [s for t, _, s, _ in routes if t == taker] if taker in through else None
                weight = split.weights.get(taker)
                share = Share(
                    name, taker.name, len(taken) + 1, split.driver, weight, before, after,
                    f"{fraction.numerator}/{fraction.denominator}", part,
                    None if steps is None else json.dumps(steps, ensure_ascii=False),
                    taker.cluster or None, taker.namespace or None, taker.workload or None,
                    facts[taker],
                )  # fmt: skip
                taken.append(share)
            before = after
        return taken

    def _routes(
        self, name: str, split: _Split
    ) -> Iterator[tuple[Taker, Fraction, list[dict[str, str]], str | None]]:
        """Each way on which a part of a pool reaches an owner: fraction, steps, what is known."""
        for taker, fraction in sorted(split.parts.items()):
            step = {
                "pool": name,
                "to": "/".join(filter(None, taker)),
                "driver": split.driver,
                "fraction": f"{fraction.numerator}/{fraction.denominator}",
            }
            if taker in split.weights:
                step["weight"] = plain_weight(split.weights[taker])
            if taker.name not in self._rules.pools or split.driver.startswith(LAST_KNOWN):
                yield taker, fraction, [step], split.facts.get(taker)
                continue
            inner = self._split(self._rules.pools[taker.name], "")
            for end, of_inner, steps, facts in self._routes(taker.name, inner):
                yield end, fraction * of_inner, [step, *steps], facts

    def _split(self, pool: Pool, part: str) -> _Split:
        if by_usage := self._by_usage(pool):
            return by_usage
        takers = self._rules.recipients(pool)
        values = json.loads(part) if part else {}
        for driver in pool.drivers:
            if driver.kind == LAST_KNOWN:
                found = self._last_known(pool, part)
            else:
                weights = {t: w for t, w in self._weights(driver, values).items() if w > 0}
                kept = {t: weights[t] for t in takers if t in weights and t != pool.name}
                if driver.kind == "even":
                    kept = {t: Decimal(1) for t in takers}
                found = _by_weights(driver.text, kept) if kept else None
            if found is not None:
                return found
        return _Split(UNALLOCATED, {Taker(UNALLOCATED): Fraction(1)}, {})

    def _by_usage(self, pool: Pool) -> _Split | None:
        """A cluster by what its workloads had on the day; None where that is not known."""
        cluster = self._rules.clusters.get(pool.name)
        found = Weighed() if cluster is None else self._clusters(pool.name)
        if cluster is None or not found.parts:
            return None
        return _Split(cluster.driver, found.parts, found.weights, found.facts)

    def _weights(self, driver: Driver, values: Mapping[str, str | None]) -> Mapping[str, Decimal]:
        if driver.fixed is not None:
            return driver.fixed
        if driver.weights is not None:
            return {row.owner: row.weight for row in self._rules.weights(driver.weights).values()}
        if driver.kind == "even":
            return {}
        return self._directs.weights(driver.usage, driver.same, values)

    def rest(self, pool: Pool, part: str) -> None:
        """Note what the pool rests on where no driver before `last known` has any weight."""
        self._last_known(pool, part)

    def _last_known(self, pool: Pool, part: str) -> _Split | None:
        """The shares of the last day that had any, among owners who may take a part today.

        What of a cluster was left unallocated then is so now.
        """
        known = self._earlier(pool.name, part)
        if known is None:
            return None
        among = self._rules.ends(pool.name)
        if pool.name in self._rules.clusters:
            among |= {UNALLOCATED}
        kept = {o: f for o, f in known.fractions.items() if o in among}
        whole = sum(kept.values(), Fraction(0))
        if not whole:
            return None
        self.rests_on[pool.name, part] = known
        parts = {Taker(owner): fraction / whole for owner, fraction in kept.items()}
        return _Split(f"{LAST_KNOWN} of {known.day.isoformat()}", parts, {})


def method_of(of_day: RulesOfDay, name: str) -> str:
    """A hash of how a pool is split on a day, and all pools that it feeds: not of what goes in.

    Who may take a part counts where it says more than decisions do: an owner who has nothing of
    its own takes nothing by cost or usage, so that a new one is no other method.
    """

    def described(pool: Pool) -> list[Any]:
        takers = of_day.recipients(pool)
        telling = pool.recipients or {d.kind for d in pool.drivers} & {"even", LAST_KNOWN}
        drivers = [
            [
                _among(driver, takers).model_dump(mode="json"),
                {
                    owner: plain_weight(row.weight)
                    for owner, row in of_day.weights(driver.weights).items()
                    if owner in takers
                }
                if driver.weights
                else {},
            ]
            for driver in pool.drivers
        ]
        inner = [described(of_day.pools[t]) for t in takers if t in of_day.pools]
        found: list[Any] = [pool.name, list(takers) if telling else [], drivers, inner]
        how = {"measure", "weights", "idle", "overhead", "system"}
        if pool.name in of_day.clusters:
            found.append(pool.model_dump(mode="json", include=how))
        return found

    content = json.dumps(described(of_day.pools[name]), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _among(driver: Driver, takers: tuple[str, ...]) -> Driver:
    """The driver with the fixed weights of these takers alone."""
    if driver.fixed is None:
        return driver
    fixed = {taker: weight for taker, weight in driver.fixed.items() if taker in takers}
    return driver.model_copy(update={"fixed": fixed})


def _by_weights(driver: str, weights: Mapping[str, Decimal]) -> _Split:
    total = sum(map(Fraction, weights.values()), Fraction(0))
    parts = {Taker(name): Fraction(weight) / total for name, weight in weights.items()}
    return _Split(driver, parts, {Taker(name): weight for name, weight in weights.items()})


def _steps(share: Fraction) -> int:
    """The share in steps of 12 digits, half up."""
    return (share * _STEPS + Fraction(1, 2)).__floor__()


def _decimal(steps: int) -> Decimal:
    return Decimal(f"{steps // _STEPS}.{steps % _STEPS:012d}")
