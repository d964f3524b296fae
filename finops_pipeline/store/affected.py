"""Which stored days another rule set would make otherwise.

The decisions that are stored are held against those that the rules of now make, once for each
distinct subject; and each pool's way of being split against the one of now. So a rule that no
stored subject can match affects no day.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache, partial
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.allocate.in_force import Calendar, RulesOfDay
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.shares import LAST_KNOWN, DayOfShares, method_of
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.allocate.weights import DayOfDirects
from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.functions import text_hash
from finops_pipeline.engine.kept import kept
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.store.allocated import SUBJECT
from finops_pipeline.store.allocation import clusters_of, used_fingerprint
from finops_pipeline.store.audit import rules_of
from finops_pipeline.store.cluster_usage import ClusterUsage
from finops_pipeline.store.earlier import EarlierShares

_DECIDED = (
    "effective_tags", "owner", "pool", "pool_part", "cluster", "namespace", "workload", "tier",
    "rule", "evidence",
)  # fmt: skip
_OWNERSHIP, _OTHERWISE = "ownership held against rules", "decisions made otherwise"


def affected_days(
    home: Home,
    engine: Engine,
    source: str,
    decider: Decider,
    days: Mapping[date, str],
    usage: ClusterUsage,
) -> set[date]:
    """The stored days whose owners or pools the rules of now would decide otherwise.

    `days` has the name of each day's figures. A day whose decisions have another name counts too: a
    run was stopped after it had replaced them, and they do not tell what the figures rest on.

    What is found of the days of a month follows from their names and the rules of now, and is kept
    on disk by both: days that stay as they are would else be decided again by every look.
    """
    decided = {f.partition[1]: f.fingerprint for f in home.table("ownership").files(source)}
    found = {day for day, name in days.items() if decided.get(day.isoformat()) != name}
    alike: dict[tuple[int, str], list[date]] = defaultdict(list)
    for day in sorted(days.keys() - found):
        alike[decider.calendar.stretch(day), f"{day:%Y-%m}"].append(day)
    for some in alike.values():
        names = [(day.isoformat(), days[day]) for day in some]
        of_day = decider.calendar.on(some[0])
        clusters = clusters_of(of_day, of_day.pools)
        used = [usage.fingerprint(clusters, day) for day in some]
        made_from = source, of_day.hash, names, used
        name = hashlib.sha256(repr(made_from).encode()).hexdigest()[:40]
        made = partial(_otherwise, home, engine, source, decider, some, usage)
        text = kept("affected", name, made)
        found |= {date.fromisoformat(day) for day in text.split()}
    return found


def _otherwise(
    home: Home,
    engine: Engine,
    source: str,
    decider: Decider,
    days: Sequence[date],
    usage: ClusterUsage,
) -> str:
    """Those of the days of one stretch that would be made otherwise, as text."""
    found = _decided_otherwise(home, engine, source, decider, days)
    left = [d for d in days if d not in found]
    found |= _split_otherwise(home, source, decider, left, usage)
    return " ".join(sorted(day.isoformat() for day in found))


def _decided_otherwise(
    home: Home, engine: Engine, source: str, decider: Decider, days: Sequence[date]
) -> set[date]:
    """Days of one stretch: any of them stands for all when a subject is decided."""
    table = home.table("ownership")
    wanted = {day.isoformat() for day in days}
    files = [f for f in table.files(source) if f.partition[1] in wanted]
    engine.bind_files(_OWNERSHIP, table.table, [table.location(f) for f in files])
    stored = _stored()
    columns = [*SUBJECT, *_DECIDED]
    rows = engine.rows(engine.compile(stored.select("key", *columns).distinct())).to_pylist()
    otherwise = [row["key"] for row in rows if not _same(row, decider, days[0])]
    if not otherwise:
        return set()
    engine.keep(_OTHERWISE, pa.table({"made_otherwise": pa.array(otherwise, pa.string())}))
    keys = ibis.table({"made_otherwise": str}, name=_OTHERWISE)
    touched = stored.semi_join(keys, stored.key == keys.made_otherwise)
    return set(
        engine.rows(engine.compile(touched.select("charge_day").distinct()))
        .column("charge_day")
        .to_pylist()
    )


def _stored() -> ir.Table:
    ownership = ibis.table(ibis_schema(tables()["ownership"]), name=_OWNERSHIP)
    columns = [ownership[name] for name in (*SUBJECT, *_DECIDED)]
    return ownership.mutate(key=text_hash(columns))


def _same(row: dict[str, Any], decider: Decider, day: date) -> bool:
    made = decider.decide(Subject(**{name: row[name] for name in SUBJECT}), day)
    return all(getattr(made, name) == row[name] for name in _DECIDED)


def _split_otherwise(
    home: Home, source: str, decider: Decider, days: Sequence[date], usage: ClusterUsage
) -> set[date]:
    table = home.table("shares")
    known = {f.partition[1]: f for f in table.files(source)}
    found = set()
    calendar = cache(partial(_calendar, home))
    for day in days:
        rows = table.read(known[day.isoformat()]).to_pylist() if day.isoformat() in known else []
        of_day = decider.calendar.on(day)
        methods = {(row["pool"], row["method"]) for row in rows}
        owners = {(row["rule_set"], row["owner"]) for row in rows}
        if (
            any(p not in of_day.pools or method_of(of_day, p) != m for p, m in methods)
            or _taken_otherwise(rows, decider, day, usage)
            or any(_placed_otherwise(o, calendar(then), day, of_day) for then, o in owners)
        ):
            found.add(day)
    return found


def _calendar(home: Home, rule_set: str) -> Calendar | None:
    rules = rules_of(home, rule_set)
    return None if rules is None else Calendar(rules)


def _placed_otherwise(owner: str, then: Calendar | None, day: date, now: RulesOfDay) -> bool:
    """Whether who has a share is a part of others than then: the figures name them."""
    return then is not None and then.on(day).path(owner) != now.path(owner)


def _taken_otherwise(
    rows: Sequence[Mapping[str, Any]], decider: Decider, day: date, usage: ClusterUsage
) -> bool:
    """Whether workloads of a cluster would have other owners: what they rest on is no charge."""
    of_day = decider.calendar.on(day)
    stored = {_taken(row) for row in rows if row["namespace"] is not None}
    reached = clusters_of(of_day, {row["pool"] for row in rows})
    if not reached:
        return False
    weighed = usage.weighing(decider, day)
    parts = {name: weighed(name) for name in reached}
    now = {
        (t.name, t.cluster, t.namespace, t.workload or None, one.facts[t])
        for one in parts.values()
        for t in one.parts
    }
    return bool(stored - now)


def _taken(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(row[name] for name in ("owner", "cluster", "namespace", "workload", "facts"))


def rests_on_fingerprint(
    home: Home,
    source: str,
    decider: Decider,
    day: date,
    earlier: EarlierShares,
    usage: ClusterUsage,
) -> str:
    """The fingerprint of the earlier shares and the usage that a stored day would rest on now."""
    table = home.table("shares")
    of_day = decider.calendar.on(day)
    stored = [
        row
        for file in table.files(source, day.isoformat())
        for row in table.read(file).to_pylist()
        if row["pool"] in of_day.pools
    ]
    made = DayOfShares(of_day, DayOfDirects(()), partial(earlier.last, before=day))
    for name, part, driver in sorted({s for row in stored for s in _splits(row)}):
        pool = of_day.pools.get(name)
        if pool and _reached_last_known(pool.drivers, driver):
            made.rest(pool, part)
    reached = clusters_of(of_day, {row["pool"] for row in stored})
    return used_fingerprint(made.rests_on, usage.fingerprint(reached, day))


def _splits(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The pools that a share went through, each with its part and its driver."""
    yield row["pool"], row["pool_part"], row["driver"]
    for way in json.loads(row["route"] or "[]"):
        yield from ((step["pool"], "", step["driver"]) for step in way[1:])


def _reached_last_known(drivers: Sequence[Any], driver: str) -> bool:
    """Whether the pool had no weight by the drivers before `last known`."""
    texts = [d.text for d in drivers]
    if LAST_KNOWN not in texts:
        return False
    place = texts.index(LAST_KNOWN)
    return driver == UNALLOCATED or driver.startswith(LAST_KNOWN) or driver in texts[place:]
