"""`finops demo`, and every command that looks at what it made, as a user runs them."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from finops_pipeline.cli import app
from finops_pipeline.demo.truth import read_truth
from finops_pipeline_tests.cli.place import Place, finops

DEMO = ("demo", "--days", "5", "--rows", "4000", "--home", "X")
BY = ("", "owner")
Ask = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, finops(folder, DEMO)


@pytest.fixture(scope="module")
def folder(made: tuple[Path, object]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def ask(folder: Path) -> Ask:
    config = str(folder / "X" / "demo" / "finops.yaml")
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--config", config])


@pytest.fixture(scope="module")
def costs(ask: Ask) -> dict[str, Any]:
    """Everything in the reporting currency, by service."""
    done = ask("costs", "--by", "service", "--format", "json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def warehouse(folder: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(folder / "X" / "warehouse.duckdb"), read_only=True)


def test_it_shows_cost_where_it_lies_and_what_comes_next(
    made: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = made
    assert done.returncode == 0, done.stderr
    for expected in (
        "Effective cost by service", "COMPUTE", "Effective cost by owner", "payments", "total",
        str(folder / "X" / "lake"), str(folder / "X" / "warehouse.duckdb"),
        str(folder / "X" / "events.jsonl"), "Next:", "finops costs", "finops explain",
    ):  # fmt: skip
        assert expected in done.stdout
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_totals_are_the_truth_to_the_last_digit(folder: Path, ask: Ask, currency: str) -> None:
    truths = [read_truth(path) for path in sorted((folder / "X" / "demo").glob("*/truth.json"))]
    assert len(truths) == 5
    done = ask(
        "costs", "--currency", currency, "--metric", "BilledCost", "--by", "owner",
        "--format", "json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    expected = sum((t.net_cost(currency) for t in truths), Decimal(0))
    assert Decimal(found["total"]) == expected > 0
    assert sum(Decimal(r["BilledCost"]) for r in found["rows"]) == expected


def test_every_source_day_and_owner_is_the_truth_to_the_last_digit(folder: Path) -> None:
    expected = {}
    for path in (folder / "X" / "demo").glob("*/truth.json"):
        for part in read_truth(path).owners:
            key = (path.parent.name, part.currency, part.day, part.owner, part.tier)
            expected[key] = (part.cost, part.effective_cost)
    with warehouse(folder) as connection:
        found = connection.execute(
            """SELECT x_Source, BillingCurrency, x_ChargeDay,
                if(x_Tier = 'pool', x_Pool, x_BusinessUnit) AS owner, x_Tier,
                sum(BilledCost), sum(EffectiveCost)
            FROM allocated_costs GROUP BY ALL"""
        ).fetchall()
    assert {tuple(row[:5]): tuple(row[5:]) for row in found} == expected
    assert len({source for source, *_ in expected}) == 5


def test_nothing_is_rejected(ask: Ask) -> None:
    done = ask("rejected", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_a_demo_of_another_size_is_refused_with_the_cure(folder: Path) -> None:
    done = finops(folder, [*DEMO[:2], "6", *DEMO[3:]])
    assert done.returncode == 2
    assert "holds a demo of 5 days and 4,000 rows; remove X" in done.stderr
    assert "--home" in done.stderr and not done.stdout


def test_the_warehouse_says_what_the_command_says(folder: Path, costs: dict[str, Any]) -> None:
    with warehouse(folder) as connection:
        sums = connection.execute(
            "SELECT ServiceName, sum(x_ReportingEffectiveCost) FROM allocated_costs GROUP BY ALL"
        ).fetchall()
        rolled = connection.execute(
            "SELECT service, sum(reporting_effective_cost) FROM daily_totals GROUP BY ALL"
        ).fetchall()
    expected = {r["service"]: Decimal(r["EffectiveCost"]) for r in costs["rows"]}
    assert dict(sums) == dict(rolled) == expected
    assert sum(expected.values()) == Decimal(costs["total"])


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_figure_of_the_lake_is_explained(folder: Path, ask: Ask, output: str) -> None:
    with warehouse(folder) as connection:
        (figure,) = connection.execute(
            "SELECT x_AllocationId FROM allocated_costs WHERE x_Tier = 'tag' LIMIT 1"
        ).fetchone() or ("",)
    done = ask("explain", figure, "--format", output)
    assert done.exit_code == 0, done.stderr
    assert figure in done.stdout
    if output == "json":
        json.loads(done.stdout)


def test_an_unknown_figure_is_wrong_use(ask: Ask) -> None:
    done = ask("explain", "0" * 32)
    assert done.exit_code == 2
    assert "0" * 32 in done.stderr and not done.stdout


@pytest.mark.parametrize("name", ["focus.parquet", "focus.csv.gz"])
def test_an_export_holds_every_charge(folder: Path, ask: Ask, name: str) -> None:
    out = folder / name
    done = ask("export", "--focus", "1.2", "--out", str(out))
    assert done.exit_code == 0, done.stderr
    with warehouse(folder) as connection:
        (charges,) = connection.execute("SELECT count(*) FROM focus_costs").fetchone() or (0,)
    if name.endswith("parquet"):
        exported = pq.read_metadata(out).num_rows
    else:
        with gzip.open(out, "rt", encoding="utf-8", newline="") as file:
            exported = sum(1 for _ in csv.DictReader(file))
    assert exported == charges > 0
    assert f"{charges:,} charges in {out}" in done.stderr and not done.stdout


def test_an_unknown_version_of_focus_is_wrong_use(folder: Path, ask: Ask) -> None:
    done = ask("export", "--focus", "9.9", "--out", str(folder / "never.parquet"))
    assert done.exit_code == 2
    assert "9.9" in done.stderr and "1.2" in done.stderr
    assert not (folder / "never.parquet").exists()


def test_each_threshold_is_announced_once(folder: Path, ask: Ask) -> None:
    spent: dict[str | None, Decimal] = {}
    for answer in (json.loads(ask("costs", "--by", by, "--format", "json").stdout) for by in BY):
        spent |= {r.get("owner"): Decimal(r["EffectiveCost"]) for r in answer["rows"]}
    settings = yaml.safe_load((folder / "X" / "demo" / "finops.yaml").read_text(encoding="utf-8"))
    expected = [
        (b["name"], Decimal(t))
        for b in settings["budgets"]
        for t in b["thresholds"]
        if spent[b.get("filters", {"owner": [None]})["owner"][0]] >= Decimal(b["amount"]) * t / 100
    ]
    lines = (folder / "X" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    events = [e["data"] for e in told if e["type"] == "finops.budget.threshold_crossed.v1"]
    said = [(e["budget"], Decimal(e["threshold"])) for e in events]
    assert sorted(said) == sorted(expected)
    assert 0 < len(said) < 9


def test_again_there_is_nothing_new_and_no_report_is_opened(
    folder: Path, costs: dict[str, Any], ask: Ask
) -> None:
    place = Place(folder)
    before = place.versions("X")
    events = (folder / "X" / "events.jsonl").read_bytes()
    reports = [
        *(folder / "X" / "demo").rglob("*.csv.gz"),
        *(folder / "X" / "archive").rglob("*.gz"),
    ]
    assert len(reports) > 20
    for path in reports:  # whoever opens one finds nothing that could be read
        times = path.stat()
        path.chmod(0o600)
        path.write_bytes(b"\xff" * times.st_size)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    done = finops(folder, DEMO)

    assert done.returncode == 0, done.stderr
    assert "the demo's reports are there already" in done.stderr
    assert "nothing new" in done.stderr
    assert "Effective cost by owner" in done.stdout
    assert place.versions("X") == before
    assert (folder / "X" / "events.jsonl").read_bytes() == events
    assert json.loads(ask("costs", "--by", "service", "--format", "json").stdout) == costs
