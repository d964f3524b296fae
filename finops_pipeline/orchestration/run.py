"""`finops run`: ingest what is new, rebuild what it touched, through the same Dagster assets.

What is due is asked of the ledger and the lake first; where nothing is due, Dagster is not even
imported and nothing is read. The Dagster side is in `materialize.py`, what the books say that a
user must know in `source_problems.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from finops_pipeline.actuate.run import Actuate
from finops_pipeline.config import Cluster, Settings, Source
from finops_pipeline.ingest.location import AccessRefused, IngestError
from finops_pipeline.ingest.scopes import read_scopes, store_scopes
from finops_pipeline.lake.damage import damage
from finops_pipeline.lake.mend import mend
from finops_pipeline.lake.place import LakeDamaged
from finops_pipeline.lake.room import NoRoom, no_room
from finops_pipeline.orchestration.findings import findings, tell
from finops_pipeline.orchestration.materialize import Assets
from finops_pipeline.orchestration.pipeline import Pipeline, usage_lock
from finops_pipeline.orchestration.source_problems import source_problems
from finops_pipeline.store.catalogue import catalogue_is_current
from finops_pipeline.store.rollups import Rollups


@dataclass
class RunReport:
    """What a run did. `problems` are what the user must know and act on: they make it exit 1.
    `findings` are what the new reports tell that is good to know.

    `stopped` is a run that did not come to its end.
    """

    delivered: dict[str, int] = field(default_factory=dict)
    rebuilt: dict[str, list[date]] = field(default_factory=dict)
    company_days: list[date] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopped: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        return {
            "delivered": self.delivered,
            "rebuilt": {k: [d.isoformat() for d in v] for k, v in self.rebuilt.items()},
            "company_days": [d.isoformat() for d in self.company_days],
            "findings": self.findings,
            "problems": self.problems,
        }

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return not any(self.delivered.values()) and not self.rebuilt and not self.company_days


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for: which sources, which days, and whether to look at all of them."""

    sources: Sequence[str] = ()
    since: date | None = None
    until: date | None = None
    full: bool = False

    def covers(self, day: date) -> bool:
        """Whether a day is asked for."""
        return (self.since is None or day >= self.since) and (
            self.until is None or day <= self.until
        )


Progress = Callable[[str], None]


class Run:
    """One `finops run`."""

    def __init__(self, settings: Settings, wanted: Wanted, progress: Progress) -> None:
        self.pipeline = Pipeline(settings)
        self.settings = settings
        self.wanted = wanted
        self.progress = progress
        self.report = RunReport()
        self._assets: Assets | None = None

    def run(self) -> RunReport:
        """Bring every wanted source up to date, then the company; none blocks another.

        A full disk ends the run: it would block them all, each after its own retries. So does a
        lake that is damaged, which `--full` makes again as far as that can be.
        """
        try:
            self._all()
        except Exception as error:
            told: Exception | None = no_room(str(error), self.pipeline.home.path)
            told = told or damage(str(error))
            if isinstance(error, (NoRoom, LakeDamaged)):
                told = error
            if told is None:
                raise
            self.report.stopped = True
            self.report.problems.append(str(told))
        return self.report

    def _all(self) -> None:
        if self.wanted.full:
            self._mend()
        for cluster in self.settings.clusters:
            self._usage(cluster)
        for source in self._sources():
            before = findings(self.pipeline, source)
            try:
                self._ingest(source)
            except IngestError as error:
                self.report.problems.append(str(error))
            delivered = self.report.delivered.get(source.name)
            after = findings(self.pipeline, source) if delivered else before
            tell(self.pipeline, after)
            self.report.findings += [said for said in after if said not in before]
            self._rebuild(source)
        self._company()
        self._findings()

    def _sources(self) -> list[Source]:
        names = self.wanted.sources
        return [self.settings.source(n) for n in names] if names else list(self.settings.sources)

    def _ingest(self, source: Source) -> None:
        self._inventory(source)
        with self.pipeline.engine() as engine:
            new = self.pipeline.ingest(source, engine).new_reports()
        self.report.delivered[source.name] = len(new)
        days = sorted({r.delivered_at.date() for r in new})
        self._materialize(
            f"{source.name}: {len(new)} new reports", [f"{source.slug}/raw_reports"], days
        )

    def _mend(self) -> None:
        with ExitStack() as held:
            for name in [*sorted(s.name for s in self.settings.sources), "company"]:
                held.enter_context(self.pipeline.working_on(name))
            for said in mend(self.pipeline.home):
                self.progress(said)

    def _usage(self, cluster: Cluster) -> None:
        """What ran on a cluster; days without it are split otherwise until it is there."""
        usage = self.pipeline.usage(cluster)
        with self.pipeline.working_on(usage_lock(cluster)):
            today, first = datetime.now(UTC).date(), self.settings.first_day
            due = usage.due(today, first, self.wanted.since)
            loaded = usage.load(self._due(due))
        if loaded.days:
            first, last = min(loaded.days), max(loaded.days)
            self.progress(f"cluster {cluster.name}: {len(loaded.days)} days, {first} to {last}")
        self.report.problems += loaded.problems

    def _inventory(self, source: Source) -> None:
        try:
            found = read_scopes(source)
        except AccessRefused as refusal:
            # Paths are wanted, not needed: charges are kept and owned by their tags.
            self.progress(f"{source.name}: {refusal}")
            return
        except IngestError as error:
            self.report.problems.append(str(error))
            return
        if found:
            with self.pipeline.working_on(source.name):
                store_scopes(self.pipeline.home.table("compartments"), source.name, found)

    def _rebuild(self, source: Source) -> None:
        charges = [f"{source.slug}/{n}" for n in ("focus_costs", "rejected_rows")]
        costs = [f"{source.slug}/{n}" for n in ("ownership", "shares", "allocated_costs")]
        with self.pipeline.engine() as engine:
            normalize = self.pipeline.normalize(source, engine)
            days = self._due(normalize.days() if self.wanted.full else normalize.stale_days())
            todo = set(days) | set(self._due(self.pipeline.store(source, engine).stale_days()))
        if not todo:
            return
        self.report.rebuilt[source.name] = sorted(todo)
        self._materialize(f"{source.name}: {len(todo)} charge days", [*charges, *costs], todo)
        # A broken day keeps the others of its run from their owners: those are done on their own.
        with self.pipeline.engine() as engine:
            left = self._due(self.pipeline.store(source, engine).stale_days())
        self._materialize(f"{source.name}: {len(left)} charge days again", costs, left)

    def _company(self) -> None:
        with self.pipeline.engine() as engine:
            days = set(Rollups(self.pipeline.home, engine).stale_days())
            days |= set(Actuate(self.pipeline.home, engine, self.settings).stale_days())
        self.report.company_days = sorted(days)
        names = ["company/daily_totals", "company/budget_status", "company/warehouse"]
        self._materialize(f"company: {len(days)} days", names, days)
        # Reports and rejected rows come without any cost, and an earlier run may have been stopped.
        if not days and not catalogue_is_current(self.pipeline.home):
            delivered = [f.partition[1] for f in self.pipeline.home.table("reports").files()]
            last = [date.fromisoformat(max(delivered))] if delivered else [self.settings.first_day]
            self._materialize("company: catalogue", ["company/warehouse"], last)

    def _due(self, days: Iterable[date]) -> list[date]:
        return sorted(d for d in days if self.wanted.covers(d))

    def _materialize(self, title: str, assets: Sequence[str], days: Iterable[date]) -> None:
        wanted = sorted({self.pipeline.partition_of(d) for d in days})
        if not wanted:
            return
        if self._assets is None:
            self._assets = Assets(self.settings)
        wanted = self._by_the_clock(title, wanted)
        for start, end in self._assets.ranges(wanted):
            self.progress(f"{title}: {start} to {end}")
            problems = self._assets.materialize(assets, start, end)
            for problem in problems:
                if told := no_room(problem, self.pipeline.home.path) or damage(problem):
                    raise told
            lines = [line for problem in problems for line in problem.splitlines()]
            # One report that cannot be read breaks many days: that is told once.
            self.report.problems += [
                p for p in dict.fromkeys(lines) if p not in self.report.problems
            ]

    def _by_the_clock(self, title: str, days: list[date]) -> list[date]:
        """The days that there can be by this machine's clock; others are a problem of the clock."""
        now = datetime.now(UTC)
        late = [day for day in days if day > now.date() + timedelta(days=1)]
        if late:
            self.report.problems.append(
                f"{title}: left undone from {late[0]} on: by this machine's clock it is "
                f"{now:%Y-%m-%dT%H:%MZ}, and these days are still to come. Set the clock right, "
                "and run again."
            )
        return [day for day in days if day not in late]

    def _findings(self) -> None:
        """What the books say that a user must know, of every wanted source and day."""
        for source in self._sources():
            self.report.problems += source_problems(self.pipeline, source, self.wanted.covers)
