"""Whose a charge is: its tags decide first, then its scope, then the pools.

One charge at a time, from the few facts that decide (`Subject`). The rules themselves are read in
`rules.py`; how the cost of a pool reaches owners is in `shares.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from finops_pipeline.allocate.rules import UNALLOCATED, MatchColumn, Pool, Rules, TagRule, fold

# Decisions kept in memory, so that it stays bounded however many subjects there are.
_REMEMBERED = 1 << 16
_COLUMNS: tuple[MatchColumn, ...] = get_args(MatchColumn)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a decision rests on. `tags` is the text of a JSON object."""

    provider: str
    sub_account_id: str | None
    service: str
    resource_id: str | None
    scope_path: str | None
    tags: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who takes the cost, an owner or a pool, and why."""

    owner: str | None
    pool: str | None
    tier: Literal["tag", "scope", "pool", "unallocated"]
    rule: str
    evidence: str


_NOBODY = Decision(UNALLOCATED, None, "unallocated", "none", "no tag, scope or pool matches")


class Decider:
    """Decides by one rule set. The same subject always gets the same decision."""

    def __init__(self, rules: Rules) -> None:
        self._tags = [(tag.key, _owners_by_value(tag, rules.owners)) for tag in rules.tags]
        self._scopes = {rule.path: rule.owner for rule in rules.scopes}
        self._pools = _Pools(rules.pools)
        self._by_tag = lru_cache(_REMEMBERED)(self._decide_by_tag)
        self._decide = lru_cache(_REMEMBERED)(self._decide_afresh)

    def decide(self, subject: Subject) -> Decision:
        """The decision of the first tier that has one."""
        return self._decide(subject)

    def _decide_afresh(self, subject: Subject) -> Decision:
        return (
            self._by_tag(subject.tags)
            or self._decide_by_scope(subject.scope_path)
            or self._pools.decide(subject)
            or _NOBODY
        )

    def _decide_by_tag(self, tags: str | None) -> Decision | None:
        given = _read_tags(tags)
        for key, owners in self._tags:
            value = given.get(key)
            if value is None or (found := owners.get(fold(str(value)))) is None:
                continue
            owner, how = found
            evidence = f"{key} = {_quoted(str(value))} ({how})"
            return Decision(owner, None, "tag", f"tag {key}", evidence)
        return None

    def _decide_by_scope(self, path: str | None) -> Decision | None:
        for above in _paths(path):
            owner = self._scopes.get(above)
            if owner is not None:
                evidence = _position(path, above)
                return Decision(owner, None, "scope", f"scope {above}", evidence)
        return None


class _Pools:
    """The pools, found by the first column that each of them matches."""

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        self._pools = [(pool.name, _conditions(pool)) for pool in pools]
        self._found_by: dict[tuple[str, str], list[int]] = {}
        for number, (_, conditions) in enumerate(self._pools):
            column, values = conditions[0]
            for value in values:
                self._found_by.setdefault((column, value), []).append(number)

    def decide(self, subject: Subject) -> Decision | None:
        """The first pool in the order of the rules whose every condition holds."""
        facts = _facts(subject)
        candidates = {
            number
            for column, values in facts.items()
            for value in values
            for number in self._found_by.get((column, value), ())
        }
        for number in sorted(candidates):
            name, conditions = self._pools[number]
            if all(not values.isdisjoint(facts[column]) for column, values in conditions):
                evidence = "; ".join(_seen(subject, facts, *each) for each in conditions)
                return Decision(None, name, "pool", f"pool {name}", evidence)
        return None


_Condition = tuple[MatchColumn, frozenset[str]]
_Facts = dict[MatchColumn, tuple[str, ...]]


def _conditions(pool: Pool) -> list[_Condition]:
    """What must hold, in one order however the file orders it. Paths are compared as written."""
    return [
        (column, frozenset(v if column == "scope" else fold(v) for v in pool.match[column]))
        for column in _COLUMNS
        if column in pool.match
    ]


def _facts(subject: Subject) -> _Facts:
    """For each column, the values that a condition may list to match the subject."""
    return {
        "ProviderName": _folded(subject.provider),
        "SubAccountId": _folded(subject.sub_account_id),
        "ServiceName": _folded(subject.service),
        "ResourceId": _folded(subject.resource_id),
        "scope": tuple(_paths(subject.scope_path)),
    }


def _seen(subject: Subject, facts: _Facts, column: MatchColumn, values: frozenset[str]) -> str:
    if column == "scope":
        above = next(path for path in facts[column] if path in values)
        return _position(subject.scope_path, above)
    written = {
        "ProviderName": subject.provider,
        "SubAccountId": subject.sub_account_id,
        "ServiceName": subject.service,
        "ResourceId": subject.resource_id,
    }
    return f"{column} = {_quoted(written[column])}"


def _owners_by_value(tag: TagRule, owners: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """The owner that each folded value names, and how it does."""
    aliases = {fold(value): (owner, f"alias of {owner}") for value, owner in tag.aliases.items()}
    return aliases | {fold(owner): (owner, "name of the owner") for owner in owners}


def _read_tags(text: str | None) -> dict[str, object]:
    """The tags; none if the text is no JSON object. Numbers keep the digits they came with."""
    if not text:
        return {}
    try:
        tags = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return {}
    return tags if isinstance(tags, dict) else {}


def _paths(path: str | None) -> Iterator[str]:
    """The path, then each path above it, longest first."""
    rest = (path or "").strip().strip("/")
    while rest:
        yield rest
        rest = rest.rpartition("/")[0]


def _position(path: str | None, above: str) -> str:
    given = (path or "").strip().strip("/")
    return f"the scope is {given}" if given == above else f"{given} is below {above}"


def _folded(value: str | None) -> tuple[str, ...]:
    return () if value is None else (fold(value),)


def _quoted(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)
