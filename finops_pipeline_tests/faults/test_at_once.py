"""Several runs at once on one home in a folder: they wait for each other, and end as one run."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.faults.reader import State, differences, state_of, unbalanced


def started(place: Place, home: Path) -> subprocess.Popen[str]:
    """`finops run` in a Python of its own, under way."""
    place.configure(home=str(home), budgets=[{"name": "all", "amount": "10"}])
    config = home.with_suffix(".yaml")
    config.write_text(place.config.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "finops_pipeline.cli", "run", "--config", str(config)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=place.folder)


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it said."""
    told = run.communicate(timeout=580)[1]
    return run.returncode, told


def standing(home: Path) -> State:
    """All but the ledger, which bears the time of its run; that is held against the archive."""
    found = state_of(home)
    return State({n: d for n, d in found.tables.items() if n != "reports"}, found.beside)


@pytest.mark.parametrize("processes", [2, 4])
def test_runs_at_once_end_as_one(place: Place, processes: int) -> None:
    for n in range(6):
        on = date(2025, 1, 2 + n % 3)
        place.deliver(f"r{n}", row(f"{n}.5", day=on.isoformat()), row("2", team="b"), on=on)
    alone, together = place.folder / "alone", place.folder / "together"
    assert ended(started(place, alone))[0] == 0
    assert unbalanced(alone) == []

    runs = [started(place, together) for _ in range(processes)]
    for code, told in map(ended, runs):
        assert code == 0, told
        assert "Traceback" not in told and "problem" not in told, told

    assert unbalanced(together) == []
    assert differences(standing(together), standing(alone), together, alone) == []
    assert ended(started(place, together)) == (
        0,
        "nothing new: every report is known and every figure is up to date\n",
    )
