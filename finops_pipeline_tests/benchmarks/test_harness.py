"""The harness runs, the floor really does all the work, and the figures are sane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.queries
from benchmarks import figures, table
from benchmarks.__main__ import main
from benchmarks.measure import CommandFailed, run
from benchmarks.rounds import STAGES, WrongWork, hold

_ROWS, _DAYS = 3_000, 6  # of two months


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one round was measured."""
    made = tmp_path_factory.mktemp("bench")
    page = made / "performance.md"
    page.write_text(
        f"before\n{table.BEGIN}\nWhat was measured before\n{table.END}\nafter\n", encoding="utf-8"
    )
    options = ["--rows", str(_ROWS), "--days", str(_DAYS), "--rounds", "1", "--folder", str(made)]
    main([*options, "--write-docs", "--page", str(page)])
    return made


@pytest.fixture(scope="module")
def size(folder: Path) -> dict[str, Any]:
    """The figures of the one size."""
    results = json.loads((folder / f"results-{_ROWS}.json").read_text(encoding="utf-8"))
    (only,) = results["sizes"]
    return only


def test_every_row_is_written_by_the_floor_and_read_by_the_stages(size: dict[str, Any]) -> None:
    rows = size["data"]["rows"]
    did = {name: row["did"] for name, row in size["rounds"][0].items() if "did" in row}
    assert rows > 0.9 * _ROWS
    for name in ("floor", "floor_sniffed", "script", "ingest", "normalize"):
        assert did[name]["rows"] == rows, name
    assert did["write"]["bytes"] == did["floor"]["bytes"] > 0
    assert did["store"]["days"] == _DAYS == did["finops_run"]["days"]
    assert did["late_report"]["days"] == 3
    assert did["nothing_new"] == {"reports": 0, "days": 0, "company_days": 0}


def test_every_process_has_a_cost_and_a_ratio(size: dict[str, Any]) -> None:
    for name, row in size["summary"].items():
        for figure in ("cpu", "cpu_ratio"):
            assert 0 < row[figure]["min"] <= row[figure]["median"] <= row[figure]["max"], name
        if name != "beside_stages":
            assert row["wall"]["median"] > 0, name
            assert 1e6 < row["peak"]["median"] < 1e11, name
            assert row["read"]["median"] > 0, name
    assert size["summary"]["floor"]["cpu_ratio"]["median"] == 1


def test_every_question_was_asked_and_answered(size: dict[str, Any]) -> None:
    kinds = benchmarks.queries.kinds(["2026-01"], ["web"], "team")
    assert size["questions"].keys() == kinds.keys()
    (found,) = size["rounds"]
    for question in found["questions"]["did"]:
        assert question["rows"] > 0, question["name"]
        assert 0 < question["p50"] <= question["p95"] < 60_000, question["name"]


def test_the_whole_is_the_sum_of_its_stages(size: dict[str, Any]) -> None:
    (found,) = size["rounds"]
    assert found["whole"]["cpu"] == pytest.approx(sum(found[s]["cpu"] for s in STAGES))
    assert found["whole"]["peak"] == max(found[s]["peak"] for s in STAGES)


def test_the_marked_block_of_the_page_is_replaced(folder: Path) -> None:
    page = (folder / "performance.md").read_text(encoding="utf-8")
    assert page.startswith(f"before\n{table.BEGIN}\n")
    assert page.endswith(f"{table.END}\nafter\n")
    assert "What was measured before" not in page
    assert "| **floor**" in page


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here", encoding="utf-8")
    with pytest.raises(table.NoBlock, match="bench:begin"):
        table.write_docs(page, "text")
    assert page.read_text(encoding="utf-8") == "nothing here"


def test_a_floor_that_skipped_rows_does_not_count(size: dict[str, Any]) -> None:
    (found,) = size["rounds"]
    short = {**found["floor"], "did": {**found["floor"]["did"], "rows": 1}}
    with pytest.raises(WrongWork, match="rows of the floor: 1, expected"):
        hold({**found, "floor": short}, size["data"])


def test_a_failing_command_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="exit 3"):
        run(["sh", "-c", "echo said; exit 3"], tmp_path, tmp_path / "log")


def test_memory_and_time_of_children_count(tmp_path: Path) -> None:
    hold_100_mb = "import time; held = bytearray(100_000_000); time.sleep(0.4); sum(range(10**6))"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold_100_mb!r}])"
    cost = run(["python3", "-c", child], tmp_path, tmp_path / "log")
    assert cost.peak > 100_000_000
    assert cost.user > 0


def test_median_and_spread() -> None:
    rounds = [{"floor": {"cpu": cpu, "did": {}}} for cpu in (3.0, 1.0, 2.0)]
    assert figures.summary(rounds) == {"floor": {"cpu": {"median": 2.0, "min": 1.0, "max": 3.0}}}
