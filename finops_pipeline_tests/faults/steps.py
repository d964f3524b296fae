"""The steps of a whole run without Dagster, each doing what the assets of its stage do.

A step takes the pipeline and brings its stage up to date. What is not done is an error: a run after
a kill must come to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod

import duckdb

from finops_pipeline.actuate.run import Actuate
from finops_pipeline.ingest.compartments import read_compartments, store_compartments
from finops_pipeline.ingest.run import Ingest
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.store.catalogue import begin_catalogue, publish_catalogue, refresh_catalogue
from finops_pipeline.store.rollups import Rollups
from finops_pipeline_tests.faults.world import NOW


class StepBroken(Exception):
    """A step did not do all its work."""


def ingest(pipeline: Pipeline) -> None:
    """Archive every report, with its control totals."""
    for source in pipeline.settings.sources:
        with pipeline.working_on(source.name), pipeline.engine() as engine:
            inventory = pipeline.home.table("compartments")
            store_compartments(inventory, source.name, read_compartments(source))
            stage = pipeline.ingest(source, engine)
            done = stage.run(stage.new_reports())
        _hold([*done.failed, *(str(e.problem) for e in done.unreadable)])


def normalize(pipeline: Pipeline) -> None:
    """Map every report to FOCUS and choose the rows of every charge day."""
    for source in pipeline.settings.sources:
        with pipeline.working_on(source.name), pipeline.engine() as engine:
            stage = pipeline.normalize(source, engine)
            results = stage.run(stage.stale_days())
            left = pipeline.normalize(source, engine).stale_days()
        _hold([p for r in results for p in r.problems] + [f"{d} is still stale" for d in left])


def store(pipeline: Pipeline) -> None:
    """Decide the owners of every charge day, split what is shared, store the cost lake."""
    for source in pipeline.settings.sources:
        with pipeline.working_on(source.name), pipeline.engine() as engine:
            stage = pipeline.store(source, engine)
            results = stage.run(stage.stale_days())
            left = pipeline.store(source, engine).stale_days()
        _hold([p for r in results for p in r.problems] + [f"{d} is still stale" for d in left])


def rollups(pipeline: Pipeline) -> None:
    """Roll up what is stored."""
    with pipeline.working_on("company"), pipeline.engine() as engine:
        stage = Rollups(pipeline.home, engine)
        stage.run(stage.stale_days())


def actuate(pipeline: Pipeline) -> None:
    """Work out the budgets and send what there is to say."""
    with pipeline.working_on("company"), pipeline.engine() as engine:
        stage = Actuate(pipeline.home, engine, pipeline.settings)
        stage.run(stage.stale_days())


def catalogue(pipeline: Pipeline) -> None:
    """Point the catalogue at it all."""
    with pipeline.working_on("company"):
        begin_catalogue(pipeline.home)
        with duckdb.connect(str(pipeline.home.warehouse_draft)) as connection:
            refresh_catalogue(pipeline.home, connection)
        publish_catalogue(pipeline.home)


# In the order of a run. What tidies the lake up (compaction, retention) joins at the end.
STEPS: tuple[Callable[[Pipeline], None], ...] = (
    ingest,
    normalize,
    store,
    rollups,
    actuate,
    catalogue,
)


def fix_the_clock() -> None:
    """Let every ingest of this process say the same time, so that ledgers can be compared."""
    Ingest.__init__ = partialmethod(Ingest.__init__, clock=lambda: NOW)  # type: ignore[assignment]


def _hold(problems: list[str]) -> None:
    if problems:
        raise StepBroken("\n".join(problems[:10]))
