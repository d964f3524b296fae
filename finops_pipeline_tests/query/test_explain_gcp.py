"""A figure of GCP leads back to the lines it came from: of JSON, CSV and Parquet, credits too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finops_pipeline.config import Settings, Source
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.explain import explain
from finops_pipeline.query.show_explanation import show_explanation
from finops_pipeline_tests.engine.whole import bring_in, rows
from finops_pipeline_tests.normalize.gcp_rows import (
    PROMOTION,
    Row,
    flat_csv,
    json_lines,
    parquet,
    row,
)

WRITERS = {"a.json": json_lines, "a.csv": flat_csv, "a.parquet": parquet}


@pytest.mark.parametrize("name", WRITERS)
def test_each_charge_has_its_line(tmp_path: Path, name: str) -> None:
    given: list[Row] = [row(cost=1.5, resource={"name": "other"}), row(credits=[PROMOTION])]
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / name).write_bytes(WRITERS[name](*given))
    source = Source(name="acme-gcp", format="gcp_detailed", location=f"file:{tmp_path / 'reports'}")
    settings = Settings(home=tmp_path / "home", sources=(source,))
    bring_in(settings)
    figures = [dict(f) for f in rows(settings, "allocated_costs")]
    with DuckDBEngine("300MB") as engine:
        found = [explain(Home(tmp_path / "home"), engine, f["x_AllocationId"]) for f in figures]
    texts = {c.report_row: c.raw or "" for e in found for c in e.charges}
    assert [c.raw_problem for e in found for c in e.charges] == [None] * 3
    assert sorted(texts) == [1, 2, 1_000_000_000_002]
    assert "1.5" in texts[1] and "Startup grant" not in texts[1]
    assert texts[2] == texts[1_000_000_000_002] and "Startup grant" in texts[2]
    if name != "a.csv":
        assert json.loads(texts[2])["resource"]["name"] == "vm-1"
    assert any("2.1" in show_explanation(e) for e in found)
