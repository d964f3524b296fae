"""When assets run by themselves: each morning, and when reports come or charge days are stale.

What is due is decided by the ledger and the lake, not by a cursor: a sensor that was off for a
week, or a run that failed, leaves nothing behind that the next look would not see. While runs of
the same assets are under way nothing is asked for, since they may be about to do it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from finops_pipeline.actuate.run import Actuate
from finops_pipeline.config import Source
from finops_pipeline.orchestration.assets import key
from finops_pipeline.orchestration.company import BUDGET_STATUS, DAILY_TOTALS, WAREHOUSE
from finops_pipeline.orchestration.maintenance import MAINTENANCE
from finops_pipeline.orchestration.partitions import SOURCE, range_tags, ranges
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.store.rollups import Rollups

_INGEST = ("raw_reports", "compartments")
_COSTS = ("ownership", "shares", "allocated_costs")
_CHARGES = ("focus_costs", "rejected_rows", *_COSTS)
_GAP = 7  # a run of its own costs about as much as making that many days again
_COMPANY = [DAILY_TOTALS, BUDGET_STATUS, WAREHOUSE]
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
Decision = dg.SensorResult | dg.SkipReason


def daily_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Every morning at six (UTC): yesterday's deliveries and charges of every source."""

    @dg.schedule(
        name="daily",
        cron_schedule="0 6 * * *",
        execution_timezone="UTC",
        target=dg.AssetSelection.all() - dg.AssetSelection.assets(MAINTENANCE),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday's deliveries and charges; late ones come by the sensors.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        if yesterday < pipeline.settings.first_day:
            return dg.SkipReason("yesterday lies before `first_day` of finops.yaml")
        return dg.RunRequest(run_key=yesterday.isoformat(), partition_key=yesterday.isoformat())

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
    def new_reports(context: dg.SensorEvaluationContext) -> Decision:
        if _under_way(context.instance, assets):
            return dg.SkipReason("reports are being ingested")
        with pipeline.engine() as engine:
            new = pipeline.ingest(source, engine).new_reports()
        if not new:
            return dg.SkipReason("the ledger knows every report that is listed")
        causes = [(r.delivered_at.date(), f"{r.name} {r.etag}") for r in new]
        return dg.SensorResult(
            _requests(pipeline, f"{source.name} reports", causes, assets, {SOURCE: source.name})
        )

    return new_reports


def stale_days_sensor(pipeline: Pipeline, source: Source) -> dg.SensorDefinition:
    """Asks for the charge days that new reports, rules or rates have made stale, however old."""
    assets = [key(source, name) for name in _CHARGES]

    @dg.sensor(
        name=f"{source.slug}__stale_days",
        target=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Charge days of {source.name} that are not made from what is known now.",
    )
    def stale_days(context: dg.SensorEvaluationContext) -> Decision:
        if _under_way(context.instance, [*assets, key(source, "raw_reports")]):
            return dg.SkipReason("a run of the source is under way")
        today = Pipeline(pipeline.settings)  # reads the rules as they are now
        with today.engine() as engine:
            normalize, store = today.normalize(source, engine), today.store(source, engine)
            charges = [(day, normalize.fingerprint(day)) for day in normalize.stale_days()]
            costs = [(day, store.fingerprint(day)) for day in store.stale_days()]
        # On their own, or one broken day of charges would keep the others from their owners.
        done = {day for day, _ in charges}
        costs = [(day, made) for day, made in costs if day not in done]
        if not charges and not costs:
            return dg.SkipReason("every charge day is made from what is known now")
        tags = {SOURCE: source.name}
        requests = _requests(today, f"{source.name} charges", charges, assets, tags)
        only_costs = [key(source, name) for name in _COSTS]
        requests += _requests(today, f"{source.name} costs", costs, only_costs, tags)
        return dg.SensorResult(requests)

    return stale_days


def company_sensor(pipeline: Pipeline) -> dg.SensorDefinition:
    """Asks for the days whose roll-ups or budgets are not made from the costs that are stored.

    A budget counts its month so far: a changed day makes the later days of its month stale.
    """

    @dg.sensor(
        name="company__stale_days",
        target=dg.AssetSelection.assets(*_COMPANY),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Days of the company that are not made from the costs that are stored now.",
    )
    def company(context: dg.SensorEvaluationContext) -> Decision:
        costs = [key(s, "allocated_costs") for s in pipeline.settings.sources]
        if _under_way(context.instance, [*_COMPANY, *costs]):
            return dg.SkipReason("costs are being worked on")
        with pipeline.engine() as engine:
            days = set(Rollups(pipeline.home, engine).stale_days())
            days |= set(Actuate(pipeline.home, engine, pipeline.settings).stale_days())
        if not days:
            return dg.SkipReason("every day is made from the costs that are stored")
        files = pipeline.home.table("allocated_costs").files()
        causes = [(day, "") for day in days]
        causes += [(day, f.fingerprint) for f in files if (day := _day(f.partition[2])) in days]
        return dg.SensorResult(_requests(pipeline, "company", causes, _COMPANY, {}))

    return company


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _under_way(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey]) -> bool:
    """Whether an unfinished run is to make one of these assets."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED))
    wanted = set(assets)
    return any(run.asset_selection is None or run.asset_selection & wanted for run in runs)


def _requests(
    pipeline: Pipeline,
    name: str,
    causes: Sequence[tuple[date, str]],
    assets: Sequence[dg.AssetKey],
    tags: Mapping[str, str],
) -> list[dg.RunRequest]:
    """A run for each range of days. The same cause asks for the same run, once a day.

    Again the next day, because what failed may succeed then; what cannot is seen again.
    """
    today = datetime.now(UTC).date()
    found = []
    for start, end in ranges((pipeline.partition_of(day) for day, _ in causes), _GAP):
        here = sorted(
            f"{day} {cause}" for day, cause in causes if start <= pipeline.partition_of(day) <= end
        )
        token = hashlib.sha256("\n".join(here).encode()).hexdigest()[:16]
        found.append(
            dg.RunRequest(
                run_key=f"{name} {start} {end} {token} {today}",
                tags={**range_tags(start, end), **tags},
                asset_selection=list(assets),
            )
        )
    return found
