"""Maintenance: `finops maintain`, and the same each week as an asset of the company."""

# No postponed annotations: Dagster looks at the types of the context.
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import dagster as dg

from finops_pipeline.config import Settings
from finops_pipeline.lake.maintain import Maintained, maintain
from finops_pipeline.orchestration.assets import OWNERS
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.store.rollups import Rollups

MAINTENANCE = dg.AssetKey(["company", "maintenance"])


def run_maintenance(settings: Settings, dry_run: bool = False) -> Maintained:
    """Bring the roll-ups up to date and remove what nothing needs, while no run is under way."""
    pipeline = Pipeline(settings)
    with ExitStack() as held, pipeline.engine() as engine:
        # A run may commit a file that was written long ago: none may begin before this is over.
        for name in [*sorted(s.name for s in settings.sources), "company"]:
            held.enter_context(pipeline.working_on(name))
        if not dry_run:
            summaries = Rollups(pipeline.home, engine).summaries
            summaries.run(summaries.stale_months())

        def live(source: str) -> set[str]:
            for known in settings.sources:
                if known.name == source:
                    stager = pipeline.normalize(known, engine).stager
                    entries = pipeline.ledger(known).live()
                    return {stager.fingerprint(e.kept_since(stager.first_day)) for e in entries}
            return set()

        days = settings.retention_days
        retention = None if days is None else timedelta(days=days)
        return maintain(pipeline.home, datetime.now(UTC), retention, live, dry_run)


def maintenance_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset that removes what nothing needs."""

    @dg.asset(
        key=MAINTENANCE,
        description="Removes versions beyond the retention, and what runs left unfinished.",
        group_name="store",
        kinds={"deltalake"},
        owners=OWNERS,
    )
    def maintenance() -> dg.MaterializeResult[None]:
        done = run_maintenance(settings)
        metadata: dict[str, int] = {"files removed": done.files, "bytes removed": done.bytes}
        for name, place in done.places.items():
            metadata[f"{name} files before"] = place.files_before
            metadata[f"{name} files after"] = place.files_before - place.files
            metadata[f"{name} bytes before"] = place.bytes_before
            metadata[f"{name} bytes after"] = place.bytes_before - place.bytes
        return dg.MaterializeResult(metadata=metadata)

    return maintenance


def maintenance_schedule() -> dg.ScheduleDefinition:
    """Each Sunday at three (UTC), well before the daily run."""
    return dg.ScheduleDefinition(
        name="maintenance",
        cron_schedule="0 3 * * 0",
        execution_timezone="UTC",
        target=dg.AssetSelection.assets(MAINTENANCE),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes versions beyond the retention, and what runs left unfinished.",
    )
