"""What was known earlier: `costs`, `diff`, `explain`, `export` and `rejected` as of a time."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from finops_pipeline_tests.cli.place import Place, row


@pytest.fixture
def told_twice(place: Place) -> tuple[Place, str, str]:
    """A place that learnt of a charge and of a bad row in a second run, and a time before each."""
    nothing = datetime.now(UTC).isoformat()
    place.deliver("one", row("1"))
    assert place.finops("run").exit_code == 0
    between = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
    place.deliver("two", row("2.25"), row("3", currency="X"), on=date(2025, 1, 4))
    assert place.finops("run").exit_code == 1  # a row was rejected
    return place, between, nothing


def identifier(place: Place) -> str:
    home = place.folder / "home" / "lake" / "allocated_costs"
    files = sorted(home.rglob("*.parquet"), key=lambda p: p.stat().st_mtime)
    return str(pq.ParquetFile(files[0]).read().column("x_AllocationId")[0])


def test_diff_says_what_changed_and_why(told_twice: tuple[Place, str, str]) -> None:
    place, between, _ = told_twice
    done = place.finops("diff", "--as-of", between, "--format", "json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["before"], found["after"], found["change"]) == ("1", "3.25", "2.25")
    (line,) = found["lines"]
    assert (line["day"], line["owner"], line["change"]) == ("2025-01-02", "unallocated", "2.25")
    (cause,) = line["causes"]
    assert (cause["cause"], cause["change"]) == ("new", "2.25")
    assert cause["report"] == "two.csv.gz" and cause["delivered_at"].startswith("2025-01-04")

    table = place.finops("diff", "--as-of", between, "--by", "service").stdout
    assert "+2.25 new: two.csv.gz of 2025-01-04" in table
    text = place.finops("diff", "--as-of", between, "--by", "month", "--format", "csv").stdout
    (only,) = csv.DictReader(io.StringIO(text))
    assert (only["month"], only["before"], only["after"]) == ("2025-01", "1", "3.25")
    assert json.loads(only["causes"]) == line["causes"]


def test_a_diff_of_nothing_or_of_three_times_is_wrong_use(
    told_twice: tuple[Place, str, str],
) -> None:
    place, between, nothing = told_twice
    early = place.finops("diff", "--as-of", nothing)
    assert early.exit_code == 2 and "held no cost at" in early.stderr
    three = place.finops("diff", *("--as-of", between) * 3)
    assert three.exit_code == 2 and "between two times" in three.stderr
    same = place.finops("diff", *("--as-of", between) * 2)
    assert same.exit_code == 0 and "No line changed." in same.stdout


def test_a_replaced_figure_is_explained_as_of_its_time(told_twice: tuple[Place, str, str]) -> None:
    place, between, _ = told_twice
    figure = identifier(place)
    then = place.finops("explain", figure, "--as-of", between, "--format", "json")
    assert then.exit_code == 0, then.stderr
    now = place.finops("explain", figure, "--format", "json")
    assert now.exit_code == 0, now.stderr
    charges = [len(json.loads(done.stdout)["charges"]) for done in (then, now)]
    assert charges == [1, 2]


def test_export_and_rejected_tell_what_was_known(
    told_twice: tuple[Place, str, str], tmp_path: Path
) -> None:
    place, between, nothing = told_twice
    out = tmp_path / "then.parquet"
    assert place.finops("export", "--out", str(out), "--as-of", between).exit_code == 0
    assert pq.read_metadata(out).num_rows == 1
    assert place.finops("export", "--out", str(out), "--as-of", nothing).exit_code == 2
    listed = [
        json.loads(place.finops("rejected", "--format", "json", *more).stdout)
        for more in ((), ("--as-of", between))
    ]
    assert [len(rows) for rows in listed] == [1, 0]
