"""The first tier: which owner the tags of a charge name, and which tags they are.

Effective tags are those that were billed, and for keys that were not, those that the scopes above
the charge hand down. They are never written over the billed ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from finops_pipeline.allocate.in_force import RulesOfDay
from finops_pipeline.allocate.rules import ScopeRule, TagRule
from finops_pipeline.allocate.subject import any_case, in_any_case, paths, quoted
from finops_pipeline.allocate.terms import compared, compiled, fold

_REMEMBERED = 1 << 12  # values of one tag rule, so that memory stays bounded


@dataclass(frozen=True, slots=True)
class Named:
    """What a tag says: an owner and how, or a note on why it says nothing."""

    owner: str | None
    key: str
    text: str


class TagTier:
    """The tags of one day's rules."""

    def __init__(self, of_day: RulesOfDay) -> None:
        self._rules = [_Tag(rule, of_day) for rule in of_day.rules.tags]

    def look(
        self, provider: str, tags: Mapping[str, str], inherited: Mapping[str, str]
    ) -> tuple[Named | None, list[str]]:
        """The first tag that names an owner, and notes on those before it that named none."""
        notes: list[str] = []
        for rule in self._rules:
            for named in rule.look(provider, tags):
                text = named.text
                if named.key in inherited:
                    text += f" inherited from scope {inherited[named.key]}"
                if named.owner is not None:
                    return Named(named.owner, named.key, text), notes
                notes.append(text)
        return None, notes


class _Tag:
    def __init__(self, rule: TagRule, of_day: RulesOfDay) -> None:
        self._keys = rule.key
        self._compare = rule.compare
        self._providers = {fold(p) for p in rule.providers} if rule.providers else None
        self._absent = of_day.absent
        self._invalid = {compared(value, rule.compare) for value in rule.invalid}
        names = sorted(of_day.owners | of_day.absent)
        aliases = rule.aliases.items()
        self._owners = {
            compared(value, rule.compare): (owner, f"alias of {owner}") for value, owner in aliases
        } | {compared(owner, rule.compare): (owner, "name of the owner") for owner in names}
        self._patterns: list[tuple[Any, str, str]] = [
            (compiled(p.match), p.owner, f"pattern {p.match} of {p.owner}") for p in rule.patterns
        ]
        # Many resources have the same few values, and each would try every pattern.
        self._owner = lru_cache(_REMEMBERED)(self._found)

    def look(self, provider: str, tags: Mapping[str, str]) -> Iterator[Named]:
        """What each of the keys that the charge has says, where it says anything."""
        if self._providers is not None and fold(provider) not in self._providers:
            return
        for key in self._keys:
            value = tags.get(key)
            if value is None:
                continue
            shown = f"{key} = {quoted(value)}"
            if (found := self._owner(value)) is not None:
                owner, how = found
                if owner in self._absent:
                    yield Named(None, key, f"{shown} names {owner}, who is no owner on this day")
                else:
                    yield Named(owner, key, f"{shown} ({how})")
            elif compared(value, self._compare) in self._invalid:
                yield Named(None, key, f"{shown} is an invalid value")

    def _found(self, value: str) -> tuple[str, str] | None:
        if (known := compared(value, self._compare)) and known in self._owners:
            return self._owners[known]
        text = value.strip()
        for pattern, owner, how in self._patterns:
            if pattern.fullmatch(text):
                return owner, how
        return None


class Scopes:
    """What scopes hand down to all below them: owners and tags, the longest path first."""

    def __init__(self, of_day: RulesOfDay) -> None:
        self._absent = of_day.absent
        self._by_path: dict[str, list[ScopeRule]] = {}
        for rule in of_day.rules.scopes:
            for path in (rule.path, any_case(rule.path)):
                self._by_path.setdefault(path, []).append(rule)
        for rules in self._by_path.values():  # of the same path, one for a provider comes first
            rules.sort(key=lambda rule: rule.provider is None)
        self._have_tags = any(rule.tags for rule in of_day.rules.scopes)

    def _above(self, provider: str, path: str | None) -> Iterator[ScopeRule]:
        caseless = in_any_case(provider)
        for above in paths(path):
            for rule in self._by_path.get(any_case(above) if caseless else above, ()):
                if rule.provider is None or fold(rule.provider) == fold(provider):
                    yield rule

    def owner(self, provider: str, path: str | None) -> tuple[str, str] | None:
        """The owner that the path inherits, and the path that has it."""
        for rule in self._above(provider, path):
            if rule.owner is not None and rule.owner not in self._absent:
                return rule.owner, rule.path
        return None

    def tags(self, provider: str, path: str | None) -> dict[str, tuple[str, str]]:
        """The tags that the path inherits by key: each value, and the path that has it."""
        found: dict[str, tuple[str, str]] = {}
        if self._have_tags:
            for rule in self._above(provider, path):
                for key, value in rule.tags.items():
                    found.setdefault(key, (value, rule.path))
        return found
