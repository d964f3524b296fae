"""The stages of one configured pipeline, ready to run: what assets and commands both call.

It only puts settings, home and engine together; what a stage does is in the stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from finops_pipeline.allocate.load import load_rules
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.config import WORK, Cluster, Settings, Source
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.engine.kept import keep_in
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.cluster_usage import ClusterUsage
from finops_pipeline.ingest.ledger import Known, Ledger
from finops_pipeline.ingest.location import Location, open_location
from finops_pipeline.ingest.run import Ingest
from finops_pipeline.ingest.scopes import stored_paths
from finops_pipeline.lake.home import Home
from finops_pipeline.normalize.overlap import (
    copies,
    overlaps,
    tells_the_same_bill,
    told_by_former,
)
from finops_pipeline.normalize.rates import Rates
from finops_pipeline.normalize.run import Normalize
from finops_pipeline.normalize.stage import Stager
from finops_pipeline.store.run import Store


def usage_lock(cluster: Cluster) -> str:
    """What a run holds that changes the usage of a cluster."""
    return f"cluster {cluster.name}"


@dataclass(frozen=True)
class Pipeline:
    """A pipeline as `finops.yaml` describes it."""

    settings: Settings

    @cached_property
    def home(self) -> Home:
        """Where everything lies."""
        s = self.settings
        home = Home(s.home) if isinstance(s.home, Path) else Home(s.work or WORK, s.home)
        keep_in(home.compiled)
        return home

    @cached_property
    def rules(self) -> Rules:
        """The rule set. Raises ConfigError."""
        return load_rules(self.settings.rules)

    @cached_property
    def rates(self) -> Rates:
        """Exchange rates into the reporting currency. Raises ConfigError."""
        s = self.settings
        return Rates(s.reporting_currency, s.rates, s.rate_max_age_days)

    def partition_of(self, day: date) -> date:
        """The partition that a day is worked in: days before the first are worked with the first.

        Reports that were delivered before it are in the bucket all the same, and what they hold
        is rejected on the day of their delivery.
        """
        return max(day, self.settings.first_day)

    def days_in(self, partitions: Iterable[date], known: Iterable[date]) -> list[date]:
        """The days of these partitions, and those known ones that are worked with them."""
        wanted = set(partitions)
        return sorted(wanted | {d for d in known if self.partition_of(d) in wanted})

    def engine(self) -> Engine:
        """A new engine; use it as a context. Raises ConfigError when Spark is missing."""
        s = self.settings
        if s.engine == "spark":
            from finops_pipeline.engine.spark import SparkEngine

            return SparkEngine(s.spark_master, s.spark_config, self.home.spool / "spark")
        return DuckDBEngine(s.memory_limit, self.home.spool / "duckdb", self.home.filesystem)

    @contextmanager
    def engines(self, most: int) -> Iterator[list[Engine]]:
        """Engines for that many threads, which share one memory limit; Spark has one for all."""
        with ExitStack() as opened:
            first = opened.enter_context(self.engine())
            engines = [first]
            if isinstance(first, DuckDBEngine):
                engines += [opened.enter_context(first.beside()) for _ in range(most - 1)]
            yield engines

    @contextmanager
    def working_on(self, source: str) -> Iterator[None]:
        """Hold the source for one run: a second one waits, whichever process it is in."""
        with FileLock(self.home.lock(source)):
            yield

    def ledger(self, source: Source) -> Ledger:
        """The source's ledger as it is now."""
        return Ledger(self.home.table("reports"), source.name, self._reports)

    @cached_property
    def _reports(self) -> Known:
        """What was read of the ledger: a year of it is a file a day, and it is opened often."""
        return {}

    def ingest(self, source: Source, engine: Engine) -> Ingest:
        """Ingest for a source. Raises IngestError."""
        ledger = self.ledger(source)
        return Ingest(
            source,
            self._location(source, ledger),
            ledger,
            self.home.archive,
            engine,
            self.home.spool,
        )

    def _location(self, source: Source, ledger: Ledger) -> Location:
        place = open_location(source, ledger.latest)
        if source.location.startswith("file:"):
            return place
        # Imported only here: a directory needs none.
        from finops_pipeline.ingest.breaker import GuardedLocation

        return GuardedLocation(place, self.home.path / "breakers" / f"{source.name}.json")

    def usage(self, cluster: Cluster) -> ClusterUsage:
        """Ingest for the usage of a cluster."""
        return ClusterUsage(self.home, cluster)

    def normalize(self, source: Source, engine: Engine) -> Normalize:
        """Normalize for a source."""
        stager = Stager(
            self.home,
            source.name,
            engine,
            self.rates,
            stored_paths(self.home.table("compartments"), source.name),
            self.settings.first_day,
        )
        ledger = self.ledger(source)
        refused = self._told_before(source, ledger)
        return Normalize(self.home, source, ledger, engine, stager, refused)

    def _told_before(self, source: Source, ledger: Ledger) -> dict[date, str]:
        """The days that another source tells too: one before it in finops.yaml, or a former one."""
        ours = ledger.live()
        found: dict[date, str] = {}
        for other in self.settings.sources:
            if other.name == source.name:
                break
            if tells_the_same_bill(source, other):
                found |= overlaps(ours, other, self.ledger(other).live())
            elif other.format == source.format:
                found |= copies(ours, other, self.ledger(other).live())
        books = self.home.table("conservation")
        for name in self._former():
            made = [date.fromisoformat(f.partition[1]) for f in books.files(name)]
            theirs = Ledger(self.home.table("reports"), name, self._reports).live()
            found |= told_by_former(ours, name, theirs, made)
        return found

    def _former(self) -> list[str]:
        """Sources that the lake has figures of and that finops.yaml names no more."""
        known = {f.partition[0] for f in self.home.table("reports").files()}
        return sorted(known - {s.name for s in self.settings.sources})

    def store(self, source: Source, engine: Engine) -> Store:
        """Allocate and Store for a source."""
        return Store(self.home, source.name, engine, self.rules)
