"""`finops run` as its report tells it: what was delivered, what rebuilt, what to act on."""

from __future__ import annotations

import gzip
import shutil
from decimal import Decimal

import pytest

from finops_pipeline.ingest.directory import DirectoryLocation
from finops_pipeline.ingest.location import LocationUnavailable
from finops_pipeline_tests.orchestration.company import Company, day


def test_a_run_ingests_rebuilds_and_then_has_nothing_to_do(acmes: Company) -> None:
    for source in acmes.sources:
        acmes.deliver_days(1, 2, source=source)

    first = acmes.run()
    assert first.delivered == {"acme-oci": 2, "acme-eu": 2}
    assert first.rebuilt == {"acme-oci": [day(1), day(2)], "acme-eu": [day(1), day(2)]}
    assert first.company_days == [day(1), day(2)]
    assert not first.problems and not first.idle
    assert acmes.costs() == {day(1): Decimal(3), day(2): Decimal(3)}

    before = acmes.versions()
    second = acmes.run()
    assert second.idle and not second.problems
    assert acmes.versions() == before


def test_a_full_run_looks_at_every_day_and_changes_nothing(acme: Company) -> None:
    acme.deliver_days(1, 2)
    acme.run()
    before = acme.versions()

    assert acme.run(full=True).rebuilt == {"acme-oci": [day(1), day(2)]}
    assert acme.versions() == before


def test_only_what_is_wanted_is_done(acmes: Company) -> None:
    for source in acmes.sources:
        acmes.deliver_days(1, 2, 3, source=source)

    report = acmes.run(sources=["acme-eu"], since=day(2), until=day(2))

    assert report.rebuilt == {"acme-eu": [day(2)]}
    assert list(acmes.costs()) == [day(2)]


def test_a_source_that_fails_blocks_no_other(
    acmes: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in acmes.sources:
        acmes.deliver_days(1, source=source)
    shutil.rmtree(acmes.folder / "acme-oci")

    report = acmes.run()

    assert report.rebuilt == {"acme-eu": [day(1)]}
    assert report.company_days == [day(1)]
    (problem,) = report.problems
    assert problem.startswith("acme-oci: ") and "is not a directory" in problem


def test_a_source_that_fails_in_the_middle_blocks_no_other(
    acmes: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in acmes.sources:
        acmes.deliver_days(1, source=source)
    stream = DirectoryLocation.stream

    def broken(self: DirectoryLocation, report: object) -> object:
        if self.source_name == "acme-oci":
            raise LocationUnavailable("acme-oci: the disk went away")
        return stream(self, report)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectoryLocation, "stream", broken)
    report = acmes.run()

    assert report.rebuilt == {"acme-eu": [day(1)]}
    assert report.problems == ["acme-oci: the disk went away"]


def test_an_unreadable_report_is_named_and_the_others_count(acme: Company) -> None:
    acme.deliver_days(1)
    acme.deliver_bytes("page", gzip.compress(b"<html>log in</html>", mtime=0), on=day(1))

    report = acme.run()

    (problem,) = report.problems
    assert "page.csv.gz" in problem and "web page" in problem
    assert acme.costs() == {day(1): Decimal("1.5")}
    assert acme.run().problems == report.problems  # as long as it is so


def test_rejected_rows_and_missing_rates_are_told_with_their_place(acme: Company) -> None:
    odd = acme.charge(day(1), "many")
    unrated = acme.charge(day(1), "7", currency="XAU")
    acme.deliver("r", acme.charge(day(1)), odd, unrated, on=day(1))

    problems = acme.run().problems

    assert any(
        p.startswith("acme-oci: 2025-01-01: USD: 1 rows rejected") and "finops rejected" in p
        for p in problems
    )
    assert any(
        p.startswith("acme-oci: 2025-01-01: XAU: 1 charges have no exchange rate") for p in problems
    )
    assert len(problems) == 2


def test_a_broken_day_keeps_no_other_from_its_owners(acme: Company) -> None:
    acme.deliver_days(1, 2, 3)
    acme.run()
    for n in (1, 2, 3):
        acme.deliver(f"late{n}", acme.charge(day(n), "0.25"), on=day(4))
    acme.materialize_reports(day(4), day(4))
    (damaged,) = [r for r in acme.rows("reports") if r["name"].endswith("late2.csv.gz")]
    (acme.pipeline.home.path / "archive" / damaged["archive_path"]).write_bytes(b"")

    report = acme.run()

    (problem,) = report.problems
    assert "late2.csv.gz" in problem and "Restore it" in problem
    good, last_good = Decimal("1.75"), Decimal("1.5")
    assert acme.costs() == {day(1): good, day(2): last_good, day(3): good}
