"""Which cost moves between which owners if other rules held: computed before anything is rebuilt.

Both rule sets are applied to the charges that the lake has, by the code that allocates them; the
result is summed instead of stored. Charge days on which the same rules hold are not looked at,
unless a pool may fall back on shares of a day on which others do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from finops_pipeline.allocate.in_force import RulesOfDay
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import LAST_KNOWN
from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.days import chunks
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.store.allocated import allocated_sql, daily_sql
from finops_pipeline.store.allocation import Allocated, allocate
from finops_pipeline.store.cluster_usage import ClusterUsage
from finops_pipeline.store.earlier import EarlierShares

_CHUNK = 500_000  # charges that are worked on at a time
_COSTS, _PAIRS = "costs by other rules", "decisions by both rules"
_ZERO = Decimal(0)

_Key = tuple[str, str, str]  # billing currency, who took the cost, who takes it
_Parts = dict[_Key, dict[str, Decimal]]


@dataclass(frozen=True, order=True)
class Move:
    """Cost that goes from one owner to another.

    `before` and `after` are who takes the charges by the old and the new rules: an owner or
    `pool NAME`. `cost` is EffectiveCost in the billing currency.
    """

    currency: str
    before: str
    after: str
    source_owner: str
    target_owner: str
    cost: Decimal


@dataclass(frozen=True)
class RulesDiff:
    """What other rules would change: each owner's total before and after, and the moves.

    `days` are the charge days, by source, that would be made otherwise.
    """

    old: str
    new: str
    days: Mapping[str, tuple[date, ...]]
    totals: Mapping[tuple[str, str], tuple[Decimal, Decimal]]
    moves: tuple[Move, ...]


def rules_diff(
    home: Home,
    engine: Engine,
    old: Rules,
    new: Rules,
    sources: Iterable[str],
    since: date | None = None,
    until: date | None = None,
) -> RulesDiff:
    """Compare two rule sets over the stored charges of these sources and days."""
    before: _Parts = defaultdict(lambda: defaultdict(Decimal))
    after: _Parts = defaultdict(lambda: defaultdict(Decimal))
    days: dict[str, tuple[date, ...]] = {}
    for source in sources:
        days[source] = _of_source(
            _Both(home, engine, source, Decider(old), Decider(new)), (since, until), before, after
        )
    totals: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    moves: list[Move] = []
    for key in sorted(before.keys() | after.keys()):
        then, now = before.get(key, {}), after.get(key, {})
        for owner in then.keys() | now.keys():
            was, is_now = totals.get((key[0], owner), (_ZERO, _ZERO))
            totals[key[0], owner] = (
                EXACT.add(was, then.get(owner, _ZERO)),
                EXACT.add(is_now, now.get(owner, _ZERO)),
            )
        moves += _moved(key, then, now)
    return RulesDiff(old.hash, new.hash, days, dict(sorted(totals.items())), tuple(moves))


@dataclass(frozen=True)
class _Both:
    home: Home
    engine: Engine
    source: str
    old: Decider
    new: Decider


def _of_source(
    both: _Both, period: tuple[date | None, date | None], before: _Parts, after: _Parts
) -> tuple[date, ...]:
    table = both.home.table("focus_costs")
    files: dict[date, list[LakeFile]] = defaultdict(list)
    otherwise: set[date] = set()
    for file in table.files(both.source):
        day = date.fromisoformat(file.partition[1])
        if (period[0] or day) <= day <= (period[1] or day):
            rules = both.new.calendar.on(day)
            if both.old.calendar.on(day).hash != rules.hash:
                otherwise.add(day)
            if day in otherwise or _may_rest(rules):
                files[day].append(file)
    wanted = [day for day in sorted(files) if otherwise and day >= min(otherwise)]
    earlier = [
        EarlierShares(both.home.table("shares"), both.source, wanted) for _ in ("old", "new")
    ]
    usage = ClusterUsage(both.home)
    changed: set[date] = set()
    for chunk in chunks(wanted, lambda d: sum(map(table.rows, files[d])), _CHUNK):
        locations = [table.location(f) for d in chunk for f in files[d]]
        both.engine.bind_files("charges", table.table, locations)
        both.engine.make("daily", daily_sql())
        then = allocate(both.engine, both.source, both.old, earlier[0], usage)
        both.engine.make(f"{_COSTS} then", allocated_sql())
        now = allocate(both.engine, both.source, both.new, earlier[1], usage)
        both.engine.make(f"{_COSTS} now", allocated_sql())
        touched, pairs = _pairs(then, now)
        changed |= touched
        compared = pa.array(sorted(otherwise | touched), pa.date32())
        both.engine.keep(_PAIRS, pairs.filter(pc.is_in(pairs.column("pair_day"), compared)))
        for side, sums in (("then", before), ("now", after)):
            for row in both.engine.rows(_sums(both.engine, f"{_COSTS} {side}")).to_pylist():
                key = (row["currency"], row["was"], row["becomes"])
                sums[key][row["owner"]] = EXACT.add(sums[key][row["owner"]], row["cost"])
    return tuple(sorted(changed))


def _may_rest(of_day: RulesOfDay) -> bool:
    """Whether shares of the day may be those of an earlier one."""
    return any(d.text == LAST_KNOWN for pool in of_day.pools.values() for d in pool.drivers)


def _pairs(then: Allocated, now: Allocated) -> tuple[set[date], pa.Table]:
    """Who takes each subject's cost by both rules, and the days on which anything differs.

    Both tables have the same subjects in the same order.
    """
    columns = ("effective_tags", "owner", "pool", "pool_part", "tier", "rule", "evidence")
    old, new = then.ownership.to_pylist(), now.ownership.to_pylist()
    days = {
        one["charge_day"]
        for one, other in zip(old, new, strict=True)
        if any(one[name] != other[name] for name in columns)
    }
    days |= _split_otherwise(then.shares, now.shares)
    pairs = {
        "pair_day": then.ownership.column("charge_day"),
        "pair_id": then.ownership.column("ownership_id"),
        "was": pa.array([_taker(row) for row in old], pa.string()),
        "becomes": pa.array([_taker(row) for row in new], pa.string()),
    }
    return days, pa.table(pairs)


def _split_otherwise(then: pa.Table, now: pa.Table) -> set[date]:
    names = (
        "charge_day", "pool", "pool_part", "owner", "namespace", "workload", "share_before",
        "share_after",
    )  # fmt: skip
    sides = [{tuple(row.values()) for row in t.select(names).to_pylist()} for t in (then, now)]
    return {row[0] for row in sides[0] ^ sides[1]}


def _taker(row: Mapping[str, Any]) -> str:
    return str(row["owner"]) if row["pool"] is None else f"pool {row['pool']}"


def _sums(engine: Engine, name: str) -> Sql:
    rows = ibis.table(ibis_schema(tables()["allocated_costs"]), name=name)
    pairs = ibis.table(
        {"pair_day": "date", "pair_id": str, "was": str, "becomes": str}, name=_PAIRS
    )
    both = rows.join(
        pairs, [rows.x_ChargeDay == pairs.pair_day, rows.x_OwnershipId == pairs.pair_id]
    )
    sums = both.group_by(
        currency=both.BillingCurrency, was=both.was, becomes=both.becomes, owner=both.x_BusinessUnit
    ).aggregate(cost=both.EffectiveCost.sum().fill_null(0))
    return engine.compile(sums)


def _moved(key: _Key, then: Mapping[str, Decimal], now: Mapping[str, Decimal]) -> list[Move]:
    """From those who have less to those who have more, in the order of their names.

    The moves of an owner sum to its change exactly. Where cost goes from a pool to a pool, which of
    the losers' cost went to which of the gainers is nothing that the rules say.
    """
    changes = {
        owner: EXACT.subtract(now.get(owner, _ZERO), then.get(owner, _ZERO))
        for owner in sorted(then.keys() | now.keys())
    }
    found: list[Move] = []
    left = {owner: change.copy_negate() for owner, change in changes.items() if change < 0}
    wanted = {owner: change for owner, change in changes.items() if change > 0}
    while left and wanted:
        loser, gainer = next(iter(left)), next(iter(wanted))
        amount = min(left[loser], wanted[gainer])
        found.append(Move(*key, loser, gainer, amount))
        for side, owner in ((left, loser), (wanted, gainer)):
            side[owner] = EXACT.subtract(side[owner], amount)
            if not side[owner]:
                del side[owner]
    return found


def sources_of(home: Home) -> Sequence[str]:
    """The sources that the lake has charges of."""
    return sorted({f.partition[0] for f in home.table("focus_costs").files()})
