"""Dagster definitions from settings: every source's chain, the company's assets, automation."""

from __future__ import annotations

import dagster as dg
from dagster_duckdb import DuckDBResource

from finops_pipeline.config import Settings
from finops_pipeline.orchestration.assets import source_assets
from finops_pipeline.orchestration.automation import (
    company_sensor,
    daily_schedule,
    new_reports_sensor,
    stale_days_sensor,
)
from finops_pipeline.orchestration.clusters import cluster_assets
from finops_pipeline.orchestration.company import company_assets
from finops_pipeline.orchestration.freshness import freshness_check, freshness_schedule
from finops_pipeline.orchestration.maintenance import maintenance_asset, maintenance_schedule
from finops_pipeline.orchestration.partitions import daily
from finops_pipeline.orchestration.pipeline import Pipeline


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that Dagster is to know of these settings; nothing where no source is."""
    if not settings.sources:
        return dg.Definitions(executor=dg.in_process_executor)
    pipeline = Pipeline(settings)
    days = daily(settings.first_day)
    assets = [a for s in settings.sources for a in source_assets(pipeline, s, days)]
    sensors = [company_sensor(pipeline)]
    for source in settings.sources:
        sensors += [new_reports_sensor(pipeline, source), stale_days_sensor(pipeline, source)]
    freshness = [freshness_check(pipeline, s) for s in settings.sources]
    return dg.Definitions(
        assets=[
            *assets,
            *cluster_assets(pipeline, days),
            *company_assets(pipeline, days),
            maintenance_asset(settings),
        ],
        asset_checks=freshness,
        schedules=[
            daily_schedule(pipeline),
            freshness_schedule(freshness),
            maintenance_schedule(),
        ],
        sensors=sensors,
        executor=dg.in_process_executor,
        resources={"catalogue": DuckDBResource(database=str(pipeline.home.warehouse_draft))},
    )
