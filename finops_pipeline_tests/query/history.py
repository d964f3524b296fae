"""A company that learns of its charges in steps, through the real stages without Dagster.

What was known after each step is read back by Delta's own reader and summed in plain Python.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline.config import Settings, Source
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline_tests.normalize.pipeline import line, lines
from finops_pipeline_tests.query.made_lake import read

EXACT = Context(prec=100)
Names = tuple[str | None, ...]


def day(number: int) -> date:
    """A day of January 2025."""
    return date(2025, 1, number)


def charge(team: str | None, cost: str, ref: str, on: int = 2, **values: str) -> Mapping[str, str]:
    """A charge of a day of January 2025, tagged with a team."""
    period = {"start": f"{day(on)}T10:00Z", "end": f"{day(on)}T11:00Z"}
    return line("oci_cost_csv", ref=ref, cost=cost, **period, **{"tags/team": team or ""}, **values)


def moment() -> datetime:
    """A moment that no commit shares: the log counts in milliseconds."""
    time.sleep(0.003)
    found = datetime.now(UTC)
    time.sleep(0.003)
    return found


@dataclass
class History:
    """One source below a folder, and the moment and the version of the costs after each step."""

    folder: Path
    corrections: Literal["add", "replace"] = "add"
    steps: list[tuple[datetime, int]] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        """The stages, as if in a new process."""
        files = {
            name: path
            for name, path in (
                ("rules", self.folder / "rules.yaml"), ("rates", self.folder / "rates.csv")
            )
            if path.exists()
        }  # fmt: skip
        source = Source(
            name="acme",
            format="oci_cost_csv",
            location=f"file:{self.folder / 'in'}",
            corrections=self.corrections,
        )
        settings = {"home": self.folder / "home", "first_day": day(1), "sources": (source,)}
        return Pipeline(Settings.model_validate({**settings, **files}))

    def rules(self, text: str) -> None:
        """Other allocation rules from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rules.yaml").write_text(text, encoding="utf-8")

    def rates(self, *rows: str) -> None:
        """Other exchange rates from now on: `date,from,to,rate`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join(["date,from,to,rate", *rows, ""])
        (self.folder / "rates.csv").write_text(text, encoding="utf-8")

    def deliver(self, name: str, *rows: Mapping[str, str], on: int = 9) -> None:
        """A report, or a new version of the one of that name."""
        path = self.folder / "in" / "reports" / "cost-csv" / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines(*rows))
        os.utime(path, (datetime(2025, 1, on, 12, tzinfo=UTC).timestamp(),) * 2)

    def step(self, until: Literal["normalize", "store"] = "store") -> datetime:
        """Bring the lake up to date; returns a moment at which it was."""
        (self.folder / "in").mkdir(parents=True, exist_ok=True)
        pipeline = self.pipeline
        source = pipeline.settings.sources[0]
        with pipeline.engine() as engine:
            ingest = pipeline.ingest(source, engine)
            ingest.run(ingest.new_reports())
            normalize = pipeline.normalize(source, engine)
            done: list[Any] = normalize.run(normalize.stale_days())
            if until == "store":
                store = pipeline.store(source, engine)
                done += store.run(store.stale_days())
        assert not [p for result in done for p in result.problems]
        known = moment()
        self.steps.append((known, self.pipeline.home.table("allocated_costs").version()))
        return known

    def costs(self, step: int, by: Sequence[str], column: str) -> dict[Names, Decimal]:
        """The sum of a column by line after that step, by Delta's own reader."""
        found: dict[Names, Decimal] = defaultdict(Decimal)
        version = self.steps[step][1]
        if version < 0:
            return {}
        root = self.folder / "home" / "lake" / "allocated_costs"
        with localcontext(EXACT):
            for uri in DeltaTable(root, version=version).file_uris():
                for row in pq.ParquetFile(uri).read().to_pylist():
                    found[tuple(read(row, name) for name in by)] += row[column] or 0
        return dict(found)
