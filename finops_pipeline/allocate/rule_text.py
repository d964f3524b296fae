"""The text of the rule that a decision names, as a rules file has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

from finops_pipeline.allocate.entries import Dated
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.terms import fold


def rule_text(rules: Rules, rule: str, day: date, provider: str) -> str | None:
    """The rule as JSON; None for a decision that rests on no rule.

    `rule` is as `ownership` has it: `tag KEY`, `place NAME`, `scope PATH`, `cluster NAME` or
    `pool NAME`.
    """
    kind, _, name = rule.partition(" ")
    for found in _named(rules, kind, name, provider):
        if found.holds_on(day):
            given = found.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            return json.dumps(given, ensure_ascii=False)
    return None


def _named(rules: Rules, kind: str, name: str, provider: str) -> Iterator[Dated]:
    if kind == "tag":
        for tag in rules.tags:
            mine = tag.providers is None or fold(provider) in map(fold, tag.providers)
            if mine and name in tag.key:
                yield tag
    elif kind == "scope":
        of_path = [s for s in rules.scopes if s.path == name and s.owner is not None]
        for scope in sorted(of_path, key=lambda s: s.provider is None):
            if scope.provider is None or fold(scope.provider) == fold(provider):
                yield scope
    elif kind == "place":
        yield from (place for place in rules.places if place.name == name)
    elif kind == "cluster":
        yield from (cluster for cluster in rules.clusters if cluster.name == name)
    elif kind == "pool":
        yield from (pool for pool in rules.pools if pool.name == name)
