"""The whole pipeline without Dagster, from reports to budgets, on the engine configured."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline.actuate.run import Actuate
from finops_pipeline.config import Settings
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.spark_session import open_session, stop_spark
from finops_pipeline.ingest.scopes import read_scopes, store_scopes
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.store.rollups import Rollups

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
Row = tuple[tuple[str, Any], ...]


def bring_in(settings: Settings) -> dict[str, int]:
    """Run every stage for what is new or stale; returns the days that each worked on."""
    pipeline = Pipeline(settings)
    done = dict.fromkeys(("ingest", "normalize", "store", "rollups", "actuate"), 0)
    with pipeline.engine() as engine:
        for cluster in settings.clusters:
            assert not pipeline.usage(cluster).load([]).problems
        for source in settings.sources:
            if found := read_scopes(source):
                store_scopes(pipeline.home.table("compartments"), source.name, found)
            ingest = pipeline.ingest(source, engine)
            ingest.clock = lambda: NOW
            ingested = ingest.run(ingest.new_reports())
            assert not ingested.failed
            done["ingest"] += len(ingested.archived)
            normalize = pipeline.normalize(source, engine)
            normalized = normalize.run(normalize.stale_days())
            problems = [p for day in normalized for p in day.problems]
            assert not problems, problems
            done["normalize"] += len(normalized)
            store = pipeline.store(source, engine)
            stored = store.run(store.stale_days())
            problems = [p for day in stored for p in day.problems]
            assert not problems, problems
            done["store"] += len(stored)
        rollups = Rollups(pipeline.home, engine)
        done["rollups"] = len(rollups.run(rollups.stale_days()))
        actuate = Actuate(pipeline.home, engine, settings)
        done["actuate"] = len(actuate.run(actuate.stale_days()))
    return done


def lake(settings: Settings) -> dict[str, list[Row]]:
    """Every row of every table, all columns, in an order of their own; read without an engine."""
    return {name: rows(settings, name) for name in tables()}


def rows(settings: Settings, name: str) -> list[Row]:
    """Every row of a table, in the order of its text."""
    found = [
        row for file in files(settings, name) for row in pq.ParquetFile(file).read().to_pylist()
    ]
    return sorted((tuple(row.items()) for row in found), key=repr)


def files(settings: Settings, name: str) -> list[str]:
    """The files of a table, by Delta's log."""
    root = settings.home / "lake" / name
    return sorted(DeltaTable(root).file_uris()) if DeltaTable.is_deltatable(str(root)) else []


def schemas(settings: Settings, name: str) -> set[tuple[tuple[str, pa.DataType], ...]]:
    """The columns and types that a table's files have."""
    return {tuple((c.name, c.type) for c in pq.read_schema(f)) for f in files(settings, name)}


if __name__ == "__main__":  # settings as JSON on stdin: in a process with a Spark of its own
    given = Settings.model_validate(json.load(sys.stdin))
    print(bring_in(given))
    if given.engine == "spark":
        context = open_session(given.spark_master, given.spark_config).sparkContext
        print(context.master, context.defaultParallelism)
        stop_spark()
