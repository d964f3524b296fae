"""A small table for the lake's tests, and its rows as another reader sees them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline.contracts.tables import Column, Table
from finops_pipeline.lake.delta import LakeFile, LakeTable, Partition

TABLE = Table(
    "numbers",
    "Numbers of owners.",
    (
        Column("source", "String", False, ""),
        Column("owner", "String", False, ""),
        Column("number", "Integer", False, ""),
    ),
    ("source", "owner"),
)


def lake(folder: Path) -> LakeTable:
    """The table below a folder."""
    return LakeTable(folder, TABLE)


def written(table: LakeTable, partition: Partition, number: int) -> LakeFile:
    """A Parquet file with one row, at its place and not yet in the table."""
    file = LakeFile(partition, f"file{number}")
    path = Path(table.location(file))
    path.parent.mkdir(parents=True, exist_ok=True)
    source, owner = partition
    row = {"source": [source], "owner": [owner], "number": pa.array([number], pa.int64())}
    pq.write_table(pa.table(row), path)
    return file


def rows(table: LakeTable, version: int | None = None) -> list[tuple[str, str, int]]:
    """What Delta's own reader finds in the table."""
    found = DeltaTable(table.root, version=version).to_pyarrow_table().to_pylist()
    return sorted((r["source"], r["owner"], r["number"]) for r in found)
