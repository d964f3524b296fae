"""Files by value: every row in the file of its value, the same bytes however the rows arrive."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline.engine.split import write_parts

# One part of several row groups, then small ones, one of them a value that others begin with.
SIZES = {("2025-01-01", "a"): 50_000, ("2025-01-01", "ab"): 3, ("2025-01-02", "a"): 1}
ROWS = pa.table(
    {
        "day": [day for (day, _), n in SIZES.items() for _ in range(n)],
        "owner": [owner for (_, owner), n in SIZES.items() for _ in range(n)],
        "number": list(range(sum(SIZES.values()))),
        "note": [None if n % 3 else f"{n % 50}" for n in range(sum(SIZES.values()))],
    }
)


def written(folder: Path, size: int) -> dict[tuple[str, ...], bytes]:
    folder.mkdir()
    parts = write_parts(ROWS.to_batches(max_chunksize=size), ("day", "owner"), folder)
    assert {value: rows for value, (_, rows) in parts.items()} == SIZES
    return {value: path.read_bytes() for value, (path, _) in parts.items()}


def test_each_value_has_a_file_with_its_rows_in_order(tmp_path: Path) -> None:
    parts = written(tmp_path / "once", 20_480)
    found = [pq.ParquetFile(pa.BufferReader(content)).read() for content in parts.values()]
    assert pa.concat_tables(found).equals(ROWS)


@pytest.mark.parametrize("size", [1_000, 20_481, 60_000])
def test_where_batches_end_leaves_no_trace(tmp_path: Path, size: int) -> None:
    assert written(tmp_path / "some", size) == written(tmp_path / "other", 20_480)


def test_no_rows_are_no_files(tmp_path: Path) -> None:
    assert write_parts(ROWS.slice(0, 0).to_batches(), ("day", "owner"), tmp_path) == {}
