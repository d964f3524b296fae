"""Allocate and store charge days of a source: owners, shares, and the cost lake.

A day is made from its charge files and the rule set; days are worked on a chunk at a time, so
memory follows the chunk and not the range. Nothing of a day becomes visible unless the sum of its
parts is the sum of its charges, to the last digit, in every currency (promise 3).
"""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import LAST_KNOWN
from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.contracts.check import Violation, violations
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.days import by_day, chunks
from finops_pipeline.lake.delta import LakeFile, LakeTable, Partition
from finops_pipeline.lake.home import Home
from finops_pipeline.store.affected import affected_days, rests_on_fingerprint
from finops_pipeline.store.allocated import (
    FIGURES,
    METRICS,
    allocated_sql,
    daily_sql,
    figures_sql,
    sums_sql,
)
from finops_pipeline.store.allocation import NOTHING_EARLIER, allocate
from finops_pipeline.store.audit import record_rules
from finops_pipeline.store.cluster_usage import ClusterUsage
from finops_pipeline.store.earlier import EarlierShares

_CHUNK = 500_000  # charges that are worked on at a time

_TABLES = ("ownership", "shares", "allocated_costs")


@dataclass(frozen=True)
class StoredDay:
    """What became of one charge day: its rows, and what broke, if anything did.

    `owned` is EffectiveCost by billing currency and owner.
    """

    day: date
    rows: int
    owned: Mapping[tuple[str, str], Decimal]
    problems: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def cost(self) -> dict[str, Decimal]:
        """EffectiveCost by billing currency."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for (currency, _), cost in self.owned.items():
            found[currency] = EXACT.add(found[currency], cost)
        return dict(found)

    @property
    def unallocated(self) -> dict[str, Decimal]:
        """What of it nobody owns."""
        return {currency: c for (currency, owner), c in self.owned.items() if owner == UNALLOCATED}


class Store:
    """The means to allocate and store one source."""

    def __init__(self, home: Home, source: str, engine: Engine, rules: Rules) -> None:
        self.home = home
        self.source = source
        self.engine = engine
        self.rules = rules
        self.decider = Decider(rules)
        self._usage = ClusterUsage(home)
        self._rests_on: dict[date, str] = {}
        self._seen = {name: home.table(name).seen() for name in _TABLES}
        self._charges = _by_day(home.table("focus_costs").files(source), 1)

    def fingerprint(self, day: date) -> str:
        """What names a stored day: its charges, its rules, earlier shares and usage of clusters."""
        return self._charged(day) + self._ruled(day) + self._rests_on.get(day, NOTHING_EARLIER)

    def _charged(self, day: date) -> str:
        """A hash of the charges that a day is made from, and of how."""
        charges = [f.fingerprint for f in self._charges.get(day.isoformat(), ())]
        return _hash(charges, daily_sql().text, allocated_sql().text)

    def _ruled(self, day: date) -> str:
        return _hash(self.decider.calendar.on(day).hash)

    def stale_days(self) -> list[date]:
        """The charge days whose stored figures are not made from what is there now, in order.

        A day that was made by other rules is stale only if those of now would make it otherwise.
        """
        stored = _by_day(self._table("allocated_costs").files(self.source), 2)
        names = {day: {f.fingerprint for f in files} for day, files in stored.items()}
        stale: set[date] = set()
        by_other_rules: dict[date, str] = {}
        for text in self._charges.keys() | names.keys():
            day, made = date.fromisoformat(text), names.get(text, set())
            if len(made) != 1 or text not in self._charges:
                stale.add(day)
                continue
            (name,) = made
            charged, ruled = self._charged(day), self._ruled(day)
            if not name.startswith(charged):
                stale.add(day)
            elif name[len(charged) :][: len(ruled)] != ruled:
                by_other_rules[day] = name
        stale |= affected_days(
            self.home, self.engine, self.source, self.decider, by_other_rules, self._usage
        )
        return sorted(stale | self._rest_otherwise(names, stale))

    def _rest_otherwise(self, names: Mapping[str, set[str]], stale: set[date]) -> set[date]:
        """The days that fall back on earlier shares, or have usage of clusters, other than now."""
        rules = self.rules
        resting = {
            p.name
            for p in (*rules.pools, *rules.clusters)
            if p in rules.clusters or any(d.text == LAST_KNOWN for d in p.drivers)
        }
        found: set[date] = set()
        if not resting:
            return found
        earlier = EarlierShares(self._table("shares"), self.source)
        for text, made in names.items():
            day = date.fromisoformat(text)
            if day in stale or not resting & self.decider.calendar.on(day).pools.keys():
                continue
            wanted = rests_on_fingerprint(
                self.home, self.source, self.decider, day, earlier, self._usage
            )
            self._rests_on[day] = wanted
            if not all(name.endswith(wanted) for name in made):
                found.add(day)
        return found

    def run(
        self, days: Sequence[date], progress: Callable[[str], None] = lambda _: None
    ) -> list[StoredDay]:
        """Allocate and store these charge days; a day that breaks keeps its last good data."""
        results: list[StoredDay] = []
        earlier = EarlierShares(self._table("shares"), self.source, days)
        files: dict[str, list[LakeFile]] = defaultdict(list)
        for chunk in chunks(days, self._rows, _CHUNK):
            made, done = self._chunk(chunk, earlier)
            results += done
            broken = {d.day.isoformat() for d in done if d.problems}
            for name, written in made.items():
                files[name] += [f for f in written if not broken & set(f.partition)]
            progress(chunk[-1].isoformat())
        good = {r.day.isoformat() for r in results if not r.problems}
        note = {"finops.rule_set": self.rules.hash}
        for name in ("ownership", "shares"):
            self._table(name).replace(
                [(self.source, day) for day in good], files[name], note, self._seen[name]
            )
        costs = self._table("allocated_costs")
        written = files["allocated_costs"]
        seen = self._seen["allocated_costs"]
        if written:
            known = [f for f in costs.files(self.source) if f.partition[2] in good]
            totals = {r.day: r.owned for r in results if not r.problems}
            record_rules(self.home, self.engine, self.source, self.rules, known, totals)
        costs.replace(self._cost_prefixes(good, written), written, note, seen)
        return sorted(results, key=lambda r: r.day)

    def _cost_prefixes(self, days: set[str], written: Sequence[LakeFile]) -> set[Partition]:
        known = self._table("allocated_costs").files(self.source)
        return {f.partition[:3] for f in (*known, *written) if f.partition[2] in days}

    def _rows(self, day: date) -> int:
        table = self._table("focus_costs")
        return sum(table.rows(f) for f in self._charges.get(day.isoformat(), ()))

    def _chunk(
        self, days: Sequence[date], earlier: EarlierShares
    ) -> tuple[dict[str, list[LakeFile]], list[StoredDay]]:
        table = self._table("focus_costs")
        files = [f for d in days for f in self._charges.get(d.isoformat(), ())]
        if not files:
            return {}, [StoredDay(d, 0, {}) for d in days]
        self.engine.bind_files("charges", table.table, [table.location(f) for f in files])
        self.engine.make("daily", daily_sql())
        made = allocate(self.engine, self.source, self.decider, earlier, self._usage)
        self._rests_on |= made.rests_on
        self.engine.make(FIGURES, allocated_sql())
        written = {
            "ownership": self._write("ownership", made.ownership),
            "shares": self._write("shares", made.shares),
            "allocated_costs": self._costs(days),
        }
        return written, self._results(days, written["allocated_costs"])

    def _costs(self, days: Sequence[date]) -> list[LakeFile]:
        """Write the allocated figures, one file for each provider, day and owner."""
        table = self._table("allocated_costs")
        by = table.table.partition_by[1:]
        folder = self.home.spool / f"costs-{self.source}-{self.fingerprint(days[0])}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            written = self.engine.write_split(figures_sql(), by, folder)
            files = {}
            for values, part in sorted(written.items()):
                day = date.fromisoformat(values[by.index("x_ChargeDay")])
                files[LakeFile((self.source, *values), self.fingerprint(day))] = part
            # The log has the size of what lies there; another engine makes other bytes of it.
            there = {f for f in table.files(self.source) if f in files and table.holds(f)}
            table.place({f: part for f, part in files.items() if f not in there})
            return list(files)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, name: str, rows: pa.Table) -> list[LakeFile]:
        """Write rows as one file for each charge day; the rows are in order of the day."""
        table = self._table(name)
        return [
            table.write(LakeFile((self.source, day.isoformat()), self.fingerprint(day)), of_day)
            for day, of_day in by_day(rows, "charge_day")
        ]

    def _results(self, days: Sequence[date], files: Sequence[LakeFile]) -> list[StoredDay]:
        """Each day's figures, held against its charges and the contract."""
        table = self._table("allocated_costs")
        self.engine.bind_files("allocated", table.table, [table.location(f) for f in files])
        whole = _sums(self.engine.rows(sums_sql("focus_costs", "charges")).to_pylist())
        by_owner = self.engine.rows(sums_sql("allocated_costs", "allocated")).to_pylist()
        parts = _sums(by_owner)
        owned: dict[date, dict[tuple[str, str], Decimal]] = defaultdict(dict)
        for row in by_owner:
            key = row["BillingCurrency"], row["x_BusinessUnit"]
            owned[row["x_ChargeDay"]][key] = row["EffectiveCost"] or Decimal(0)
        broken = self._broken_days(days, files)
        rows: dict[str, int] = defaultdict(int)
        for file in files:
            rows[file.partition[2]] += table.rows(file)
        results = []
        for day in days:
            problems = _differences(day, whole.get(day, {}), parts.get(day, {}))
            found = broken.get(day, [])
            results.append(
                StoredDay(
                    day,
                    rows[day.isoformat()],
                    owned.get(day, {}),
                    (*problems, *map(str, found)),
                    tuple(found),
                )
            )
        return results

    def _broken_days(
        self, days: Sequence[date], files: Sequence[LakeFile]
    ) -> dict[date, list[Violation]]:
        """The days whose figures break the contract: looked at one by one only if any does.

        They are looked at as they were made: to read every column of many small files takes long.
        """
        table = self._table("allocated_costs")
        if not violations(self.engine, table.table, FIGURES):
            return {}
        of_day = _by_day(files, 2)
        broken = {}
        for day in days:
            paths = [table.location(f) for f in of_day.get(day.isoformat(), ())]
            self.engine.bind_files("allocated", table.table, paths)
            broken[day] = violations(self.engine, table.table, "allocated")
        return broken

    def _table(self, name: str) -> LakeTable:
        return self.home.table(name)


def _by_day(files: Sequence[LakeFile], position: int) -> dict[str, list[LakeFile]]:
    found: dict[str, list[LakeFile]] = defaultdict(list)
    for file in files:
        found[file.partition[position]].append(file)
    return found


def _hash(*made_from: object) -> str:
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]


_Sums = dict[date, dict[str, dict[str, Decimal | None]]]


def _sums(rows: Sequence[Mapping[str, Any]]) -> _Sums:
    found: _Sums = defaultdict(lambda: defaultdict(lambda: dict.fromkeys(METRICS)))
    for row in rows:
        sums = found[row["x_ChargeDay"]][row["BillingCurrency"]]
        for metric in METRICS:
            if (cost := row[metric]) is not None:
                known = sums[metric]
                sums[metric] = cost if known is None else EXACT.add(known, cost)
    return found


def _differences(
    day: date,
    whole: Mapping[str, Mapping[str, Decimal | None]],
    parts: Mapping[str, Mapping[str, Decimal | None]],
) -> list[str]:
    return [
        f"{day}: {currency}: {metric} of the charges is {whole.get(currency, {}).get(metric)}, "
        f"of the allocated figures {parts.get(currency, {}).get(metric)}"
        for currency in sorted(whole.keys() | parts.keys())
        for metric in METRICS
        if whole.get(currency, {}).get(metric) != parts.get(currency, {}).get(metric)
    ]
