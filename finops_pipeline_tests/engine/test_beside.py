"""Engines of several threads in one database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from finops_pipeline.engine import kept
from finops_pipeline.engine.duckdb import DuckDBEngine


def _sum(engine: DuckDBEngine, number: int) -> int:
    """What the engine has under a name that every other uses too."""
    engine.bind_arrow("rows", pa.table({"n": [number] * 1000}))
    rows = ibis.table({"n": "int64"}, name="rows")
    engine.make("made", engine.compile(rows))
    made = ibis.table({"n": "int64"}, name="made")
    found = engine.rows(engine.compile(made.aggregate(total=made.n.sum()))).to_pylist()
    return int(found[0]["total"])


def test_names_are_an_engines_own(tmp_path: Path) -> None:
    with DuckDBEngine("200MB", tmp_path) as first:
        engines = [first, first.beside(), first.beside(), first.beside()]
        with ThreadPoolExecutor(4) as threads:
            for _ in range(10):
                assert list(threads.map(_sum, engines, range(4))) == [0, 1000, 2000, 3000]


def test_settings_hold_for_each(tmp_path: Path) -> None:
    with DuckDBEngine("200MB", tmp_path) as first:
        other = first.beside()
        asked = [
            "SELECT current_setting('TimeZone'), current_setting('memory_limit'), "
            "current_setting('disabled_optimizers'), current_setting('enable_progress_bar')"
        ]
        one, two = (e.connection.execute(asked[0]).fetchall() for e in (first, other))
        assert one == two and one[0][0] == "UTC"
        other.__exit__()
        assert _sum(first, 1) == 1000  # the first outlives it


def test_threads_may_keep_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_folder", tmp_path)
    with ThreadPoolExecutor(8) as threads:
        for n in range(20):
            made = threads.map(lambda _, n=n: kept.kept("kind", f"s{n}", lambda: "x"), range(8))
            assert set(made) == {"x"}
    assert not list(tmp_path.glob(".*"))
