"""Dagster definitions made from settings: each source's chain, the company, automation."""

from __future__ import annotations

import dagster as dg
from dagster_duckdb import DuckDBResource

from finops_pipeline.config import Settings
from finops_pipeline.orchestration.assets import key, source_assets
from finops_pipeline.orchestration.automation import (
    daily_schedule,
    new_reports_sensor,
    stale_days_sensor,
)
from finops_pipeline.orchestration.company import company_assets
from finops_pipeline.orchestration.partitions import daily
from finops_pipeline.orchestration.pipeline import Pipeline

_DEADLINE = "0 18 * * *"  # by then yesterday's costs should be there


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that Dagster is to know of these settings."""
    pipeline = Pipeline(settings)
    days = daily(settings.first_day)
    assets = [a for s in settings.sources for a in source_assets(pipeline, s, days)]
    if settings.sources:
        assets += company_assets(pipeline, days)
    sensors = [
        sensor
        for source in settings.sources
        for sensor in (new_reports_sensor(pipeline, source), stale_days_sensor(pipeline, source))
    ]
    freshness = [
        check
        for source in settings.sources
        # The newer freshness policies do not look at partitions: an old day that is rebuilt would
        # make a late source look fresh.
        for check in dg.build_time_partition_freshness_checks(
            assets=[key(source, "allocated_costs")],
            deadline_cron=_DEADLINE,
            timezone="UTC",
            severity=dg.AssetCheckSeverity.WARN,
        )
    ]
    return dg.Definitions(
        assets=assets,
        asset_checks=freshness,
        schedules=[daily_schedule(pipeline)] if settings.sources else [],
        sensors=sensors,
        executor=dg.in_process_executor,
        resources={"catalogue": DuckDBResource(database=str(pipeline.home.warehouse))},
    )
