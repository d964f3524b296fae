"""Owners and shares of the days that are bound as `daily`, by one rule set.

Owners are decided once for each distinct resource, tag set and place, and joined; what the pools
of a day are split by is summed by the engine. Both are bound for `allocated_sql`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from finops_pipeline.allocate.entries import COLUMNS
from finops_pipeline.allocate.in_force import RulesOfDay
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.shares import DayOfShares, Known, Share, method_of
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.weights import DayOfDirects, Direct
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.store.allocated import SUBJECT, direct_sql, subjects_sql
from finops_pipeline.store.cluster_usage import ClusterUsage
from finops_pipeline.store.split_details import with_split_details

NOTHING_EARLIER = "0" * 16
_DECIDED = (
    "effective_tags", "owner", "pool", "pool_part", "cluster", "namespace", "workload", "tier",
    "rule", "evidence",
)  # fmt: skip

Used = Mapping[tuple[str, str], Known]
Usages = Sequence[tuple[str, str]]  # clusters, each with the fingerprint of its usage


@dataclass(frozen=True)
class Allocated:
    """What was decided: the rows of `ownership` and of `shares`, and which earlier shares count.

    `rests_on` has for each day a fingerprint of what its shares rest on besides its charges.
    """

    ownership: pa.Table
    shares: pa.Table
    rests_on: Mapping[date, str]


class Earlier(Protocol):
    """The shares of earlier days, for pools that fall back on them."""

    def last(self, pool: str, part: str, before: date) -> Known | None:
        """The shares of the last day before, on which the pool was split by a weight."""

    def record(self, day: date, shares: Sequence[Share]) -> None:
        """Remember what a pool of a day came to: later days of this run may rest on it."""


def allocate(
    engine: Engine, source: str, decider: Decider, earlier: Earlier, usage: ClusterUsage
) -> Allocated:
    """Decide owners and shares of `daily`, day by day; binds `decisions` and `pool shares`."""
    ownership = _ownership(engine, decider)
    engine.keep("decisions", ownership)
    rows, rests_on = _shares(engine, source, decider, ownership, earlier, usage)
    shares = pa.Table.from_pylist(rows, schema=arrow_schema(tables()["shares"]))
    engine.keep("pool shares", with_split_details(shares, decider))
    return Allocated(ownership, shares, rests_on)


def used_fingerprint(used: Used, usages: Usages) -> str:
    """A fingerprint of the earlier shares and the usage of clusters that a day's shares rest on."""
    if not used and not usages:
        return NOTHING_EARLIER
    content: list[tuple[Any, ...]] = [
        (pool, part, known.day.isoformat(), sorted((o, str(f)) for o, f in known.fractions.items()))
        for (pool, part), known in sorted(used.items())
    ]
    content += usages
    return hashlib.sha256(repr(content).encode()).hexdigest()[: len(NOTHING_EARLIER)]


def _ownership(engine: Engine, decider: Decider) -> pa.Table:
    subjects = engine.rows(subjects_sql())
    first, codes = _distinct(subjects, decider)
    few = subjects.take(first)
    decided = [
        decider.decide(Subject(**{name: row[name] for name in SUBJECT}), row["charge_day"])
        for row in few.to_pylist()
    ]
    columns = {
        name: pa.array([getattr(d, name) for d in decided], pa.string()).take(codes)
        for name in _DECIDED
    }
    columns["rule_set"] = pa.array([decider.calendar.rules.hash] * len(subjects), pa.string())
    return pa.table(
        {
            c.name: columns[c.name] if c.name in columns else subjects.column(c.name)
            for c in tables()["ownership"].columns
        }
    )


def _distinct(subjects: pa.Table, decider: Decider) -> tuple[pa.Array, pa.Array]:
    """The first row of each distinct subject under the same rules, and which one each row is."""
    days = subjects.column("charge_day").combine_chunks().dictionary_encode()
    known = [decider.calendar.stretch(day) for day in days.dictionary.to_pylist()]
    stretches = np.array(known, dtype=np.int64)[days.indices.to_numpy()]
    ids = subjects.column("ownership_id").combine_chunks().dictionary_encode()
    keys = ids.indices.to_numpy().astype(np.int64) * (max(known, default=0) + 1) + stretches
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    return pa.array(first), pa.array(codes)


def _shares(
    engine: Engine,
    source: str,
    decider: Decider,
    ownership: pa.Table,
    earlier: Earlier,
    usage: ClusterUsage,
) -> tuple[list[dict[str, Any]], dict[date, str]]:
    directs: dict[date, list[Direct]] | None = None
    rows: list[dict[str, Any]] = []
    rests_on: dict[date, str] = {}
    for day, wanted in _used_pools(ownership).items():
        if directs is None:
            directs = _directs(engine, decider)
        of_day = decider.calendar.on(day)
        last = partial(earlier.last, before=day)
        clusters = usage.weighing(decider, day)
        made = DayOfShares(of_day, DayOfDirects(directs.get(day, ())), last, clusters)
        for pool, part in wanted:
            found = made.shares(pool, part)
            method = method_of(of_day, pool)
            rule_set = decider.calendar.rules.hash
            rows += [_row(source, day, share, method, rule_set) for share in found]
            earlier.record(day, found)
        known = usage.fingerprint(clusters_of(of_day, (pool for pool, _ in wanted)), day)
        rests_on[day] = used_fingerprint(made.rests_on, known)
    return rows, rests_on


def clusters_of(of_day: RulesOfDay, pools: Iterable[str]) -> set[str]:
    """The clusters that cost of these pools may reach."""
    return {name for pool in pools for name in of_day.fed(pool) if name in of_day.clusters}


def _used_pools(ownership: pa.Table) -> dict[date, list[tuple[str, str]]]:
    """The pools that decisions name, each with what its charges belong to, by charge day."""
    names = ("charge_day", "pool", "pool_part")
    grouped = ownership.select(names).group_by(names).aggregate([]).to_pylist()
    found: dict[date, list[tuple[str, str]]] = defaultdict(list)
    pooled = [row for row in grouped if row["pool"] is not None]
    for row in sorted(pooled, key=lambda r: tuple(r.values())):
        found[row["charge_day"]].append((row["pool"], row["pool_part"]))
    return found


def _directs(engine: Engine, decider: Decider) -> dict[date, list[Direct]]:
    rules = decider.calendar.rules
    used = {column for pool in (*rules.pools, *rules.clusters) for column in pool.same}
    same = tuple(column for column in COLUMNS if column in used)
    found: dict[date, list[Direct]] = defaultdict(list)
    for row in engine.rows(direct_sql(same)).to_pylist():
        usage = {} if row["unit"] is None else {row["unit"]: row["quantity"]}
        values = {column: row[column] for column in same}
        found[row["charge_day"]].append(Direct(row["taker"], row["cost"], usage, values))
    return found


def _row(source: str, day: date, share: Share, method: str, rule_set: str) -> dict[str, Any]:
    return {
        "source": source,
        "charge_day": day,
        "pool": share.pool,
        "pool_part": share.pool_part,
        "owner": share.owner,
        "position": share.position,
        "driver": share.driver,
        "weight": share.weight,
        "share_before": share.share_before,
        "share_after": share.share_after,
        "share": share.share,
        "fraction": share.fraction,
        "route": share.route,
        "cluster": share.cluster,
        "namespace": share.namespace,
        "workload": share.workload,
        "facts": share.facts,
        "method": method,
        "rule_set": rule_set,
    }
