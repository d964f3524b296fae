"""The steps of a whole run without Dagster, each holding the locks that its assets hold.

A step takes the pipeline and brings its stage up to date. What is not done is an error: a run after
a kill must come to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partialmethod
from typing import Any

from benchmarks import stages
from finops_pipeline.ingest.run import Ingest
from finops_pipeline.lake.maintain import Maintained, maintain
from finops_pipeline.orchestration import maintenance as weekly
from finops_pipeline.orchestration.findings import findings, tell
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline_tests.faults.world import NOW

LATER = timedelta(days=400)  # when all that can be forgotten is


def ingest(pipeline: Pipeline) -> None:
    """Archive every report, with its control totals, and tell what the ledger finds."""
    for source in pipeline.settings.sources:
        with pipeline.working_on(source.name):
            stages.ingest(pipeline, source)
        tell(pipeline, findings(pipeline, source))


def normalize(pipeline: Pipeline) -> None:
    """Map every report to FOCUS and choose the rows of every charge day."""
    for source in pipeline.settings.sources:
        with pipeline.working_on(source.name):
            stages.normalize(pipeline, source)


def store(pipeline: Pipeline) -> None:
    """Decide the owners of every charge day, split what is shared, store the cost lake."""
    for source in pipeline.settings.sources:
        with pipeline.working_on(source.name):
            stages.store(pipeline, source)


def rollups(pipeline: Pipeline) -> None:
    """Roll up what is stored."""
    with pipeline.working_on("company"), pipeline.engine() as engine:
        stages.rollups(pipeline, engine)


def actuate(pipeline: Pipeline) -> None:
    """Work out the budgets and send what there is to say."""
    with pipeline.working_on("company"), pipeline.engine() as engine:
        stages.actuate(pipeline, engine)


def catalogue(pipeline: Pipeline) -> None:
    """Point the catalogue at it all."""
    with pipeline.working_on("company"):
        stages.catalogue(pipeline)


def maintenance(pipeline: Pipeline) -> None:
    """Remove what nothing needs."""
    weekly.run_maintenance(pipeline.settings)


# In the order of a run.
STEPS: tuple[Callable[[Pipeline], None], ...] = (
    ingest,
    normalize,
    store,
    rollups,
    actuate,
    catalogue,
    maintenance,
)


def fix_the_clock() -> None:
    """Let every ingest of this process say the same time, so that ledgers can be compared.

    Maintenance comes so much later that it removes whatever the newest version does not need.
    """
    Ingest.__init__ = partialmethod(Ingest.__init__, clock=lambda: NOW)  # type: ignore[assignment]

    def later(home: Any, now: datetime, *more: Any) -> Maintained:
        return maintain(home, now + LATER, *more)

    weekly.maintain = later
