"""Runs of a range of days: each day has its own figures and checks, and only bad days are red."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline_tests.orchestration.company import (
    CHAIN,
    COMPANY,
    Company,
    asset,
    day,
    failures,
)

LONG = "123456789012.123456789012345678"  # more digits than a default context keeps


def checks(
    instance: dg.DagsterInstance, key: dg.AssetKey, name: str
) -> dict[str | None, tuple[str, bool]]:
    """The newest evaluation of a check for each partition: its state, and whether it passed."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, name), limit=100
    )
    found: dict[str | None, tuple[str, bool]] = {}
    for record in reversed(history):
        evaluation = record.event and record.event.dagster_event.event_specific_data
        found[record.partition] = (record.status.value, bool(evaluation and evaluation.passed))
    return found


def figures_of(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, dict[str, object]]:
    """The figures of each partition of an asset that a run materialized."""
    return {
        str(e.partition): {k: v.value for k, v in e.materialization.metadata.items()}
        for e in result.get_asset_materialization_events()
        if e.asset_key == key
    }


def test_a_range_materializes_every_day_with_its_own_figures(
    acme: Company, kept: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2, 3)
    acme.deliver("long", acme.charge(day(2), LONG), on=day(2))

    result = acme.materialize(kept, day(1), day(3))

    assert result.success
    days = {"2025-01-01", "2025-01-02", "2025-01-03"}
    for name in CHAIN:
        assert kept.get_materialized_partitions(asset(name)) == days, name
    reports = figures_of(result, asset("raw_reports"))
    assert [reports[d]["dagster/partition_row_count"] for d in sorted(days)] == [1, 2, 1]
    whole = "123456789013.623456789012345678"
    assert reports["2025-01-02"]["control total USD"] == whole
    costs = figures_of(result, asset("focus_costs"))
    assert costs["2025-01-02"]["stored cost USD"] == whole
    assert costs["2025-01-01"]["stored cost USD"] == "1.5"
    assert costs["2025-01-01"]["delivered rows"] == 1
    figures = figures_of(result, asset("allocated_costs"))
    assert figures["2025-01-02"]["unallocated cost USD"] == whole


def test_each_day_of_a_range_has_its_checks_evaluated(
    acme: Company, kept: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2)
    acme.deliver("odd", acme.charge(day(2), cost="many"), on=day(2))

    assert acme.materialize(kept, day(1), day(2)).success

    succeeded = ("SUCCEEDED", True)
    for name, check in (
        ("raw_reports", "readable"),
        ("focus_costs", "contract"),
        ("focus_costs", "conservation"),
        ("focus_costs", "exchange_rates"),
        ("allocated_costs", "contract"),
        ("allocated_costs", "conservation"),
    ):
        found = checks(kept, asset(name), check)
        assert found["2025-01-01"] == found["2025-01-02"] == succeeded, (name, check)
    rejected = checks(kept, asset("rejected_rows"), "none_rejected")
    assert rejected["2025-01-01"] == succeeded
    assert rejected["2025-01-02"] == ("FAILED", False)


@pytest.mark.parametrize("as_range", [True, False])
def test_a_single_day_leaves_no_check_planned(
    acme: Company, kept: dg.DagsterInstance, as_range: bool
) -> None:
    acme.deliver_days(1)

    assert acme.materialize(kept, day(1), day(1), CHAIN[:1], as_range=as_range).success

    key = dg.AssetCheckKey(asset("raw_reports"), "readable")
    history = kept.event_log_storage.get_asset_check_execution_history(key, limit=10)
    found = [(r.partition, r.status.value) for r in history if r.partition]
    assert found == [("2025-01-01", "SUCCEEDED")]


def test_a_broken_day_is_the_only_red_one_and_keeps_its_last_good_data(
    acme: Company, kept: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2, 3)
    assert acme.materialize(kept, day(1), day(3)).success
    for n in (1, 2, 3):
        acme.deliver(f"late{n}", acme.charge(day(n), "0.25"), on=day(4))
    assert acme.materialize(kept, day(4), day(4), ["raw_reports"]).success
    (damaged,) = [r for r in acme.rows("reports") if r["name"].endswith("late2.csv.gz")]
    (acme.pipeline.home.path / "archive" / damaged["archive_path"]).write_bytes(b"")

    result = acme.materialize(kept, day(1), day(3), ["focus_costs", "rejected_rows"])

    assert not result.success
    said = failures(result)["acme_oci__normalize"]
    assert "late2" in said and "Restore it" in said and "late1" not in said
    partitions = [str(day(n)) for n in (1, 2, 3)]
    definition = acme.definitions().resolve_asset_graph().get(asset("focus_costs")).partitions_def
    status = kept.get_status_by_partition(asset("focus_costs"), partitions, definition)
    assert status is not None
    assert [status[p].value for p in partitions] == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    found = checks(kept, asset("focus_costs"), "conservation")
    assert [found[p] for p in partitions] == [
        ("SUCCEEDED", True),
        ("FAILED", False),
        ("SUCCEEDED", True),
    ]
    stored_days = [(r["x_ChargeDay"].day, r["BilledCost"]) for r in acme.rows("focus_costs")]
    assert sorted(stored_days) == [
        (1, Decimal("0.25")), (1, Decimal("1.5")),
        (2, Decimal("1.5")),
        (3, Decimal("0.25")), (3, Decimal("1.5")),
    ]  # fmt: skip


def test_a_changed_file_of_charges_is_found_and_nothing_comes_after_it(
    acme: Company, kept: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2)
    assert acme.materialize(kept, day(1), day(2)).success
    table = acme.pipeline.home.table("focus_costs")
    file = Path(table.location(table.files("acme-oci", "2025-01-01")[0]))
    rows = pq.ParquetFile(file).read()
    at = rows.schema.get_field_index("BilledCost")
    more = pa.array([Decimal("1.51")], rows.schema.field(at).type)
    pq.write_table(rows.set_column(at, rows.schema.field(at), more), file)
    acme.deliver("late", acme.charge(day(1), "0.25"), on=day(1))

    result = acme.materialize(kept, day(1), day(2))

    said = failures(result)
    assert list(said) == ["acme_oci__normalize"]
    assert "2025-01-01: USD: delivered 1.75 in 2 rows" in said["acme_oci__normalize"]
    found = checks(kept, asset("focus_costs"), "conservation")
    assert found["2025-01-01"] == ("FAILED", False)
    assert found["2025-01-02"] == ("SUCCEEDED", True)
    assert checks(kept, asset("focus_costs"), "contract")["2025-01-01"] == ("SUCCEEDED", True)
    started = {e.step_key for e in result.all_events if e.is_step_start}
    assert "acme_oci__allocate_and_store" not in started
    assert sum(acme.costs().values()) == 3


def test_running_again_makes_no_new_version(acmes: Company, instance: dg.DagsterInstance) -> None:
    for source in acmes.sources:
        acmes.deliver_days(1, 2, source=source)

    def run_all() -> None:
        for source in ("acme_oci", "acme_eu"):
            assert acmes.materialize(instance, day(1), day(2), source=source).success
        assert acmes.materialize(instance, day(1), day(2), COMPANY, "company").success

    run_all()
    before = acmes.versions()
    run_all()

    assert acmes.versions() == before
    assert before["allocated_costs"] > 0


def test_what_lies_before_the_first_day_is_worked_with_it(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.options["first_day"] = day(10)
    acme.deliver_days(5, 10)

    result = acme.materialize(instance, day(10), day(10))

    assert result.success
    assert figures_of(result, asset("raw_reports"))["2025-01-10"]["reports"] == 2
    costs = figures_of(result, asset("focus_costs"))["2025-01-10"]
    assert (costs["delivered cost USD"], costs["stored cost USD"]) == ("3", "1.5")
    assert costs["rejected cost USD"] == "1.5"
    assert list(acme.costs()) == [day(10)]
    assert acme.run().rebuilt == {}
