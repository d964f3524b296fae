"""A backfill as the UI launches one: `dagster dev`, its daemon, GraphQL; no browser.

The same with a real browser and a whole year is `scripts/browser/backfill_year.py`.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from finops_pipeline_tests.orchestration.company import CHAIN, COMPANY, Company

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts" / "browser"))

from dagster_dev import DagsterDev, dagster_dev  # noqa: E402

DAYS = 32
_LAUNCH = (
    "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) "
    "{ __typename ... on LaunchBackfillSuccess { backfillId } } }"
)


@pytest.fixture
def project(acme: Company) -> Company:
    """A folder as a user has it: finops.yaml, dagster.yaml, workspace.yaml, reports."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, acme.folder)
    settings = {
        "home": "home",
        "first_day": "2025-01-01",
        "sources": [{"name": "acme-oci", "format": "oci_cost_csv", "location": "file:acme-oci"}],
    }
    (acme.folder / "finops.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return acme


def launch(dagster: DagsterDev, days: list[str]) -> str:
    """Launch a backfill of all assets over these days, as the dialog does."""
    keys = [{"path": ["acme_oci", n]} for n in ("compartments", *CHAIN)]
    keys += [{"path": ["company", n]} for n in COMPANY]
    wanted: dict[str, Any] = {"partitionNames": days, "assetSelection": keys}
    answer = dagster.ask(_LAUNCH, {"p": wanted})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def wait(dagster: DagsterDev, backfill: str, seconds: float) -> list[str]:
    """How the backfill's runs ended. It is 30 seconds before the daemon looks at a backfill."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        runs = dagster.runs(dagster__backfill=backfill)
        if runs and all(run["endTime"] for run in runs):
            break
        time.sleep(0.5)
    return sorted(run["status"] for run in runs)


def test_a_backfill_takes_a_run_a_month_and_fills_every_day(project: Company) -> None:
    programs = Path(sys.executable).parent
    with dagster_dev(project.folder, project.folder / "dagster.log", programs) as dagster:
        dagster.switch_sensors(on=False)
        project.deliver_days(*range(1, DAYS + 1))
        days = [str(day) for day in project.days(DAYS)]

        backfill = launch(dagster, days)

        assert wait(dagster, backfill, 240) == ["SUCCESS", "SUCCESS"]
    assert [str(day) for day in project.costs()] == days
