"""The Dagster side of `finops run`: assets materialized for a range of days, and what went wrong.

Runs are recorded in the instance that the UI shows, if there is one. What is to be run is decided
in `run.py`. Dagster is imported inside the functions: a run with nothing to do goes without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from finops_pipeline.config import Settings

if TYPE_CHECKING:
    import dagster as dg

INSTANCE_FILE = "dagster.yaml"


class Assets:
    """The assets of a pipeline, to be run in this process."""

    def __init__(self, settings: Settings) -> None:
        from finops_pipeline.orchestration.build import build_definitions

        self._definitions = build_definitions(settings)
        self._instance = _instance()

    def ranges(self, days: Sequence[date]) -> list[tuple[date, date]]:
        """The ranges of days that runs take, each its first and last day."""
        from finops_pipeline.orchestration.partitions import ranges

        return list(ranges(days))

    def materialize(self, assets: Sequence[str], start: date, end: date) -> list[str]:
        """Run these assets for a range of days; returns what went wrong."""
        import dagster as dg

        from finops_pipeline.orchestration.partitions import range_tags

        keys = [dg.AssetKey.from_user_string(a) for a in assets]
        result = dg.materialize(
            [a for a in self._definitions.assets or () if isinstance(a, dg.AssetsDefinition)],
            selection=dg.AssetSelection.assets(*keys).without_checks()
            | dg.AssetSelection.checks_for_assets(*keys),
            instance=self._instance,
            resources=self._definitions.resources,
            tags=range_tags(start, end),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return [failure_of(event) for event in result.get_step_failure_events()]


def failure_of(event: dg.DagsterEvent) -> str:
    """What went wrong, in the words of whoever noticed it first."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error and error.cause:
        error = error.cause
    if error is None:
        return f"{event.step_key}: failed"
    kind, _, message = error.message.strip().partition(": ")
    ours = kind.startswith("finops_pipeline.") and message
    return message if ours else f"{event.step_key}: {error.message.strip()}"


def _instance() -> dg.DagsterInstance:
    """The instance that the UI started here shows; a passing one where none is configured."""
    import dagster as dg

    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    if Path(INSTANCE_FILE).exists():
        return dg.DagsterInstance.from_config(str(Path.cwd()), INSTANCE_FILE)
    return dg.DagsterInstance.ephemeral()
