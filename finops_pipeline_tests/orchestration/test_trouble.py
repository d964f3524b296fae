"""What goes wrong in a run: tried again, told in its own words, and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.directory import DirectoryLocation
from finops_pipeline.ingest.location import LocationUnavailable, RemoteReport, ReportChanged
from finops_pipeline.ingest.run import Ingest
from finops_pipeline.orchestration.build import build_definitions
from finops_pipeline.orchestration.partitions import range_tags
from finops_pipeline_tests.orchestration.company import CHAIN, Company, asset, day, failures


class Flaky:
    """Fails a number of times before it lets the real one do its work."""

    def __init__(self, failing: int, error: Exception) -> None:
        self.failing = failing
        self.error = error
        self.calls = 0

    def reports(self, location: DirectoryLocation) -> Iterator[RemoteReport]:
        """As the location's own method."""
        self.calls += 1
        if self.calls <= self.failing:
            raise self.error
        yield from _reports(location)


_reports = DirectoryLocation.reports


@pytest.mark.parametrize("error", [LocationUnavailable("no answer"), ConnectionError("reset")])
def test_a_passing_error_is_tried_again(
    acme: Company,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    flaky = Flaky(2, error)
    monkeypatch.setattr(DirectoryLocation, "reports", lambda self: flaky.reports(self))
    acme.deliver_days(1)

    result = acme.materialize(instance, day(1), day(1), CHAIN[:1])

    assert result.success
    assert flaky.calls == 3
    assert [r["rows"] for r in acme.rows("reports")] == [1]


def test_a_lasting_error_is_told_in_its_own_words(
    acme: Company, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(99, LocationUnavailable("acme-oci: the bucket does not answer"))
    monkeypatch.setattr(DirectoryLocation, "reports", lambda self: flaky.reports(self))

    result = acme.materialize(instance, day(1), day(1), CHAIN)

    assert failures(result) == {"acme_oci__raw_reports": "acme-oci: the bucket does not answer"}
    assert flaky.calls == 3


def test_what_no_retry_mends_is_tried_once(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    rates = tmp_path / "rates.csv"
    rates.write_text("date,from,to,rate\n2025-01-01,EUR,USD,much\n", encoding="utf-8")
    acme = Company(tmp_path, options={"rates": rates})
    acme.place()
    acme.deliver_days(1)

    result = acme.materialize(instance, day(1), day(1), CHAIN)

    assert failures(result).keys() == {"acme_oci__normalize"}
    assert "rates.csv: line 2" in failures(result)["acme_oci__normalize"]
    assert not [e for e in result.all_events if e.is_step_up_for_retry]


def test_a_report_that_cannot_be_fetched_breaks_its_own_delivery_day_alone(
    acme: Company, kept: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme.deliver_days(1, 2, 3)
    keep = Ingest._keep

    def changing(self: Ingest, report: RemoteReport, *rest: Any) -> object:
        if "r02" in report.name:
            raise ReportChanged(f"acme-oci: {report.name} was written to")
        return keep(self, report, *rest)

    monkeypatch.setattr(Ingest, "_keep", changing)
    result = acme.materialize(kept, day(1), day(3), CHAIN[:1])

    assert "r02.csv.gz was written to" in failures(result)["acme_oci__raw_reports"]
    assert kept.get_materialized_partitions(asset("raw_reports")) == {"2025-01-01", "2025-01-03"}


def test_no_credential_reaches_the_event_log(acme: Company, instance: dg.DagsterInstance) -> None:
    place = acme.folder / "credentials"
    place.mkdir()
    key = place / "api-key.pem"
    key.write_text("-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n", encoding="utf-8")
    (place / "config").write_text(
        "[DEFAULT]\nuser=ocid1.user.oc1..a\ntenancy=ocid1.tenancy.oc1..a\nregion=us-ashburn-1\n"
        f"fingerprint=aa:bb\nkey_file={key}\npass_phrase=open-sesame\n",
        encoding="utf-8",
    )
    source = Source(
        name="acme-oci", format="oci_cost_csv", location="oci://bling/ocid1.tenancy.oc1..a",
        config_file=place / "config", endpoint="http://127.0.0.1:9",
    )  # fmt: skip
    definitions = build_definitions(acme.settings.model_copy(update={"sources": (source,)}))
    result = dg.materialize(
        [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)],
        selection=[asset("raw_reports")],
        instance=instance,
        resources=definitions.resources,
        tags=range_tags(day(1), day(1)),
        raise_on_error=False,
    )
    assert not result.success
    told = "\n".join(
        record.event_log_entry.to_json()
        for record in instance.get_records_for_run(result.run_id).records
    )
    assert "acme-oci" in told
    assert "open-sesame" not in told and "c2VjcmV0" not in told and key.name not in told
