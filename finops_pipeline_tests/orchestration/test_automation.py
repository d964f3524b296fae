"""What runs by itself: what sensors and schedules ask for, and that it does what was due."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from finops_pipeline.ingest.location import LocationUnavailable
from finops_pipeline.orchestration import freshness
from finops_pipeline.orchestration.freshness import expected_day
from finops_pipeline.orchestration.maintenance import MAINTENANCE
from finops_pipeline.orchestration.partitions import RANGE_END, RANGE_START, SOURCE, ranges
from finops_pipeline_tests.orchestration.company import CHAIN, FIRST, Company, asset, day

Asked = dict[tuple[str, str], str]


def ask(acme: Company, instance: dg.DagsterInstance, sensor: str) -> list[dg.RunRequest]:
    """The runs that a sensor asks for, in a code server that just started."""
    definition = acme.definitions().resolve_sensor_def(sensor)
    with dg.build_sensor_context(instance) as context:
        return list(definition.evaluate_tick(context).run_requests or ())


def asked(requests: list[dg.RunRequest]) -> Asked:
    """The run key of each range that is asked for."""
    return {(r.tags[RANGE_START], r.tags[RANGE_END]): str(r.run_key) for r in requests}


def only(number: int) -> tuple[str, str]:
    """The range of one day."""
    return (str(day(number)), str(day(number)))


def up_to_date(acme: Company) -> None:
    """Make everything from the reports that are there."""
    assert not acme.run().problems


def test_new_reports_are_asked_for_by_their_delivery_days(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2, 20)

    requests = ask(acme, instance, "acme_oci__new_reports")

    assert list(asked(requests)) == [("2025-01-01", "2025-01-02"), only(20)]
    assert {r.tags[SOURCE] for r in requests} == {"acme-oci"}
    wanted = {asset("raw_reports"), asset("compartments")}
    assert all(set(r.asset_selection or ()) == wanted for r in requests)


def test_the_same_cause_has_the_same_key_and_another_day_changes_it_not(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 20)
    first = asked(ask(acme, instance, "acme_oci__new_reports"))
    assert asked(ask(acme, instance, "acme_oci__new_reports")) == first

    acme.deliver("rewritten", acme.charge(day(20)), on=day(20))
    second = asked(ask(acme, instance, "acme_oci__new_reports"))

    assert second[only(1)] == first[only(1)]
    assert second[only(20)] != first[only(20)]


def test_a_known_report_is_asked_for_only_when_it_is_rewritten(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2)
    up_to_date(acme)
    assert not ask(acme, instance, "acme_oci__new_reports")
    assert not ask(acme, instance, "acme_oci__stale_days")

    acme.deliver("r01", acme.charge(day(1), "2.5"), on=day(9))
    assert list(asked(ask(acme, instance, "acme_oci__new_reports"))) == [only(9)]
    assert acme.materialize(instance, day(9), day(9), CHAIN[:1]).success

    assert list(asked(ask(acme, instance, "acme_oci__stale_days"))) == [only(1)]


def test_a_late_report_makes_exactly_its_old_day_stale_and_the_run_mends_it(
    acme: Company, kept: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2, 3)
    up_to_date(acme)
    acme.deliver("late", acme.charge(day(2), "0.25"), on=date(2025, 3, 1))
    late = date(2025, 3, 1)
    assert acme.materialize(kept, late, late, CHAIN[:1]).success

    (request,) = ask(acme, kept, "acme_oci__stale_days")
    assert list(asked([request])) == [only(2)]

    # As the daemon does it: the sensor's own job, the request's tags and selection.
    job = acme.definitions().resolve_implicit_job_def_def_for_assets(request.asset_selection or [])
    assert job is not None
    done = job.execute_in_process(
        instance=kept, tags=dict(request.tags), asset_selection=request.asset_selection
    )
    assert done.success
    assert {e.partition for e in done.get_asset_materialization_events()} == {"2025-01-02"}
    assert str(acme.costs()[day(2)]).startswith("1.75")
    assert not ask(acme, kept, "acme_oci__stale_days")
    # A budget counts its month so far: the days after the late one are stale as well.
    assert list(asked(ask(acme, kept, "company__stale_days"))) == [("2025-01-02", "2025-01-03")]


def test_a_broken_day_keeps_no_other_from_its_owners(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.deliver_days(1, 2, 3)
    acme.materialize_reports(day(1), day(3))
    (damaged,) = [r for r in acme.rows("reports") if r["name"].endswith("r02.csv.gz")]
    (acme.pipeline.home.path / "archive" / damaged["archive_path"]).write_bytes(b"")
    assert not acme.materialize(instance, day(1), day(3), CHAIN[1:]).success

    charges, costs = ask(acme, instance, "acme_oci__stale_days")

    assert list(asked([charges])) == [only(2)]
    assert list(asked([costs])) == [("2025-01-01", "2025-01-03")]
    assert set(costs.asset_selection or ()) == {asset(n) for n in CHAIN[3:]}


def test_rules_that_change_make_every_day_stale_without_a_restart(
    acme: Company, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("owners: [web]\n", encoding="utf-8")
    acme.options["rules"] = rules
    acme.deliver_days(1, 2)
    up_to_date(acme)
    sensor = acme.definitions().resolve_sensor_def("acme_oci__stale_days")
    with dg.build_sensor_context(instance) as context:
        assert not sensor.evaluate_tick(context).run_requests

    pool = "pools: [{name: all, match: {ServiceName: COMPUTE}, drivers: even}]\n"
    rules.write_text(f"owners: [web]\n{pool}", encoding="utf-8")
    with dg.build_sensor_context(instance) as context:
        found = sensor.evaluate_tick(context).run_requests

    assert list(asked(found or [])) == [("2025-01-01", "2025-01-02")]


def test_nothing_is_asked_for_while_a_run_may_be_doing_it(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    acme.deliver_days(1)
    run = instance.create_run_for_job(
        acme.definitions().resolve_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({asset("raw_reports")}),
    )
    assert not ask(acme, instance, "acme_oci__new_reports")
    assert not ask(acme, instance, "acme_oci__stale_days")

    instance.report_run_canceled(run)
    assert ask(acme, instance, "acme_oci__new_reports")


def test_a_place_that_does_not_answer_is_a_failed_tick(
    acme: Company, instance: dg.DagsterInstance
) -> None:
    for path in sorted((acme.folder / "acme-oci").rglob("*"), reverse=True):
        path.rmdir()
    (acme.folder / "acme-oci").rmdir()
    with pytest.raises(LocationUnavailable):
        ask(acme, instance, "acme_oci__new_reports")


def test_each_morning_yesterday_is_asked_for(acme: Company, instance: dg.DagsterInstance) -> None:
    repository = acme.definitions().get_repository_def()
    schedule = repository.get_schedule_def("daily")
    at = datetime(2025, 2, 1, 6, tzinfo=UTC)
    with dg.build_schedule_context(
        instance, scheduled_execution_time=at, repository_def=repository
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert (request.partition_key, request.run_key) == ("2025-01-31", "2025-01-31")

    early = datetime(2025, 1, 1, 6, tzinfo=UTC)
    with dg.build_schedule_context(
        instance, scheduled_execution_time=early, repository_def=repository
    ) as context:
        assert not schedule.evaluate_tick(context).run_requests


def test_the_daily_job_runs_for_one_partition(acme: Company, instance: dg.DagsterInstance) -> None:
    acme.deliver_days(1)
    job = acme.definitions().resolve_implicit_global_asset_job_def()

    done = job.execute_in_process(instance=instance, partition_key="2025-01-01")

    assert done.success
    made = [e for e in done.get_asset_materialization_events() if e.asset_key != MAINTENANCE]
    assert {e.partition for e in made} == {"2025-01-01"}
    assert list(acme.costs()) == [day(1)]


@pytest.mark.parametrize(
    ("hour", "expected"), [(17, date(2025, 1, 8)), (18, date(2025, 1, 9)), (23, date(2025, 1, 9))]
)
def test_yesterday_is_expected_from_the_evening_on(hour: int, expected: date) -> None:
    assert expected_day(datetime(2025, 1, 10, hour, tzinfo=UTC)) == expected


def test_a_late_source_is_told_as_late(
    acme: Company, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme.deliver_days(1)
    up_to_date(acme)
    check = freshness.freshness_check(acme.pipeline, acme.settings.sources[0])
    found = {}
    for expected in (day(1), day(2)):
        monkeypatch.setattr(freshness, "expected_day", lambda _, at=expected: at)
        (found[expected],) = dg.materialize(
            [check], instance=instance, selection=dg.AssetSelection.all_asset_checks()
        ).get_asset_check_evaluations()
    assert [e.passed for e in found.values()] == [True, False]
    assert found[day(2)].metadata["newest charge day"].value == "2025-01-01"


def test_ranges_have_no_gaps_and_are_not_longer_than_a_run_takes() -> None:
    days = [FIRST + timedelta(n) for n in range(40)] + [FIRST + timedelta(60)]
    found = list(ranges([*days, *days]))
    assert [((end - start).days + 1) for start, end in found] == [31, 9, 1]


def test_ranges_may_span_a_small_gap() -> None:
    days = [FIRST, FIRST + timedelta(5), FIRST + timedelta(20)]
    found = list(ranges(days, gap=7))
    assert [((end - start).days + 1) for start, end in found] == [6, 1]
