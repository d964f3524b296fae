"""The assets of the whole company: roll-ups, budgets, and the catalogue, over all sources."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from finops_pipeline.actuate.run import Actuate
from finops_pipeline.contracts.tables import tables
from finops_pipeline.orchestration.assets import OWNERS, RETRIES, key, spec
from finops_pipeline.orchestration.partitions import RANGES, days_of
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.orchestration.reporting import Day, Event, money, report, working_on
from finops_pipeline.store.catalogue import (
    begin_catalogue,
    publish_catalogue,
    refresh_catalogue,
)
from finops_pipeline.store.rollups import Rollups

DAILY_TOTALS = dg.AssetKey(["company", "daily_totals"])
BUDGET_STATUS = dg.AssetKey(["company", "budget_status"])
WAREHOUSE = dg.AssetKey(["company", "warehouse"])


def company_assets(
    pipeline: Pipeline, days: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """The assets that all sources share."""
    costs = [key(s, "allocated_costs") for s in pipeline.settings.sources]
    return [
        _daily_totals(pipeline, costs, days),
        _budget_status(pipeline, costs, days),
        _warehouse(pipeline, days),
    ]


def _daily_totals(
    pipeline: Pipeline, costs: list[dg.AssetKey], days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    described = spec(
        DAILY_TOTALS, tables()["daily_totals"], "store", days, costs, {"deltalake", "duckdb"}
    )

    @dg.multi_asset(
        name="company__daily_totals",
        specs=[described],
        backfill_policy=RANGES,
        retry_policy=RETRIES,
    )
    def daily_totals(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with working_on(pipeline, "company"), pipeline.engine() as engine:
            rollups = Rollups(pipeline.home, engine)
            rows = rollups.run(pipeline.days_in(days_of(context), rollups.stale_days()))
        found = [Day(day, {"dagster/partition_row_count": rows[day]}) for day in days_of(context)]
        yield from report(context, {DAILY_TOTALS: found})

    return daily_totals


def _budget_status(
    pipeline: Pipeline, costs: list[dg.AssetKey], days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    described = spec(
        BUDGET_STATUS, tables()["budget_status"], "actuate", days, costs, {"deltalake", "python"}
    )

    @dg.multi_asset(
        name="company__budget_status",
        specs=[described],
        backfill_policy=RANGES,
        retry_policy=RETRIES,
    )
    def budget_status(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with working_on(pipeline, "company"), pipeline.engine() as engine:
            actuate = Actuate(pipeline.home, engine, pipeline.settings)
            statuses = actuate.run(pipeline.days_in(days_of(context), actuate.stale_days()))
            waiting = len(actuate.outbox().pending(actuate.file_sink().name))
        found = []
        for day in days_of(context):
            of_day = statuses[day]
            metadata: dict[str, Any] = {"budgets": len(of_day), "events waiting": waiting}
            for status in of_day:
                metadata |= money(f"{status.budget} spent", {status.currency: status.spent})
                metadata[f"{status.budget} percent"] = dg.MetadataValue.float(float(status.percent))
            found.append(Day(day, metadata))
        yield from report(context, {BUDGET_STATUS: found})

    return budget_status


def _warehouse(pipeline: Pipeline, days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    described = dg.AssetSpec(
        WAREHOUSE,
        deps=[DAILY_TOTALS, BUDGET_STATUS],
        description="warehouse.duckdb: a view for each table of the lake, for any SQL client.",
        group_name="serve",
        kinds={"duckdb"},
        owners=OWNERS,
        partitions_def=days,
    )

    @dg.multi_asset(
        name="company__warehouse",
        specs=[described],
        backfill_policy=RANGES,
        retry_policy=RETRIES,
    )
    def warehouse(context: dg.AssetExecutionContext, catalogue: DuckDBResource) -> Iterator[Event]:
        with working_on(pipeline, "company"):
            begin_catalogue(pipeline.home)
            with catalogue.get_connection() as connection:
                files = refresh_catalogue(pipeline.home, connection)
            publish_catalogue(pipeline.home)
        metadata = {f"{name} files": count for name, count in files.items()}
        yield from report(context, {WAREHOUSE: [Day(d, metadata) for d in days_of(context)]})

    return warehouse
