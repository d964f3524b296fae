"""A row means the same whether it is worked out with its like or on its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_pipeline.engine.coded import PLACE, BrokenStepError, Coded, Step, combined
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline_tests.normalize.pipeline import TEMPLATES, Outcome, Pipeline, report

# Values that make rows differ, share, break rules and meet catalogues, for any column.
VALUES = st.sampled_from(
    [
        "", " ", "true", "USD", "EUR", "usd", "VAT", "Sales Tax", "-1", "0", "1.5E-3", "7,5",
        "0.1234567890123456789", "2026-09-09T11:00Z", "2026-09-08T23:00:00Z", "2026-13-01", "{}",
        '{"a": 1}', "us-ashburn-1", "OCPU Hours", "ref-2", "ocid1.bucket.oc1..b", "Tax", "ü'\"",
    ]
)  # fmt: skip


class Slow(DuckDBEngine):
    """An engine that is asked for all rows at once."""

    quick = False


def mapped(folder: Path, format_name: str, content: bytes, engine: type) -> Outcome:
    with patch("finops_pipeline_tests.normalize.pipeline.DuckDBEngine", engine):
        pipeline = Pipeline(folder, format_name)
        pipeline.deliver("report.csv", content)
        return pipeline.run()


@pytest.mark.parametrize("format_name", sorted(TEMPLATES))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_by_values_and_by_rows_are_one(format_name: str, data: st.DataObject) -> None:
    template = TEMPLATES[format_name]
    columns = [*template, "tags/team", "tags/Oracle-Tags.CreatedBy", "cost/new"]
    changes = st.dictionaries(st.sampled_from(columns), VALUES, max_size=4)
    reference = next(
        c for c in template if c.lower().endswith("referenceno" if "/" in c else "referencenumber")
    )
    drawn = data.draw(st.lists(changes, min_size=1, max_size=12))
    rows = [
        {**dict.fromkeys(columns, ""), **template, reference: f"r{i}", **change}
        for i, change in enumerate(drawn)
    ]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        by_values = mapped(Path(one), format_name, report(rows), DuckDBEngine)
        by_rows = mapped(Path(two), format_name, report(rows), Slow)
    assert by_values.charges == by_rows.charges
    assert by_values.rejected == by_rows.rejected
    assert len(by_values.charges) + len(by_values.rejected) >= 1


@pytest.fixture
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine("200MB") as opened:
        yield opened


def test_combinations_are_told_apart_whatever_their_number() -> None:
    wide = [
        Coded(pa.array(range(9)), np.array([i % 9, 8 - i % 9])) for i in range(30)
    ]  # 9^30 combinations do not fit an integer
    codes, firsts = combined(wide)
    assert codes.tolist() == [0, 1]
    assert firsts.tolist() == [0, 1]


def test_a_catalogue_with_a_key_twice_is_refused(engine: DuckDBEngine) -> None:
    rows = ibis.table({"key": "string", PLACE: "int64"}, name="rows")
    names = ibis.table({"key": "string", "name": "string"}, name="names")
    joined = rows.left_join(names, "key").select(PLACE, "name")
    step = Step(joined, rows)
    text = {"key": Coded.of(pa.chunked_array([["a", "b", "a", None]]))}
    engine.bind_arrow("names", pa.table({"key": ["a", "b"], "name": ["A", "B"]}))
    assert step.run(engine, text, 4)["name"].plain().to_pylist() == ["A", "B", "A", None]
    engine.bind_arrow("names", pa.table({"key": ["a", "a"], "name": ["A", "B"]}))
    with pytest.raises(BrokenStepError):
        step.run(engine, text, 4)
