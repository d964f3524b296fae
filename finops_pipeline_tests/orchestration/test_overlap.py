"""One bill in two formats is counted once: the second source is refused, with the reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.normalize.pipeline import line


def deliver_focus(folder: Path, name: str, *rows: dict[str, str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    noon = datetime(2025, 1, 5, 12, tzinfo=UTC).timestamp()
    os.utime(path, (noon, noon))


def focus_row(day: str, compartment: str, cost: str) -> dict[str, str]:
    times = {"start": f"{day}T10:00Z", "end": f"{day}T11:00Z", "cost": cost}
    return line("oci_focus", ref=f"{day}-{cost}", oci_CompartmentId=compartment, **times)


def sources(*formats: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": f"acme-{i}", "format": form, "location": f"file:{folder}"}
        for i, (form, folder) in enumerate(formats)
    ]


def test_the_second_format_of_a_bill_is_refused_and_other_days_are_not(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.configure(sources=sources(("oci_cost_csv", "reports"), ("oci_focus", "focus")))
    place.deliver("0001", row("1.5"))
    same = focus_row("2025-01-02", "ocid1.compartment.oc1..c", "1.5")
    later = focus_row("2025-01-03", "ocid1.compartment.oc1..c", "7")
    elsewhere = focus_row("2025-01-04", "ocid1.compartment.oc1..other", "3")
    deliver_focus(tmp_path / "focus", "0001.csv.gz", same, later)
    deliver_focus(tmp_path / "focus", "0002.csv.gz", elsewhere)
    result = place.finops("run")
    assert result.exit_code == 1
    assert "source acme-0 in format oci_cost_csv" in result.output
    assert "2025-01-02" in result.output and "Remove one of the two sources" in result.output
    answer = place.finops("costs", "--by", "source", "--format", "json")
    rows = json.loads(answer.stdout)["rows"]
    assert rows, answer.output
    assert {(r["source"], Decimal(r["EffectiveCost"])) for r in rows} == {
        ("acme-0", Decimal("1.5")), ("acme-1", Decimal(10)),
    }  # fmt: skip


def figures(place: Place) -> set[tuple[str, Decimal]]:
    answer = place.finops("costs", "--by", "source", "--format", "json")
    return {(r["source"], Decimal(r["EffectiveCost"])) for r in json.loads(answer.stdout)["rows"]}


def test_a_source_that_was_renamed_does_not_count_twice(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.configure(sources=sources(("oci_cost_csv", "reports")))
    place.deliver("0001", row("1.5"), row("2", "2025-01-03"))
    assert place.finops("run").exit_code == 0
    renamed = [{**sources(("oci_cost_csv", "reports"))[0], "name": "other"}]
    place.configure(sources=renamed)
    place.deliver("0002", row("4", "2025-01-04"))
    for _ in range(2):
        result = place.finops("run")
        assert result.exit_code == 1
        assert "2 charge days from 2025-01-02 to 2025-01-03 are in source acme-0" in result.output
        assert "give it its name back" in " ".join(result.output.split())
        assert figures(place) == {("acme-0", Decimal("3.5")), ("other", Decimal(4))}
    # Back again: what was never loaded of the other name refuses nothing.
    place.configure(sources=[*sources(("oci_cost_csv", "reports"))])
    result = place.finops("run")
    assert result.exit_code == 1 and "1 charge days from 2025-01-04" in result.output
    assert figures(place) == {("acme-0", Decimal("3.5")), ("other", Decimal(4))}


def test_a_source_that_is_taken_away_leaves_its_figures_and_refuses_no_other(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    place.configure(sources=sources(("oci_cost_csv", "reports")))
    place.deliver("0001", row("1.5"))
    assert place.finops("run").exit_code == 0
    place.configure(sources=[{"name": "new", "format": "oci_focus", "location": "file:focus"}])
    elsewhere = focus_row("2025-01-02", "ocid1.compartment.oc1..other", "3")
    deliver_focus(tmp_path / "focus", "0001.csv.gz", elsewhere)
    later = focus_row("2025-01-03", "ocid1.compartment.oc1..c", "4")
    deliver_focus(tmp_path / "focus", "0002.csv.gz", later)
    assert place.finops("run").exit_code == 0
    assert figures(place) == {("acme-0", Decimal("1.5")), ("new", Decimal(7))}


def test_a_report_that_two_sources_have_counts_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.configure(sources=sources(("oci_cost_csv", "reports"), ("oci_cost_csv", "copy")))
    report = place.deliver("0001", row("1.5"))
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "of-0001.csv.gz"
    copy.write_bytes(report.read_bytes())
    os.utime(copy, (report.stat().st_mtime, report.stat().st_mtime))
    result = place.finops("run")
    assert result.exit_code == 1
    assert "of-0001.csv.gz is, byte for byte, 0001.csv.gz of source acme-0" in result.output
    assert figures(place) == {("acme-0", Decimal("1.5"))}


def test_one_location_twice_is_wrong_use(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.configure(sources=sources(("oci_cost_csv", "reports"), ("oci_cost_csv", "reports/")))
    result = place.finops("run")
    assert result.exit_code == 2
    assert "acme-0 and acme-1 read the same location" in result.output
