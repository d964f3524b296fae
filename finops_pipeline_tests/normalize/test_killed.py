"""Killed anywhere with SIGKILL: the next run ends where an undisturbed one would have."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from finops_pipeline.demo import make_tenancy
from finops_pipeline_tests.normalize import dying
from finops_pipeline_tests.normalize.pipeline import Pipeline

# Where to be killed in a run: `make kills` does the many.
POINTS = 50 if os.environ.get("FINOPS_KILLS") == "all" else 16
TABLES = ("conservation", "focus_costs", "rejected_rows", "reports", "superseded_rows")


def content(pipeline: Pipeline) -> dict[str, Any]:
    """All that a home holds for its readers: the rows of each table, and the archive's bytes."""
    found: dict[str, Any] = {}
    for name in TABLES:
        rows: pa.Table = pipeline.read(name).drop_columns(
            ["archived_at"] if name == "reports" else []
        )
        order = [n for n in rows.column_names if not pa.types.is_nested(rows.schema.field(n).type)]
        found[name] = rows.sort_by([(n, "ascending") for n in order])
    for path in sorted((pipeline.home.path / "archive").rglob("*")):
        if path.is_file():
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_killed_anywhere(tmp_path: Path) -> None:
    made, homes = tmp_path / "made", tmp_path / "homes"
    make_tenancy(made, days=2, rows=800, formats={"cost"}, corrections="replace")
    homes.mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", dying.__name__, str(made), str(homes), str(POINTS), "0.15"],
        stdout=subprocess.PIPE,
        check=True,
    )
    codes: dict[str, list[int]] = json.loads(ran.stdout)
    assert codes.pop("undisturbed") == [0]
    again = codes.pop("again-and-again")
    assert again.count(-signal.SIGKILL) == len(again) - 1 and len(again) > 3
    assert len(codes) == POINTS
    assert set(map(tuple, codes.values())) == {(-signal.SIGKILL, 0)}
    expected = content(dying.pipeline_of(made, homes / "undisturbed"))
    assert expected["focus_costs"].num_rows > 500
    assert expected["superseded_rows"].num_rows > 0
    for home in [*codes, "again-and-again"]:
        pipeline = dying.pipeline_of(made, homes / home)
        found = content(pipeline)
        assert found.keys() == expected.keys(), home
        for name, held in expected.items():
            same = found[name].equals(held) if isinstance(held, pa.Table) else found[name] == held
            assert same, (home, name)
