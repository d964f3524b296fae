"""`finops maintain` and the asset of the same: what they hold off, and what they say."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import dagster as dg
import pytest

from finops_pipeline.orchestration.maintenance import MAINTENANCE, run_maintenance
from finops_pipeline.store.summaries import SUMMARIES
from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.orchestration.company import Company


def test_the_asset_says_what_there_is_and_rolls_up(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2)
    acme.run()
    for name in SUMMARIES:
        acme.pipeline.home.table(name).replace([()], [])
    definitions = acme.definitions()
    result = dg.materialize(
        [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)],
        selection=dg.AssetSelection.assets(MAINTENANCE),
        instance=instance,
        resources=definitions.resources,
    )
    (event,) = result.asset_materializations_for_node("company__maintenance")
    figures = {k: v.value for k, v in event.metadata.items()}
    assert figures["files removed"] == 0
    assert figures["allocated_costs files before"] == figures["allocated_costs files after"] == 2
    assert figures["allocated_costs bytes after"] > 0
    assert all(acme.pipeline.home.table(name).files() for name in SUMMARIES)


def test_it_runs_each_week_and_not_with_the_daily_assets(acme: Company) -> None:
    definitions = acme.definitions()
    weekly = definitions.resolve_schedule_def("maintenance")
    assert weekly.cron_schedule == "0 3 * * 0"
    graph = definitions.resolve_asset_graph()
    daily = definitions.resolve_schedule_def("daily").job.selection
    assert MAINTENANCE not in daily.resolve(graph)


def test_it_waits_for_a_run(acme: Company) -> None:
    acme.deliver_days(1)
    acme.run()
    ended: list[float] = []
    work = threading.Thread(
        target=lambda: (run_maintenance(acme.settings), ended.append(time.monotonic()))
    )
    with acme.pipeline.working_on("acme-oci"):
        work.start()
        time.sleep(1)
        assert not ended
        released = time.monotonic()
    work.join(60)
    assert ended and ended[0] > released


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    place.configure()
    place.deliver("one", row("1"))
    assert place.finops("run").exit_code == 0
    done = place.finops("maintain", "--dry-run", "--format", "json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dry_run"] is True
    assert found["places"]["allocated_costs"]["files_before"] == 1
    assert "removed 0 files, 0 bytes" in place.finops("maintain").stdout

    place.configure(retention_days=29)
    refused = place.finops("maintain")
    assert refused.exit_code == 2
    assert "retention_days: what was known is kept for 30 days at least" in refused.stderr
