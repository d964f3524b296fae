"""Roll-ups of the cost lake over all sources: the table `daily_totals`.

One row for each day, source, account, owner, tier, service, kind of charge and currency. It is
made from `allocated_costs` alone, so it can never say anything else.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from functools import cache

import ibis

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline.lake.home import Home
from finops_pipeline.store.summaries import Summaries

_DIMENSIONS = {
    "charge_day": "x_ChargeDay",
    "source": "x_Source",
    "provider": "ProviderName",
    "account": "SubAccountId",
    "owner": "x_BusinessUnit",
    "tier": "x_Tier",
    "service_category": "ServiceCategory",
    "service": "ServiceName",
    "charge_category": "ChargeCategory",
    "currency": "BillingCurrency",
    "reporting_currency": "x_ReportingCurrency",
}
_METRICS = {
    "billed_cost": "BilledCost",
    "effective_cost": "EffectiveCost",
    "reporting_billed_cost": "x_ReportingBilledCost",
    "reporting_effective_cost": "x_ReportingEffectiveCost",
}


@cache
def totals_sql() -> Sql:
    """`costs` (of `allocated_costs`) summed to `daily_totals`, in order."""
    costs = ibis.table(ibis_schema(tables()["allocated_costs"]), name="costs")
    totals = costs.group_by(**_DIMENSIONS).aggregate(
        **{name: costs[metric].sum() for name, metric in _METRICS.items()}
    )
    names = tables()["daily_totals"].names
    return Sql(totals.select(*names).order_by(*names))


class Rollups:
    """The means to roll up charge days of all sources."""

    def __init__(self, home: Home, engine: Engine) -> None:
        self.home = home
        self.engine = engine
        self.summaries = Summaries(home, engine)
        self._costs: dict[str, list[LakeFile]] = defaultdict(list)
        for file in home.table("allocated_costs").files():
            self._costs[file.partition[2]].append(file)

    def _file(self, day: str) -> LakeFile:
        names = [(f.partition, f.fingerprint) for f in self._costs[day]]
        return LakeFile(
            (day,), hashlib.sha256(repr((names, totals_sql().text)).encode()).hexdigest()[:32]
        )

    def stale_days(self) -> list[date]:
        """The charge days whose roll-up is not made from what is stored now, in order.

        For a month whose own roll-ups are stale and none of whose days is, one of its days.
        """
        made = {f.partition[0]: f for f in self.home.table("daily_totals").files()}
        days = sorted(self._costs.keys() | made.keys())
        wanted = {day: self._file(day) if day in self._costs else None for day in days}
        stale = {date.fromisoformat(d) for d in days if made.get(d) != wanted[d]}
        known = {f"{day:%Y-%m}" for day in stale}
        months = [m for m in self.summaries.stale_months() if m not in known]
        return sorted(stale | set(self.summaries.last_days(months)))

    def run(self, days: Sequence[date]) -> dict[date, int]:
        """Roll up these charge days, and their months; returns the rows of each day."""
        table = self.home.table("daily_totals")
        known = set(table.files())
        files = []
        rows: dict[date, int] = {}
        for day in sorted(days):
            iso = day.isoformat()
            rows[day] = 0
            if iso in self._costs:
                file = self._file(iso)
                # The log has the size of what lies there; another engine makes other bytes of it.
                there = file in known and table.holds(file)
                rows[day] = table.rows(file) if there else self._make(table, file)
                files.append(file)
        table.replace([(day.isoformat(),) for day in days], files)
        self.summaries.run(f"{day:%Y-%m}" for day in days)
        return rows

    def _make(self, table: LakeTable, file: LakeFile) -> int:
        costs = self.home.table("allocated_costs")
        of_day = [costs.location(f) for f in self._costs[file.partition[0]]]
        self.engine.bind_files("costs", costs.table, of_day)
        return table.make(file, lambda path: self.engine.write(totals_sql(), path))
