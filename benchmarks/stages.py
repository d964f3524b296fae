"""The stages without Dagster: each is a process of its own on the same home.

`python -m benchmarks.stages WHICH CONFIG FACTS` does what the asset of the same stage does, and
writes to FACTS what it did and the CPU seconds that it took after everything was imported. The
tests of kills and of full disks take the same steps.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import duckdb

from finops_pipeline import process
from finops_pipeline.actuate.run import Actuate
from finops_pipeline.config import Source, load_settings
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.scopes import read_scopes, store_scopes
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.store.catalogue import begin_catalogue, publish_catalogue, refresh_catalogue
from finops_pipeline.store.rollups import Rollups


class StageBroken(Exception):
    """A stage did not do all its work: then its time means nothing."""


def ingest(pipeline: Pipeline, source: Source) -> dict[str, int]:
    """Archive every report, with its control totals."""
    store_scopes(pipeline.home.table("compartments"), source.name, read_scopes(source))
    with pipeline.engine() as engine:
        stage = pipeline.ingest(source, engine)
        done = stage.run(stage.new_reports())
    _hold([*done.failed, *(str(e.problem) for e in done.unreadable)])
    return {"rows": sum(e.rows for e in done.archived), "reports": len(done.archived)}


def normalize(pipeline: Pipeline, source: Source) -> dict[str, int]:
    """Map every report to FOCUS and choose the rows of every charge day."""
    with pipeline.engine() as engine:
        stage = pipeline.normalize(source, engine)
        results = stage.run(stage.stale_days())
        left = pipeline.normalize(source, engine).stale_days()
    _hold([p for r in results for p in r.problems] + [f"{day} is still stale" for day in left])
    books = [b for r in results for b in r.books]
    rows = {k: sum(b[f"{k}_rows"] for b in books) for k in ("delivered", "superseded", "rejected")}
    return {"rows": rows.pop("delivered"), "charges": sum(r.rows for r in results), **rows}


def store(pipeline: Pipeline, source: Source) -> dict[str, int]:
    """Decide the owners of every charge day, split what is shared, store the cost lake."""
    with pipeline.engine() as engine:
        stage = pipeline.store(source, engine)
        results = stage.run(stage.stale_days())
        left = pipeline.store(source, engine).stale_days()
    _hold([p for r in results for p in r.problems] + [f"{day} is still stale" for day in left])
    return {"figures": sum(r.rows for r in results), "days": len(results)}


def company(pipeline: Pipeline, source: Source) -> dict[str, int]:
    """Roll up, work out the budgets, and point the catalogue at it all."""
    with pipeline.engine() as engine:
        return {**rollups(pipeline, engine), **actuate(pipeline, engine), **catalogue(pipeline)}


def rollups(pipeline: Pipeline, engine: Engine) -> dict[str, int]:
    """Roll up what is stored."""
    stage = Rollups(pipeline.home, engine)
    return {"totals": sum(stage.run(stage.stale_days()).values())}


def actuate(pipeline: Pipeline, engine: Engine) -> dict[str, int]:
    """Work out the budgets and send what there is to say."""
    stage = Actuate(pipeline.home, engine, pipeline.settings)
    return {"statuses": sum(map(len, stage.run(stage.stale_days()).values()))}


def catalogue(pipeline: Pipeline) -> dict[str, int]:
    """Point the catalogue at it all."""
    begin_catalogue(pipeline.home)
    with duckdb.connect(str(pipeline.home.warehouse_draft)) as connection:
        files = refresh_catalogue(pipeline.home, connection)
    publish_catalogue(pipeline.home)
    return {"files": sum(files.values())}


def _hold(problems: list[str]) -> None:
    if problems:
        raise StageBroken("\n".join(problems[:10]))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


STEPS = {f.__name__: f for f in (ingest, normalize, store, company)}


def main(which: str, config: Path, facts: Path) -> None:
    """Run one stage."""
    process.tune()
    begin = _cpu()
    pipeline = Pipeline(load_settings(config))
    found = STEPS[which](pipeline, pipeline.settings.sources[0])
    facts.write_text(json.dumps({**found, "work_cpu": _cpu() - begin}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
