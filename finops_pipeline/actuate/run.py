"""Actuate charge days: the status of every budget, and one event for each threshold reached.

Events are recorded before the status is committed and delivered after it, so that a run that dies
in between sends each event once when it is run again. What a budget means is in `budgets.py`, how
an event is sent once in `outbox.py`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal

import pyarrow as pa

from finops_pipeline.actuate.budgets import BudgetStatus, DailySpend, crossings, status
from finops_pipeline.actuate.events import threshold_crossed
from finops_pipeline.actuate.outbox import Outbox
from finops_pipeline.actuate.sinks import FileSink
from finops_pipeline.config import Budget, Settings
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.query.answer import ask
from finops_pipeline.query.model import CostQuery


class Actuate:
    """The means to actuate charge days of the whole company."""

    def __init__(self, home: Home, engine: Engine, settings: Settings) -> None:
        self.home = home
        self.engine = engine
        self.settings = settings
        self._costs: dict[str, list[LakeFile]] = defaultdict(list)
        for file in home.table("allocated_costs").files():
            self._costs[file.partition[2]].append(file)

    def stale_days(self) -> list[date]:
        """The charge days whose status is not made from what is stored now, in order.

        A day counts its month so far, so a changed day makes all later days of its month stale.
        The last day counts too while events wait: a run died, or a sink refused, before they went.
        """
        made = {f.partition[0]: f.fingerprint for f in self.home.table("budget_status").files()}
        wanted = {day: self._fingerprint(day) for day in self._costs if self.settings.budgets}
        stale = {d for d in made.keys() | wanted.keys() if made.get(d) != wanted.get(d)}
        if self.outbox().waiting(self.file_sink().name):
            stale |= set(sorted(wanted)[-1:])
        return [date.fromisoformat(d) for d in sorted(stale)]

    def run(self, days: Sequence[date]) -> dict[date, list[BudgetStatus]]:
        """Work out these charge days; returns the status of every budget on each."""
        statuses: dict[date, list[BudgetStatus]] = {day: [] for day in sorted(days)}
        events = []
        for month, month_days in _by_month(days).items():
            for budget in self.settings.budgets:
                spend = self._spend(budget, month, max(month_days))
                for day in month_days:
                    if day.isoformat() in self._costs:
                        statuses[day].append(self._status(budget, spend, day))
                crossed = crossings(budget, self._currency, spend, max(month_days))
                events += [threshold_crossed(c) for c in crossed]
        box = self.outbox()
        box.record(events)
        self._commit(statuses)
        box.deliver([self.file_sink()])
        return statuses

    def outbox(self) -> Outbox:
        """Where events wait to be sent, and what was sent is remembered."""
        return outbox(self.home)

    def file_sink(self) -> FileSink:
        """The sink that writes one line an event."""
        return file_sink(self.home)

    @property
    def _currency(self) -> str:
        return self.settings.reporting_currency

    def _status(self, budget: Budget, spend: list[DailySpend], day: date) -> BudgetStatus:
        return status(budget, self._currency, spend, day)

    def _spend(self, budget: Budget, month: date, until: date) -> list[DailySpend]:
        query = CostQuery(
            metric=budget.metric, by=("day",), filters=budget.filters, since=month, until=until
        )
        answer = ask(self.home, self.engine, query)
        return [
            DailySpend(date.fromisoformat(str(day)), Decimal(str(cost)))
            for day, cost in answer.rows
        ]

    def _fingerprint(self, day: str) -> str:
        so_far = [
            (d, f.fingerprint, f.partition)
            for d, files in sorted(self._costs.items())
            if d[:7] == day[:7] and d <= day
            for f in files
        ]
        made_from = (so_far, [b.model_dump_json() for b in self.settings.budgets], self._currency)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:32]

    def _commit(self, statuses: dict[date, list[BudgetStatus]]) -> None:
        table = self.home.table("budget_status")
        schema = arrow_schema(tables()["budget_status"])
        files = []
        for day, found in statuses.items():
            if found:
                file = LakeFile((day.isoformat(),), self._fingerprint(day.isoformat()))
                rows = [{**asdict(s), "crossed": [str(t) for t in s.crossed]} for s in found]
                files.append(table.write(file, pa.Table.from_pylist(rows, schema=schema)))
        table.replace([(day.isoformat(),) for day in statuses], files)


def outbox(home: Home) -> Outbox:
    """The outbox of a home."""
    return Outbox(home.outbox, home.path / "outbox")


def file_sink(home: Home) -> FileSink:
    """The sink of a home that writes one line an event."""
    return FileSink(home.path / "events.jsonl")


def _by_month(days: Sequence[date]) -> dict[date, list[date]]:
    found: dict[date, list[date]] = defaultdict(list)
    for day in sorted(days):
        found[day.replace(day=1)].append(day)
    return found
