"""Roll-ups by month for questions: `monthly_costs` and `daily_costs`, one file a month.

They hold what `allocated_costs` holds, summed over what most questions do not ask for, so that a
year is a dozen files and not thousands. The files of days stay the unit of truth: a roll-up's name
says which of them it was made from, and a question reads a roll-up only where that is what the
lake holds (`query/sources.py`). So a roll-up can be late, and can never be wrong.

Rows are summed only with rows that lack the same metrics. What a sum does not hold (charges
without an exchange rate) can therefore be told from a roll-up as from the rows themselves.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache, partial

import ibis

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import (
    DAY_DIMENSIONS,
    MONTHLY_DIMENSIONS,
    SUMMED_METRICS,
    tables,
)
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

SUMMARIES = {"monthly_costs": MONTHLY_DIMENSIONS, "daily_costs": DAY_DIMENSIONS}
_COSTS = "costs of months"


@cache
def summary_sql(name: str) -> Sql:
    """The costs that are bound, summed to a roll-up, in order."""
    costs = ibis.table(ibis_schema(tables()["allocated_costs"]), name=_COSTS)
    day = costs.x_ChargeDay
    keys = {
        **{c: costs[c] for c in SUMMARIES[name]},
        "x_ChargeDay": ibis.date(day.year(), day.month(), 1) if name == "monthly_costs" else day,
        "x_ChargeMonth": day.cast(str).left(7),
        **{f"no {metric}": costs[metric].isnull() for metric in SUMMED_METRICS},
    }
    summed = costs.group_by(**keys).agg(
        **{metric: costs[metric].sum() for metric in SUMMED_METRICS}, x_Rows=costs.count()
    )
    schema = ibis_schema(tables()[name])
    rows = summed.select(**{c: summed[c].cast(schema[c]) for c in schema.names})
    return Sql(rows.order_by(*schema.names))


def by_month(costs: Iterable[LakeFile]) -> dict[str, list[LakeFile]]:
    """Files of `allocated_costs` by the month of their charges, in order."""
    found: dict[str, list[LakeFile]] = defaultdict(list)
    for file in sorted(costs):
        found[file.partition[2][:7]].append(file)
    return dict(sorted(found.items()))


def summary_files(months: Mapping[str, Sequence[LakeFile]]) -> dict[str, dict[str, LakeFile]]:
    """The roll-up files that would hold exactly these files of months, by roll-up and month."""
    made_from = {
        month: repr([(f.partition, f.fingerprint) for f in files])
        for month, files in months.items()
    }
    return {
        name: {
            month: LakeFile((month,), _fingerprint(text, summary_sql(name).text))
            for month, text in made_from.items()
        }
        for name in SUMMARIES
    }


def _fingerprint(*made_from: str) -> str:
    return hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:32]


class Summaries:
    """The means to roll up months of all sources."""

    def __init__(self, home: Home, engine: Engine) -> None:
        self.home = home
        self.engine = engine
        self._months = by_month(home.table("allocated_costs").files())
        self._wanted = summary_files(self._months)

    def stale_months(self) -> list[str]:
        """The months whose roll-ups are not made from what is stored now, in order."""
        stale: set[str] = set()
        for name, wanted in self._wanted.items():
            made = {f.partition[0]: f for f in self.home.table(name).files()}
            stale |= {m for m in wanted.keys() | made.keys() if made.get(m) != wanted.get(m)}
        return sorted(stale)

    def last_days(self, months: Iterable[str]) -> list[date]:
        """A day of each month: the last that is stored, or its first where none is."""
        return [
            date.fromisoformat(
                max((f.partition[2] for f in self._months.get(month, ())), default=f"{month}-01")
            )
            for month in months
        ]

    def run(self, months: Iterable[str]) -> None:
        """Roll up those of these months that are stale, a month at a time."""
        todo = sorted(set(months) & set(self.stale_months()))
        if not todo:
            return
        costs = self.home.table("allocated_costs")
        for month in todo:
            if month in self._months:
                of_month = [costs.location(f) for f in self._months[month]]
                self.engine.bind_files(_COSTS, costs.table, of_month)
                for name, wanted in self._wanted.items():
                    write = partial(self.engine.write, summary_sql(name))
                    self.home.table(name).make(wanted[month], write)
        for name, wanted in self._wanted.items():
            files = [wanted[month] for month in todo if month in wanted]
            self.home.table(name).replace([(month,) for month in todo], files)
