"""What single entries of the rules cannot know: names unknown, reserved or used twice, and cycles.

Each finding has its place in the file, the value, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import TypeVar
from urllib.parse import quote

from pydantic_core import InitErrorDetails, PydanticCustomError

from finops_pipeline.allocate.clusters import SHARE, Cluster
from finops_pipeline.allocate.entries import Dated
from finops_pipeline.allocate.in_force import Calendar, RulesOfDay
from finops_pipeline.allocate.pools import Below, Pool
from finops_pipeline.allocate.rules import Rules, TagRule
from finops_pipeline.allocate.terms import UNALLOCATED, compared, fold

_Place = tuple[str | int, ...]
_Places = list[tuple[_Place, str]]
D = TypeVar("D", bound=Dated)
# Figures lie in a folder for each owner, x_BusinessUnit=NAME; file systems have room for 255 bytes.
_LONGEST_OWNER = 240


def findings(rules: Rules) -> Iterator[InitErrorDetails]:
    """All that is wrong with rules whose entries are right each on its own."""
    yield from _reserved(rules)
    yield from _too_long(rules)
    yield from _given_twice(rules)
    yield from _unknown(rules)
    for i, tag in enumerate(rules.tags):
        yield from _values_of_tag(rules, i, tag)
    yield from _parents(rules)
    yield from _weights_of_pools(rules)
    yield from _pools(rules)


def _shared(rules: Rules) -> Iterator[tuple[_Place, Pool]]:
    """Pools and clusters, each with its place in the file."""
    yield from ((("pools", i), pool) for i, pool in enumerate(rules.pools))
    yield from ((("clusters", i), cluster) for i, cluster in enumerate(rules.clusters))


def _drivers(pool: Pool) -> str:
    """What the drivers are called there."""
    return "otherwise" if isinstance(pool, Cluster) else "drivers"


def _reserved(rules: Rules) -> Iterator[InitErrorDetails]:
    owners: _Places = [(("owners", i, "name"), one.name) for i, one in enumerate(rules.owners)]
    pools: _Places = [((*place, "name"), pool.name) for place, pool in _shared(rules)]
    for place, name in owners + pools:
        if fold(name) == UNALLOCATED:
            yield _finding("is reserved for cost without an owner; use another name", place, name)
    owned = {fold(name): place for place, name in owners}
    for place, name in pools:
        if fold(name) in owned:
            where = _text(owned[fold(name)])
            yield _finding(f"is an owner already ({where}); use another name", place, name)
    called = {fold(pool.name): f"pools.{i}" for i, pool in enumerate(rules.pools)}
    for i, cluster in enumerate(rules.clusters):
        if taken := called.get(fold(cluster.name)):
            place = ("clusters", i, "name")
            yield _finding(f"is a pool already ({taken}); use another name", place, cluster.name)
    for place, name in owners if rules.clusters else ():
        if name == SHARE:
            yield _finding("is what clusters share their idle by; use another name", place, name)


def _too_long(rules: Rules) -> Iterator[InitErrorDetails]:
    for i, owner in enumerate(rules.owners):
        if len(quote(owner.name, safe="")) > _LONGEST_OWNER:
            said = (
                f"is too long for the name of a folder: there is room for {_LONGEST_OWNER} letters "
                "a to z or digits, of which other characters take 3 a byte of UTF-8; shorten it"
            )
            yield _finding(said, ("owners", i, "name"), owner.name)


def _given_twice(rules: Rules) -> Iterator[InitErrorDetails]:
    """Entries of one name that hold on the same day."""
    yield from _overlapping(rules.owners, "owners", "name", lambda one: [fold(one.name)])
    yield from _overlapping(rules.pools, "pools", "name", lambda one: [fold(one.name)])
    yield from _overlapping(rules.clusters, "clusters", "name", lambda one: [fold(one.name)])
    yield from _overlapping(rules.places, "places", "name", lambda one: [fold(one.name)])
    yield from _overlapping(
        rules.scopes, "scopes", "path", lambda one: [f"{fold(one.provider or '')}:{one.path}"]
    )
    yield from _overlapping(rules.tags, "tags", "key", _keys)
    for table, weights in rules.weights.items():
        known: dict[tuple[date, str], int] = {}
        for i, row in enumerate(weights.rows):
            first = known.setdefault((row.day, row.owner), i)
            if first != i:
                said = f"has a weight of {row.day} already (row {first + 1}); keep one of the two"
                yield _finding(said, ("weights", table, i, "owner"), row.owner)


def _keys(tag: TagRule) -> list[str]:
    providers = [fold(p) for p in tag.providers or ("",)]
    return [f"{provider}:{key}" for provider in providers for key in tag.key]


def _overlapping(
    entries: Sequence[D], section: str, field: str, keys: Callable[[D], Iterable[str]]
) -> Iterator[InitErrorDetails]:
    known: dict[str, list[int]] = {}
    for i, entry in enumerate(entries):
        for key in dict.fromkeys(keys(entry)):
            for earlier in known.setdefault(key, []):
                if _both_hold(entries[earlier], entry):
                    where = _text((section, earlier, field))
                    value = key.partition(":")[2] if section in ("tags", "scopes") else None
                    yield _finding(
                        f"stands already at {where}; keep one of the two",
                        (section, i, field),
                        value or str(getattr(entry, field)),
                    )
                    break
            known[key].append(i)


def _both_hold(one: Dated, other: Dated) -> bool:
    ends = [x.until for x in (one, other) if x.until]
    begins = [x.since for x in (one, other) if x.since]
    return not ends or not begins or max(begins) <= min(ends)


def _unknown(rules: Rules) -> Iterator[InitErrorDetails]:
    owners = set(rules.owner_names)
    known = ", ".join(dict.fromkeys(rules.owner_names)) or "none yet"
    for place, name in _owners_named(rules):
        if name not in owners:
            yield _finding(f"must be one of owners ({known}), or be added there", place, name)
    takers = owners | {pool.name for _, pool in _shared(rules)}
    for place, name in _takers_named(rules):
        if name not in takers:
            known = ", ".join(sorted(takers)) or "none yet"
            yield _finding(f"must be an owner or a pool ({known}), or be added", place, name)
    for of_pool, pool in _shared(rules):
        for j, driver in enumerate(pool.drivers):
            if driver.weights is not None and driver.weights not in rules.weights:
                known = ", ".join(sorted(rules.weights)) or "none yet"
                place = (*of_pool, _drivers(pool), j, "weights")
                yield _finding(f"must be one of weights ({known})", place, driver.weights)


def _owners_named(rules: Rules) -> Iterator[tuple[_Place, str]]:
    for i, owner in enumerate(rules.owners):
        if owner.parent is not None:
            yield ("owners", i, "parent"), owner.parent
    for i, tag in enumerate(rules.tags):
        yield from ((("tags", i, "aliases", value), owner) for value, owner in tag.aliases.items())
        for j, pattern in enumerate(tag.patterns):
            yield ("tags", i, "patterns", j, "owner"), pattern.owner
    for i, place in enumerate(rules.places):
        yield ("places", i, "owner"), place.owner
    for i, rule in enumerate(rules.scopes):
        if rule.owner is not None:
            yield ("scopes", i, "owner"), rule.owner
    for of_pool, pool in _shared(rules):
        for j, recipient in enumerate(pool.recipients):
            if isinstance(recipient, Below):
                yield (*of_pool, "recipients", j, "below"), recipient.below
    for i, cluster in enumerate(rules.clusters):
        for policy in ("idle", "overhead"):
            if (named := getattr(cluster, policy)) not in (SHARE, UNALLOCATED):
                yield ("clusters", i, policy), named


def _takers_named(rules: Rules) -> Iterator[tuple[_Place, str]]:
    for of_pool, pool in _shared(rules):
        for j, driver in enumerate(pool.drivers):
            for name in driver.fixed or ():
                yield (*of_pool, _drivers(pool), j, "fixed", name), name
        for j, recipient in enumerate(pool.recipients):
            if isinstance(recipient, str):
                yield (*of_pool, "recipients", j), recipient
    for table, weights in rules.weights.items():
        for i, row in enumerate(weights.rows):
            yield ("weights", table, i, "owner"), row.owner


def _values_of_tag(rules: Rules, i: int, tag: TagRule) -> Iterator[InitErrorDetails]:
    """Values that say two things, as the tag compares values."""
    names: dict[str, str] = {}
    for owner in rules.owner_names:
        first = names.setdefault(compared(owner, tag.compare), owner)
        if tag.compare == "spelling" and first != owner:
            same = f"reads the owners {first!r} and {owner!r} as the same; rename one"
            yield _finding(same, ("tags", i, "compare"), tag.compare)
    known: dict[str, str] = {}
    for value, owner in tag.aliases.items():
        place: _Place = ("tags", i, "aliases", value)
        key = compared(value, tag.compare)
        if key in known:
            where = _text(("tags", i, "aliases", known[key]))
            yield _finding(f"stands already at {where}; keep one of the two", place, value)
        if names.get(key, owner) != owner:
            yield _finding("names another owner itself; remove the alias", place, value)
        known.setdefault(key, value)
    for j, value in enumerate(tag.invalid):
        key = compared(value, tag.compare)
        if key in known or key in names:
            where = "an alias" if key in known else "an owner's name"
            yield _finding(f"is {where} too; keep one of the two", ("tags", i, "invalid", j), value)


def _parents(rules: Rules) -> Iterator[InitErrorDetails]:
    for of_day in Calendar(rules).stretches():
        parents = {one.name: one.parent for one in of_day.rules.owners}
        for cycle in _cycles({n: [p] if p else [] for n, p in parents.items()}):
            place = ("owners", rules.owner_names.index(cycle[0]), "parent")
            yield _finding(f"is part of itself: {' → '.join(cycle)}", place, cycle[1])
            return


def _pools(rules: Rules) -> Iterator[InitErrorDetails]:
    """Pools that feed themselves, on any day, or that feed one that keeps to what is the same."""
    places = {pool.name: place for place, pool in _shared(rules)}
    for of_day in Calendar(rules).stretches():
        feeds = {name: _fed(of_day, name) for name in of_day.pools}
        for cycle in _cycles(feeds):
            place = (*places[cycle[0]], "recipients")
            yield _finding(f"the pool feeds itself: {' → '.join(cycle)}", place, cycle[1])
            return
        for name, fed in feeds.items():
            for other in fed:
                if of_day.pools[other].same:
                    place = (*places[name], "recipients")
                    yield _finding(
                        "a pool with a driver that has `same` takes no cost of another pool, "
                        "which is the same as nothing; name owners, or another pool",
                        place,
                        other,
                    )
                    return


def _weights_of_pools(rules: Rules) -> Iterator[InitErrorDetails]:
    """Weights of pools that take no part: all owners do without being named, pools do not."""
    names = {pool.name for _, pool in _shared(rules)}
    for of_pool, pool in _shared(rules):
        for j, driver in enumerate(pool.drivers):
            for name in driver.fixed or ():
                if name in names and name not in pool.recipients:
                    place = (*of_pool, _drivers(pool), j, "fixed", name)
                    yield _finding("is a pool: name it among recipients too", place, name)


def _fed(of_day: RulesOfDay, name: str) -> list[str]:
    return [n for n in of_day.recipients(of_day.pools[name]) if n in of_day.pools]


def _cycles(edges: dict[str, list[str]]) -> Iterator[list[str]]:
    """The first cycle found, as a path that ends where it begins."""
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        todo = [(start, iter(edges[start]))] if start not in done else []
        while todo:
            name, rest = todo[-1]
            if name not in path:
                path.append(name)
            following = next(rest, None)
            if following is None:
                done.add(path.pop())
                todo.pop()
            elif following in path:
                yield [*path[path.index(following) :], following]
                return
            elif following not in done and following in edges:
                todo.append((following, iter(edges[following])))


def _text(place: _Place) -> str:
    return ".".join(map(str, place))


def _finding(message: str, place: _Place, value: str) -> InitErrorDetails:
    error = PydanticCustomError("rules", "{message}", {"message": message})
    return InitErrorDetails(type=error, loc=place, input=value)
