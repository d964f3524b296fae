"""What nobody owns, ranked, and the single rules or tags that would give most of it an owner.

What a suggestion would move is computed by deciding again with it added (`effects.py`); nothing is
ever applied here.
"""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.subject import paths
from finops_pipeline.allocate.terms import UNALLOCATED, compared, spelled
from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.answer import Answer, ask
from finops_pipeline.query.dimensions import NONE, TAG_PREFIX
from finops_pipeline.query.effects import Costs, left_by
from finops_pipeline.query.model import CostQuery

RANKED = ("service", "scope", "account")  # and the tags that the rules look at
SOMEONE = "SOMEONE"  # stands for an owner that only people can name
_RESOURCES = 10  # that a suggestion to tag names at most
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Candidate:
    """One rule or tag: what to write or do, for which owner, and the rules with it.

    `kind` is `scope`, `alias` or `tag`; `cost` is what it looks at, in the reporting currency.
    """

    kind: str
    text: str
    owner: str
    cost: Decimal
    rules: Rules


@dataclass(frozen=True)
class Suggestion:
    """A candidate and what it would do: unallocated EffectiveCost by billing currency."""

    kind: str
    text: str
    owner: str
    moved: Mapping[str, Decimal]
    left: Mapping[str, Decimal]


@dataclass(frozen=True)
class Unallocated:
    """What nobody owns: its total, its rankings, and what would move most of it."""

    total: Answer
    rankings: Mapping[str, Answer]
    suggestions: tuple[Suggestion, ...]


def unallocated(
    home: Home,
    engine: Engine,
    rules: Rules,
    since: date | None = None,
    until: date | None = None,
    top: int = 10,
) -> Unallocated:
    """Rank what nobody owns by these rules, and suggest. Raises QueryError."""
    asked = _Asked(home, engine, since, until)
    keys = dict.fromkeys(key for tag in rules.tags for key in tag.key)
    nobody = {"owner": (UNALLOCATED,)}
    total = asked(nobody)
    by = (*RANKED, *(TAG_PREFIX + key for key in keys))
    rankings = {name: asked(nobody, name, top=top) for name in by}
    suggested = _suggestions(asked, rules, tuple(keys)) if total.rows else ()
    return Unallocated(total, rankings, tuple(suggested))


def _suggestions(asked: _Asked, rules: Rules, keys: tuple[str, ...]) -> Iterator[Suggestion]:
    """The candidates that would move anything, and what they would."""
    candidates = _candidates(asked, rules, keys)
    if not candidates:
        return
    was, *becomes = asked.left_by([rules, *(one.rules for one in candidates)])
    for one, then in zip(candidates, becomes, strict=True):
        sides = {c: (was.get(c, _ZERO), then.get(c, _ZERO)) for c in sorted(was | then)}
        moved = {c: EXACT.subtract(*both) for c, both in sides.items() if both[0] != both[1]}
        if moved:
            left = {c: sides[c][1] for c in moved}
            yield Suggestion(one.kind, one.text, one.owner, moved, left)


class _Asked:
    """Questions on the period."""

    def __init__(self, home: Home, engine: Engine, since: date | None, until: date | None) -> None:
        self._place = home, engine
        self._period = {"since": since, "until": until}

    def __call__(
        self, filters: Mapping[str, tuple[str, ...]], *by: str, top: int | None = None
    ) -> Answer:
        query = {"by": by, "filters": dict(filters), "top": top, **self._period}
        return ask(*self._place, CostQuery.model_validate(query))

    def left_by(self, sets: Sequence[Rules]) -> list[Costs]:
        """What these rules leave unallocated."""
        return left_by(*self._place, sets, self._period["since"], self._period["until"])


def _candidates(asked: _Asked, rules: Rules, keys: tuple[str, ...]) -> list[Candidate]:
    """The best of each kind, the one that looks at most cost first."""
    undecided = {"tier": (UNALLOCATED,)}
    found = [_scope(asked, rules, undecided)]
    found += [_alias(asked, rules, undecided, key) for key in keys]
    if keys:
        found.append(_tag(asked, rules, undecided, keys))
    return sorted((c for c in found if c), key=lambda c: (-c.cost, c.kind, c.text))


def _scope(
    asked: _Asked, rules: Rules, undecided: Mapping[str, tuple[str, ...]]
) -> Candidate | None:
    """A scope rule where most of the cost is: down from the top while half of it stays together."""
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for scope, cost in asked(undecided, "scope").rows:
        for path in paths(None if scope is None else str(scope)):
            costs[path] = EXACT.add(costs[path], Decimal(cost or 0))
    ruled = {rule.path for rule in rules.scopes}
    path, below = "", _children(costs, "")
    while below:
        best = max(sorted(below), key=lambda p: costs[p])
        if path and 2 * costs[best] < costs[path]:
            break
        path, below = best, _children(costs, best)
    # Rules name no scope that ends with space.
    if not path or path in ruled or path != path.strip() or costs[path] <= 0:
        return None
    owner = _who_is_there(asked, path)
    rule = {"path": path, "owner": owner}
    return Candidate(
        "scope", f"scopes: [{_flow(rule)}]", owner, costs[path],
        _with(rules, owner, "scopes", rule),
    )  # fmt: skip


def _children(costs: Iterable[str], path: str) -> list[str]:
    return [p for p in costs if p.rpartition("/")[0] == path]


def _who_is_there(asked: _Asked, path: str) -> str:
    """Who already owns most of the cost below a scope."""
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for owner, scope, cost in asked({"tier": ("tag", "scope")}, "owner", "scope").rows:
        if path in paths(None if scope is None else str(scope)):
            costs[str(owner)] = EXACT.add(costs[str(owner)], Decimal(cost or 0))
    return max(sorted(costs), key=lambda owner: costs[owner], default=SOMEONE)


def _alias(
    asked: _Asked, rules: Rules, undecided: Mapping[str, tuple[str, ...]], key: str
) -> Candidate | None:
    """An alias for the unknown value of a key that costs most."""
    at = next(i for i, tag in enumerate(rules.tags) if key in tag.key)
    tag = rules.tags[at]
    said = {compared(v, tag.compare) for v in (*tag.aliases, *tag.invalid, *rules.owner_names)}
    for value, cost in asked(undecided, TAG_PREFIX + key).rows:
        text = str(value or "").strip()
        if not text or compared(text, tag.compare) in said or Decimal(cost or 0) <= 0:
            continue
        owner = _likest(text, rules.owner_names)
        given = _given(rules)
        given["tags"][at].setdefault("aliases", {})[text] = owner
        return Candidate(
            "alias", f"tags: [{_flow({'key': key, 'aliases': {text: owner}})}]", owner,
            Decimal(cost or 0), _validated(given, owner),
        )  # fmt: skip
    return None


def _likest(value: str, owners: Iterable[str]) -> str:
    """The owner whose name is most like a value."""
    names = {spelled(owner): owner for owner in sorted(owners)}
    close = difflib.get_close_matches(spelled(value), names, n=1)
    return names[close[0]] if close else SOMEONE


def _tag(
    asked: _Asked, rules: Rules, undecided: Mapping[str, tuple[str, ...]], keys: tuple[str, ...]
) -> Candidate | None:
    """A missing tag, on the resources without any of the keys that cost most."""
    untagged = {**undecided, **{TAG_PREFIX + key: (NONE,) for key in keys}}
    rows = [
        (str(resource).strip(), Decimal(cost or 0))
        for resource, cost in asked(untagged, "resource").rows
        if resource is not None and str(resource).strip() and Decimal(cost or 0) > 0
    ][:_RESOURCES]
    if not rows:
        return None
    # A tag decides as a rule for just these resources does, since no other tag names an owner.
    resources = [resource for resource, _ in rows]
    place = {"name": "resources to tag", "match": {"ResourceId": resources}, "owner": SOMEONE}
    cost = _ZERO
    for _, each in rows:
        cost = EXACT.add(cost, each)
    text = f"tag {keys[0]} = {SOMEONE} on {', '.join(resources)}"
    return Candidate("tag", text, SOMEONE, cost, _with(rules, SOMEONE, "places", place))


def _with(rules: Rules, owner: str, section: str, entry: Mapping[str, Any]) -> Rules:
    given = _given(rules)
    given.setdefault(section, []).insert(0, entry)
    return _validated(given, owner)


def _given(rules: Rules) -> dict[str, Any]:
    """The rules as a file could have them, to be changed."""
    given: dict[str, Any] = json.loads(rules.content)
    return given


def _validated(given: dict[str, Any], owner: str) -> Rules:
    names = [one["name"] for one in given.setdefault("owners", [])]
    if owner not in names:
        # Who it will be, nobody knows yet: it takes what the rule gives it, and no part of pools
        # that all owners share.
        for pool in (*given.get("pools", ()), *given.get("clusters", ())) if names else ():
            pool.setdefault("recipients", names)
        given["owners"].append({"name": owner})
    return Rules.model_validate(given)


def _flow(value: Mapping[str, Any]) -> str:
    """A mapping as YAML in one line; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)
