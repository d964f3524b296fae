"""Whose a charge is: a cluster's is split; else tags decide, then place and scope, then pools.

One charge at a time, from the few facts that decide (`subject.py`). What each tier sees is in
`tags.py` and `matching.py`; how the cost of a pool reaches owners is in `shares.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

from finops_pipeline.allocate.clusters import SHARE, Cluster
from finops_pipeline.allocate.entries import TAG
from finops_pipeline.allocate.in_force import Calendar, RulesOfDay
from finops_pipeline.allocate.matching import Matcher
from finops_pipeline.allocate.pools import Pool
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.splits import split_of
from finops_pipeline.allocate.subject import Subject, position, quoted, read_tags
from finops_pipeline.allocate.tags import Scopes, TagTier
from finops_pipeline.allocate.terms import UNALLOCATED, fold
from finops_pipeline.allocate.workloads import by_policy, subject_of

# Decisions kept in memory, so that it stays bounded however many subjects there are.
_REMEMBERED = 1 << 16

Tier = Literal["tag", "scope", "pool", "unallocated"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Who takes the cost, an owner or a pool, and why.

    `pool_part` says what the charge belongs to where the pool keeps to it, else it is empty.
    `effective_tags` is a JSON object, None where they are the billed ones. `cluster` is that of a
    cluster's charge, `namespace` and `workload` what the provider says that it is of.
    """

    owner: str | None
    pool: str | None
    tier: Tier
    rule: str
    evidence: str
    pool_part: str = ""
    effective_tags: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    workload: str | None = None


class Decider:
    """Decides by one rule set. The same subject on the same day always gets the same decision."""

    def __init__(self, rules: Rules) -> None:
        self.calendar = Calendar(rules)
        self._of_stretch: dict[int, _DayDecider] = {}

    def decide(self, subject: Subject, day: date, workload: bool = False) -> Decision:
        """The decision of the first tier that has one; a workload has neither cluster nor pool."""
        number = self.calendar.stretch(day)
        if number not in self._of_stretch:
            self._of_stretch[number] = _DayDecider(self.calendar.on(day))
        return self._of_stretch[number].decide(subject, workload)


class _DayDecider:
    def __init__(self, of_day: RulesOfDay) -> None:
        self._tags = TagTier(of_day)
        self._scopes = Scopes(of_day)
        present = [p for p in of_day.rules.places if p.owner not in of_day.absent]
        self._places = Matcher(present)
        self._pools = Matcher(of_day.rules.pools)
        self._clusters = Matcher(of_day.rules.clusters)
        self._owners = of_day.owners
        self.decide = lru_cache(_REMEMBERED)(self._decide)

    def _decide(self, subject: Subject, is_workload: bool) -> Decision:
        billed = read_tags(subject.tags)
        handed_down = self._scopes.tags(subject.provider, subject.scope_path)
        inherited = {key: path for key, (_, path) in handed_down.items() if key not in billed}
        tags = billed | {key: handed_down[key][0] for key in inherited}
        effective = json.dumps(tags, sort_keys=True, ensure_ascii=False) if inherited else None
        if not is_workload and (found_cluster := self._clusters.first(subject, tags)):
            return self._of_cluster(*found_cluster, subject, tags, effective)
        named, notes = self._tags.look(subject.provider, tags, inherited)

        def decision(
            owner: str | None, tier: Tier, rule: str, seen: str, pool: Pool | None = None
        ) -> Decision:
            evidence = "; ".join([seen, *notes])
            name, part = (pool.name, part_of(pool, subject)) if pool else (None, "")
            return Decision(owner, name, tier, rule, evidence, part, effective)

        if named is not None:
            return decision(named.owner, "tag", f"tag {named.key}", named.text)
        if place := self._places.first(subject, tags):
            rule, seen = place
            return decision(rule.owner, "scope", f"place {rule.name}", seen)
        if scope := self._scopes.owner(subject.provider, subject.scope_path):
            owner, path = scope
            return decision(owner, "scope", f"scope {path}", position(subject.scope_path, path))
        if not is_workload and (found := self._pools.first(subject, tags)):
            pool, seen = found
            return decision(None, "pool", f"pool {pool.name}", seen, pool)
        nothing = f"no tag{' or scope' if is_workload else ', scope or pool'} matches"
        return decision(UNALLOCATED, "unallocated", "none", nothing)

    def _of_cluster(
        self,
        cluster: Cluster,
        seen: str,
        subject: Subject,
        tags: Mapping[str, str],
        effective: str | None,
    ) -> Decision:
        """To whom the workload belongs that the provider names; else to all that ran there."""
        rule = f"cluster {cluster.name}"
        split = split_of(tags)
        means = None if split is None else split.means
        if split and means == "workload" and fold(split.namespace) in map(fold, cluster.system):
            means = "overhead"
        policy = {"idle": cluster.idle, "overhead": cluster.overhead}.get(means or "", SHARE)
        if split and means == "workload":
            of = subject_of(cluster.name, split.namespace, split.workload, split.tags)
            inner = self.decide(of, True)
            tier, owner, why = inner.tier, inner.owner, f"{inner.rule}: {inner.evidence}"
        elif split and policy != SHARE:
            owner, why = by_policy(str(means), policy, self._owners)
            tier = "unallocated" if owner == UNALLOCATED else "scope"
        else:
            note = f"; {TAG}{split.key} = {quoted(split.namespace)}" if split else ""
            part = part_of(cluster, subject)
            name = cluster.name
            return Decision(None, name, "pool", rule, seen + note, part, effective, cluster=name)
        evidence = f"{seen}; {TAG}{split.key} = {quoted(split.namespace)}; {why}"
        place = (cluster.name, split.namespace, split.workload or None)
        return Decision(owner, None, tier, rule, evidence, "", effective, *place)


def part_of(pool: Pool, subject: Subject) -> str:
    """What a charge belongs to, as JSON, in the columns that any driver of the pool keeps to."""
    values = {column: subject.value(column) for column in pool.same}
    return json.dumps(values, ensure_ascii=False) if values else ""
