"""When assets run by themselves: each morning, and when reports come or charge days are stale.

What is due is decided by the ledger and the lake, not by a cursor: a sensor that was off for a
week, or a run that failed, leaves nothing behind that the next look would not see.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import dagster as dg

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import IngestError
from finops_pipeline.orchestration.assets import key
from finops_pipeline.orchestration.company import BUDGET_STATUS, DAILY_TOTALS, WAREHOUSE
from finops_pipeline.orchestration.partitions import SOURCE, range_tags, ranges
from finops_pipeline.orchestration.pipeline import Pipeline

_INGEST = ("raw_reports", "compartments")
_CHARGES = ("focus_costs", "rejected_rows", "ownership", "shares", "allocated_costs")


def daily_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Every morning at six (UTC): yesterday's deliveries and charges of every source."""

    @dg.schedule(
        name="daily",
        cron_schedule="0 6 * * *",
        execution_timezone="UTC",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday's deliveries and charges; late ones come by the sensors.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        yesterday = (context.scheduled_execution_time.date() - timedelta(days=1)).isoformat()
        return dg.RunRequest(run_key=yesterday, partition_key=yesterday)

    return daily


def new_reports_sensor(pipeline: Pipeline, source: Source) -> dg.SensorDefinition:
    """Asks for the delivery days on which reports were delivered that the ledger does not know.

    A report that was rewritten under its old name is new, as its change token is.
    """
    assets = [key(source, name) for name in _INGEST]

    @dg.sensor(
        name=f"{source.slug}__new_reports",
        target=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New and rewritten reports of {source.name}.",
    )
    def new_reports(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            with pipeline.engine() as engine:
                new = pipeline.ingest(source, engine).new_reports()
        except IngestError as error:
            return dg.SkipReason(str(error))
        if not new:
            return dg.SkipReason("the ledger knows every report that is listed")
        token = _token(f"{r.name} {r.etag}" for r in new)
        days = [r.delivered_at.date() for r in new]
        return dg.SensorResult(list(_requests(days, token, assets, source)))

    return new_reports


def stale_days_sensor(pipeline: Pipeline, source: Source) -> dg.SensorDefinition:
    """Asks for the charge days that new reports, rules or rates have made stale, however old."""
    assets = [
        *(key(source, name) for name in _CHARGES), DAILY_TOTALS, BUDGET_STATUS, WAREHOUSE
    ]  # fmt: skip

    @dg.sensor(
        name=f"{source.slug}__stale_days",
        target=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Charge days of {source.name} that are not made from what is known now.",
    )
    def stale_days(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with pipeline.engine() as engine:
            normalize = pipeline.normalize(source, engine)
            stale = {day: normalize.fingerprint(day) for day in normalize.stale_days()}
            store = pipeline.store(source, engine)
            stale |= {d: stale.get(d, store.fingerprint(d)) for d in store.stale_days()}
        if not stale:
            return dg.SkipReason("every charge day is made from what is known now")
        token = _token(f"{day} {made}" for day, made in sorted(stale.items()))
        return dg.SensorResult(list(_requests(stale, token, assets, source)))

    return stale_days


def _requests(
    days: Iterable[date], token: str, assets: list[dg.AssetKey], source: Source
) -> Iterator[dg.RunRequest]:
    """A run for each range of days. The same cause asks for the same run once."""
    for start, end in ranges(days):
        yield dg.RunRequest(
            run_key=f"{source.name} {start} {end} {token}",
            tags={**range_tags(start, end), SOURCE: source.name},
            asset_selection=assets,
        )


def _token(causes: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(causes).encode()).hexdigest()[:16]
