"""Whether a source's costs are as new as they should be, asked each evening.

Dagster's own policies do not look at partitions, so that an old day that is rebuilt would make a
late source look fresh; its check of partitions would want the costs of a day that is not over.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from finops_pipeline.config import Source
from finops_pipeline.orchestration.assets import key
from finops_pipeline.orchestration.pipeline import Pipeline

DEADLINE = 18  # by this hour (UTC) yesterday's costs should be there


def expected_day(now: datetime) -> date:
    """The newest charge day that should be there by now."""
    return (now - timedelta(hours=DEADLINE, days=1)).date()


def freshness_check(pipeline: Pipeline, source: Source) -> dg.AssetChecksDefinition:
    """The check that a source is not late. It warns: what is there stays as good as it is."""

    @dg.asset_check(
        asset=key(source, "allocated_costs"),
        name="fresh",
        description=f"Yesterday's costs are there by {DEADLINE}:00 UTC.",
    )
    def fresh() -> dg.AssetCheckResult:
        expected = expected_day(datetime.now(UTC)).isoformat()
        files = pipeline.home.table("allocated_costs").files(source.name)
        newest = max((f.partition[2] for f in files), default=None)
        late = newest is None or newest < expected
        return dg.AssetCheckResult(
            passed=not late,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"newest charge day": newest or "none", "expected": expected},
            description=f"no costs after {newest}: `finops doctor` tells whether reports come"
            if late
            else None,
        )

    return fresh


def freshness_schedule(checks: list[dg.AssetChecksDefinition]) -> dg.ScheduleDefinition:
    """Each evening at the deadline."""
    return dg.ScheduleDefinition(
        name="freshness",
        cron_schedule=f"0 {DEADLINE} * * *",
        execution_timezone="UTC",
        target=dg.AssetSelection.checks(*checks),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks of every source whether yesterday's costs are there.",
    )
