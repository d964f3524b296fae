"""Rules that match columns of a charge: places and pools, the first in their order that holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from finops_pipeline.allocate.entries import TAG
from finops_pipeline.allocate.subject import Subject, any_case, facts, paths, position, quoted
from finops_pipeline.allocate.terms import fold


class Matching(Protocol):
    """A rule with columns, each with the values that match."""

    @property
    def match(self) -> dict[str, tuple[str, ...]]: ...


M = TypeVar("M", bound=Matching)
_Conditions = list[tuple[str, frozenset[str]]]


class Matcher(Generic[M]):
    """Rules in their order, found by the first column that each of them matches."""

    def __init__(self, rules: Sequence[M]) -> None:
        self._rules = [(rule, _conditions(rule)) for rule in rules]
        self._columns = frozenset(c for _, conditions in self._rules for c, _ in conditions)
        self._found_by: dict[tuple[str, str], list[int]] = {}
        for number, (_, conditions) in enumerate(self._rules):
            column, values = conditions[0]
            for value in values:
                self._found_by.setdefault((column, value), []).append(number)

    def first(self, subject: Subject, tags: Mapping[str, str]) -> tuple[M, str] | None:
        """The first rule whose every condition holds, and what was seen."""
        seen = facts(subject, tags, self._columns)
        candidates = {
            number
            for column, values in seen.items()
            for value in values
            for number in self._found_by.get((column, value), ())
        }
        for number in sorted(candidates):
            rule, conditions = self._rules[number]
            if all(not values.isdisjoint(seen[column]) for column, values in conditions):
                told = (_told(subject, tags, column, seen[column], v) for column, v in conditions)
                return rule, "; ".join(told)
        return None


def _conditions(rule: Matching) -> _Conditions:
    """What must hold, in one order however the file orders it.

    Paths are compared as written, or in any case, as the provider of the charge has it.
    """

    def meant(column: str, values: Sequence[str]) -> frozenset[str]:
        if column == "scope":
            return frozenset([*values, *map(any_case, values)])
        return frozenset(map(fold, values))

    return [
        (column, meant(column, rule.match[column]))
        for column in sorted(rule.match, key=lambda c: (c == "scope", c.startswith(TAG), c))
    ]


def _told(
    subject: Subject,
    tags: Mapping[str, str],
    column: str,
    seen: Sequence[str],
    values: frozenset[str],
) -> str:
    if column == "scope":
        number = next(i for i, path in enumerate(seen) if path in values)
        return position(subject.scope_path, list(paths(subject.scope_path))[number])
    if column.startswith(TAG):
        return f"{column} = {quoted(tags[column.removeprefix(TAG)])}"
    return f"{column} = {quoted(subject.value(column))}"
