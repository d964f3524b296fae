"""A company of two small sources below a folder, and ways to run its assets for real."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline.config import Budget, Settings, Source
from finops_pipeline.orchestration.build import build_definitions
from finops_pipeline.orchestration.materialize import failure_of
from finops_pipeline.orchestration.partitions import range_tags
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.orchestration.run import Run, RunReport, Wanted
from finops_pipeline_tests.normalize.pipeline import line, lines

FIRST = date(2025, 1, 1)
CHAIN = ("raw_reports", "focus_costs", "rejected_rows", "ownership", "shares", "allocated_costs")
COMPANY = ("daily_totals", "budget_status", "warehouse")
_PLACES = {"acme-oci": "reports/cost-csv", "acme-eu": "FOCUS Reports"}
_FORMATS = {"acme-oci": "oci_cost_csv", "acme-eu": "oci_focus"}
_SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def day(number: int) -> date:
    """A day of January 2025."""
    return FIRST + timedelta(days=number - 1)


def asset(name: str, source: str = "acme_oci") -> dg.AssetKey:
    """The key of an asset of a source."""
    return dg.AssetKey([source, name])


@dataclass
class Company:
    """Where the reports lie, and what is configured over them."""

    folder: Path
    sources: tuple[str, ...] = ("acme-oci",)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings, as finops.yaml would give them."""
        budget = Budget(name="all", amount=Decimal(1000))
        given = {"first_day": FIRST, "budgets": (budget,), **self.options}
        sources = tuple(
            Source(name=s, format=_FORMATS[s], location=f"file:{self.folder / s}")
            for s in self.sources
        )
        return Settings(home=self.folder / "home", sources=sources, **given)

    @property
    def pipeline(self) -> Pipeline:
        """The stages, as if in a new process."""
        return Pipeline(self.settings)

    def place(self, source: str = "acme-oci") -> Path:
        """Where a source's reports lie."""
        place = self.folder / source / _PLACES[source]
        place.mkdir(parents=True, exist_ok=True)
        return place

    def charge(
        self, on: date, cost: str = "1.5", source: str = "acme-oci", **values: str
    ) -> dict[str, str]:
        """A charge of a day, as a report of the source writes it."""
        start, end = f"{on}T10:00Z", f"{on}T11:00Z"
        given = {"ref": f"{on} {cost}", "start": start, "end": end, "cost": cost, **values}
        if source == "acme-eu":  # elsewhere: of one place the two formats would tell one bill
            given = {"oci_CompartmentId": "ocid1.compartment.oc1..eu"} | given
        return line(_FORMATS[source], **given)

    def deliver(self, name: str, *rows: dict[str, str], on: date, source: str = "acme-oci") -> Path:
        """A report of these rows, delivered on that day."""
        return self.deliver_bytes(name, lines(*rows), on=on, source=source)

    def deliver_bytes(
        self, name: str, content: bytes, *, on: date, source: str = "acme-oci"
    ) -> Path:
        """A report as it is, delivered on that day."""
        path = self.place(source) / f"{name}.csv.gz"
        path.write_bytes(content)
        noon = datetime(on.year, on.month, on.day, 12, tzinfo=UTC).timestamp()
        os.utime(path, (noon, noon))
        return path

    def deliver_days(self, *numbers: int, source: str = "acme-oci") -> None:
        """For each of these days a report of one charge, delivered the day it is charged."""
        for n in numbers:
            self.deliver(f"r{n:02}", self.charge(day(n), source=source), on=day(n), source=source)

    def days(self, number: int) -> list[date]:
        """The first days."""
        return [day(n) for n in range(1, number + 1)]

    def definitions(self) -> dg.Definitions:
        """What Dagster is told."""
        return build_definitions(self.settings)

    def materialize(
        self,
        instance: dg.DagsterInstance,
        start: date,
        end: date,
        names: Sequence[str] = CHAIN,
        source: str = "acme_oci",
        as_range: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """Run assets for a range of days, or for the first of them alone, as the UI would."""
        definitions = self.definitions()
        return dg.materialize(
            [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)],
            selection=[asset(n, source) for n in names],
            instance=instance,
            resources=definitions.resources,
            tags=range_tags(start, end) if as_range else None,
            partition_key=None if as_range else start.isoformat(),
            run_config=_SILENT,
            raise_on_error=False,
        )

    def materialize_reports(self, start: date, end: date) -> None:
        """Ingest delivery days, and no more."""
        with dg.DagsterInstance.ephemeral() as instance:
            assert self.materialize(instance, start, end, CHAIN[:1]).success

    def run(self, **wanted: Any) -> RunReport:
        """`finops run`, without the command."""
        return Run(self.settings, Wanted(**wanted), lambda _: None).run()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table of the lake, by Delta's log and Parquet's own reader."""
        files = DeltaTable(self.folder / "home" / "lake" / table).file_uris()
        return [row for f in sorted(files) for row in pq.ParquetFile(f).read().to_pylist()]

    def costs(self) -> dict[date, Decimal]:
        """The billed cost of each charge day, as allocated."""
        found: dict[date, Decimal] = {}
        for row in self.rows("allocated_costs"):
            on = row["x_ChargeDay"]
            found[on] = found.get(on, Decimal(0)) + row["BilledCost"]
        return dict(sorted(found.items()))

    def versions(self) -> dict[str, int]:
        """The version of each table of the lake."""
        lake = self.folder / "home" / "lake"
        return {root.name: DeltaTable(root).version() for root in sorted(lake.iterdir())}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What each failed step said of itself."""
    return {str(e.step_key): failure_of(e) for e in result.get_step_failure_events()}
