"""Whole runs killed at random instants: a reader sees whole states only, and the next run ends
where an undisturbed one would have.

Here a part of them; `make kills` does two hundred. What is killed and compared is in `killing.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from finops_pipeline_tests.faults import killing

ROOT = Path(__file__).parents[2]  # where the steps of the benchmark are

# Through the steps, through Dagster, by the command.
FEW, ALL = (16, 2, 1), (165, 25, 10)


def test_killed_at_any_instant(tmp_path: Path) -> None:
    counts = ALL if os.environ.get("FINOPS_KILLS") == "all" else FEW
    command = [sys.executable, "-m", killing.__name__, str(tmp_path / "world"), *map(str, counts)]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(ran.stdout.splitlines()[-1])
    print(told)
    assert told["wrong"] == []
    assert told["kills"] == sum(counts)
    # Where a kill falls is chance: few kills need not meet every step, two hundred must.
    met = {"ingest", "normalize", "store"} & told["hits"].keys()
    assert len(met) >= (3 if counts is ALL else 2)
