"""The audit log of the rules: which rule set made which days anew, and what that changed.

Written before the figures become visible, under a name that follows from what is in it: a run that
is killed in between writes the same entry again, and it is there once. An entry has no time of its
own, for then it would be another each time; the Delta log says when it was committed.
"""

from __future__ import annotations

import getpass
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.allocate.rules import STORED, Rules
from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.contracts.forms import arrow_schema, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

_COSTS = "costs held against rules"

Totals = Mapping[tuple[str, str], Decimal]


@dataclass(frozen=True)
class RuleChange:
    """One owner's line of an entry of the audit log, and when it was committed."""

    changed_at: datetime
    values: Mapping[str, Any]


def record_rules(
    home: Home,
    engine: Engine,
    source: str,
    rules: Rules,
    before: Sequence[LakeFile],
    new: Mapping[date, Totals],
) -> None:
    """Log the days that other rules had made, and the first days that these rules make.

    `before` are the figures that were there, `new` the totals of the days that were made.
    """
    _keep_content(home, rules)
    log = home.table("rule_changes")
    known = {r for f in log.files(source) for r in log.read(f).column("rule_set").to_pylist()}
    if rules.hash in known and _made_by(home, engine, before) <= {rules.hash}:
        return
    old = _days(home, engine, before)
    entries: dict[str | None, list[date]] = defaultdict(list)
    for day in sorted(new):
        previous = old[day][0] if day in old else None
        if previous != rules.hash and (previous is not None or rules.hash not in known):
            entries[previous].append(day)
    times = _times(home, source)
    files = [
        _entry(home, source, rules.hash, previous, days, old, new, times[previous])
        for previous, days in entries.items()
    ]
    log.append(files)


def rule_changes(home: Home, source: str | None = None) -> list[RuleChange]:
    """The audit log, the newest entry first."""
    log = home.table("rule_changes")
    found = [
        RuleChange(moment, row)
        for file, moment in log.committed().items()
        if source is None or file.partition[0] == source
        for row in log.read(file).to_pylist()
    ]
    found.sort(key=lambda c: tuple(str(c.values[n]) for n in ("source", "currency", "owner")))
    return sorted(found, key=lambda c: c.changed_at, reverse=True)


def known_rules(home: Home) -> list[str]:
    """The rule sets that made any figure, by their hash."""
    return [file.partition[0] for file in home.table("rule_sets").files()]


def rules_of(home: Home, rule_set: str) -> Rules | None:
    """The rules with this hash, if any figure was made by them."""
    table = home.table("rule_sets")
    for file in table.files(rule_set):
        content = table.read(file).column("content")[0].as_py()
        return Rules.model_validate_json(content, context=STORED)
    return None


def _keep_content(home: Home, rules: Rules) -> None:
    table = home.table("rule_sets")
    file = LakeFile((rules.hash,), "rules")
    if file in table.files(rules.hash):
        return
    row = {"rule_set": rules.hash, "content": rules.content}
    schema = arrow_schema(tables()["rule_sets"])
    table.append([table.write(file, pa.Table.from_pylist([row], schema=schema))])


def _made_by(home: Home, engine: Engine, files: Sequence[LakeFile]) -> set[str]:
    """The rule sets that made these figures."""
    _bind(home, engine, files)
    found = engine.rows(_made_by_sql())
    return set(found.column("x_RuleSet").to_pylist())


def _bind(home: Home, engine: Engine, files: Sequence[LakeFile]) -> None:
    table = home.table("allocated_costs")
    engine.bind_files(_COSTS, table.table, [table.location(f) for f in files])


def _costs() -> ir.Table:
    return ibis.table(ibis_schema(tables()["allocated_costs"]), name=_COSTS)


@cache
def _made_by_sql() -> Sql:
    return Sql(_costs().select("x_RuleSet").distinct())


@cache
def _totals_sql() -> Sql:
    rows = _costs()
    keys = {
        "day": rows.x_ChargeDay,
        "rule_set": rows.x_RuleSet,
        "currency": rows.BillingCurrency,
        "owner": rows.x_BusinessUnit,
    }
    return Sql(rows.group_by(**keys).aggregate(cost=rows.EffectiveCost.sum()).order_by(*keys))


_Days = dict[date, tuple[str, dict[tuple[str, str], Decimal]]]


def _days(home: Home, engine: Engine, files: Sequence[LakeFile]) -> _Days:
    """The rule set of each day, and its totals by currency and owner."""
    _bind(home, engine, files)
    found: _Days = {}
    for row in engine.rows(_totals_sql()).to_pylist():
        _, totals = found.setdefault(row["day"], (row["rule_set"], {}))
        totals[row["currency"], row["owner"]] = row["cost"] or Decimal(0)
    return found


def _times(home: Home, source: str) -> Counter[str | None]:
    """How often each rule set was put in the place of another: tells the same change, made again
    after it was undone, from an entry that a killed run wrote already."""
    log = home.table("rule_changes")
    made = (log.read(f).column("rule_set").unique().to_pylist() for f in log.files(source))
    return Counter(rule_set for entry in made for rule_set in entry)


def _entry(
    home: Home,
    source: str,
    rule_set: str,
    previous: str | None,
    days: Sequence[date],
    old: _Days,
    new: Mapping[date, Totals],
    times: int,
) -> LakeFile:
    then = _summed([old[d][1] for d in days if d in old])
    now = _summed([new[d] for d in days])
    rows = [
        {
            "source": source,
            "rule_set": rule_set,
            "previous": previous,
            "who": _who(),
            "first_day": days[0],
            "last_day": days[-1],
            "days": len(days),
            "currency": currency,
            "owner": owner,
            "cost_before": then.get((currency, owner)),
            "cost_after": now.get((currency, owner)),
        }
        for currency, owner in sorted(then.keys() | now.keys())
    ]
    content = [sorted((k, str(v)) for k, v in r.items() if k != "who") for r in rows]
    told = (content, [d.isoformat() for d in days], *([times] if times > 1 else []))
    name = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    table, file = home.table("rule_changes"), LakeFile((source,), name)
    if file in table.files(source):
        return file
    return table.write(file, pa.Table.from_pylist(rows, schema=arrow_schema(table.table)))


def _summed(totals: Sequence[Totals]) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for of_day in totals:
        for key, cost in of_day.items():
            found[key] = EXACT.add(found[key], cost)
    return dict(found)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return f"uid {os.getuid()}"
