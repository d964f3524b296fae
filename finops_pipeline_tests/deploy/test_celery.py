"""A backfill on two Celery workers with PostgreSQL and Redis; one worker is killed in its run.

All of it is real: servers, webserver, daemon, workers. The instance is the one in `deploy/celery`,
the processes are started as docs/scale.md says.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from finops_pipeline_tests.deploy.machines import WORKSPACE, Machines, free_port, machines
from finops_pipeline_tests.objects.bucket import tables_of
from finops_pipeline_tests.orchestration.company import CHAIN, COMPANY, FIRST, Company, asset
from finops_pipeline_tests.servers.postgresql import postgresql_programs, postgresql_server

DAYS = [FIRST + timedelta(days=n) for n in range(62)]
ROWS_A_DAY = 40
SOURCE_ASSETS = ("compartments", *CHAIN)
STEP_BEGAN = "ExecutionStepStartEvent"
_LAUNCH = (
    "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) "
    "{ __typename ... on LaunchBackfillSuccess { backfillId } } }"
)
_EVENTS = (
    "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection "
    "{ events { __typename ... on MessageEvent { message stepKey } } } } }"
)
_STATES = (
    "query($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) { assetKey { path } "
    "partitionStats { numMaterialized numFailed } } }"
)

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(
        shutil.which("redis-server") is None or postgresql_programs() is None,
        reason="redis-server and PostgreSQL are needed: apt-get install redis-server postgresql",
    ),
]


@pytest.fixture
def company(tmp_path: Path) -> Company:
    """Two months of reports, each delivered on the day that it charges."""
    made = Company(tmp_path)
    made.place()
    for number, day in enumerate(DAYS):
        rows = [
            made.charge(day, cost=f"{number}.{row:02}1", ref=f"{day} {row}")
            for row in range(ROWS_A_DAY)
        ]
        made.deliver(f"r{number:02}", *rows, on=day)
    return made


@pytest.fixture
def deployment(company: Company, tmp_path: Path) -> Iterator[Machines]:
    """Servers and an instance; nothing of Dagster runs yet."""
    from finops_pipeline_tests.servers.redis_server import redis_server

    settings = {
        "home": "home",
        "first_day": str(FIRST),
        "sources": [{"name": "acme-oci", "format": "oci_cost_csv", "location": "file:acme-oci"}],
        "budgets": [{"name": "all", "amount": 1000}],
    }
    (tmp_path / "finops.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with (
        postgresql_server(free_port()) as database,
        redis_server(free_port()) as broker,
        machines(tmp_path, database | broker) as made,
    ):
        made.configure(poll_interval_seconds=3)
        yield made


def test_a_backfill_ends_as_if_no_worker_had_been_killed(
    company: Company, deployment: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(company.folder)  # what runs in this process keeps no record
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for worker in ("first", "second"):
        deployment.start_worker(worker)
    dagster = deployment.start_webserver()
    dagster.switch_sensors(on=False)
    keys = [list(asset(n).path) for n in SOURCE_ASSETS] + [["company", n] for n in COMPANY]
    backfill = launch(dagster, keys)
    deployment.start("daemon", "dagster-daemon", "run", *WORKSPACE)

    victim, lost = worker_in_its_run(deployment, dagster, backfill)
    deployment.kill(victim)

    runs = finished(dagster, backfill, 3)
    by_id = {run["runId"]: run for run in runs}
    assert sorted(run["status"] for run in runs) == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert by_id[lost]["status"] == "FAILURE"
    assert [r["status"] for r in runs if tags(r).get("dagster/parent_run_id") == lost] == [
        "SUCCESS"
    ]
    said = [e["message"] for e in events(dagster, lost)]
    assert any("took this run and is gone" in text for text in said), said
    states = dagster.ask(_STATES, {"keys": [{"path": key} for key in keys]})["assetNodes"]
    assert {"/".join(s["assetKey"]["path"]): s["partitionStats"] for s in states} == {
        "/".join(key): {"numMaterialized": len(DAYS), "numFailed": 0} for key in keys
    }
    assert_same_lake(company)


def launch(dagster: Any, keys: list[list[str]]) -> str:
    """Launch a backfill of these assets over all days, as the dialog does."""
    wanted = {
        "partitionNames": [str(day) for day in DAYS],
        "assetSelection": [{"path": key} for key in keys],
    }
    answer = dagster.ask(_LAUNCH, {"p": wanted})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def worker_in_its_run(deployment: Machines, dagster: Any, backfill: str) -> tuple[str, str]:
    """A worker that is at work on the charges of its run; and which run that is."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        for run in dagster.runs(dagster__backfill=backfill):
            if run["status"] != "STARTED":
                continue
            begun = (STEP_BEGAN, "acme_oci__normalize")
            if begun in [(e["__typename"], e["stepKey"]) for e in events(dagster, run["runId"])]:
                worker = deployment.worker_of(tags(run)["dagster-celery/task_id"])
                if worker is not None:
                    return worker, run["runId"]
        time.sleep(0.5)
    raise AssertionError("no run came as far as its charges")


def finished(dagster: Any, backfill: str, number: int) -> list[dict[str, Any]]:
    """The backfill's runs, when there are as many and all have ended."""
    end = time.monotonic() + 400
    while time.monotonic() < end:
        runs: list[dict[str, Any]] = dagster.runs(dagster__backfill=backfill)
        if len(runs) >= number and all(run["endTime"] for run in runs):
            return runs
        time.sleep(0.5)
    raise AssertionError(f"unfinished: {runs}")


def tags(run: dict[str, Any]) -> dict[str, str]:
    """A run's tags."""
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def events(dagster: Any, run: str) -> list[dict[str, Any]]:
    """A run's events."""
    return list(dagster.ask(_EVENTS, {"id": run})["logsForRun"]["events"])


def assert_same_lake(company: Company) -> None:
    """The lake is, file by file and row by row, that of an undisturbed run in this process."""
    found = tables_of(company.folder / "home")
    (company.folder / "home").rename(company.folder / "distributed")
    assert company.run().problems == []
    expected = tables_of(company.folder / "home")
    assert found.keys() == expected.keys() and len(found) >= 9
    # The audit log says which run decided which days, and runs are what differs here.
    for name in found.keys() - {"reports", "rule_changes"}:
        assert found[name] == expected[name], name
    assert ledger(found["reports"]) == ledger(expected["reports"])
    days = {r["x_ChargeDay"] for file in found["allocated_costs"].values() for r in file}
    assert days == set(DAYS)


def ledger(files: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the ledger knows, but not when it learned it."""
    rows = [{k: v for k, v in r.items() if k != "archived_at"} for f in files.values() for r in f]
    return sorted(rows, key=lambda row: str(row["name"]))
