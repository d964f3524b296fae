"""The floor: what this machine needs for the least that anything can do with the same reports.

Each function is a process of its own: `python -m benchmarks.floor WHICH SOURCE OUT FACTS`. It
writes what it did as JSON to FACTS, so that a floor which skipped rows cannot go unnoticed.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.data import reports

_CHUNK = 100_000  # rows that pandas holds
_PIECE = 1 << 20
_DECIMAL = "DECIMAL(38,18)"
# With `columns` alone DuckDB still sniffs the dialect, which costs as much as all the rest.
_DIALECT = "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"'"
# Every other column is VARCHAR.
_TYPES = {
    "lineItem/intervalUsageStart": "TIMESTAMP",
    "lineItem/intervalUsageEnd": "TIMESTAMP",
    "usage/billedQuantity": _DECIMAL,
    "usage/billedQuantityOverage": _DECIMAL,
    "cost/unitPrice": _DECIMAL,
    "cost/unitPriceOverage": _DECIMAL,
    "cost/myCost": _DECIMAL,
    "cost/myCostOverage": _DECIMAL,
    "cost/attributedCost": _DECIMAL,
    "usage/attributedUsage": _DECIMAL,
    "lineItem/isCorrection": "BOOLEAN",
}


def floor(source: Path, out: Path) -> dict[str, int]:
    """One bare COPY of each report to Parquet: dialect and types given, nothing to find out."""
    return _copy(source, out, lambda path: f"{_DIALECT}, columns = {_columns(path)}")


def floor_sniffed(source: Path, out: Path) -> dict[str, int]:
    """The same as most would type it: DuckDB finds out dialect and types of each report."""
    return _copy(source, out, lambda _: "")


def decompress(source: Path, out: Path) -> dict[str, int]:
    """Only gunzip, with zlib, and throw the text away."""
    size = 0
    for path in reports(source):
        gunzip = zlib.decompressobj(31)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                size += len(gunzip.decompress(piece))
    return {"bytes": size}


def write(source: Path, out: Path) -> dict[str, int]:
    """Only write as many bytes as the floor wrote, one file after the other, and sync it."""
    size = sum(path.stat().st_size for path in _parquet(out.with_name("floor")))
    piece = os.urandom(_PIECE)
    with out.open("wb") as file:
        for start in range(0, size, _PIECE):
            file.write(piece[: min(_PIECE, size - start)])
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size}


def script(source: Path, out: Path) -> dict[str, int]:
    """What most people would write: all reports into one Parquet file, then a GROUP BY."""
    import duckdb

    out.mkdir()
    target = out / "all.parquet"
    connection = duckdb.connect()
    connection.execute(
        f"COPY (SELECT * FROM read_csv_auto('{source}/**/*.csv.gz', union_by_name = true)) "
        f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    )
    by_service = connection.execute(
        'SELECT "product/service", CAST("lineItem/intervalUsageStart" AS DATE), '
        f"sum(\"cost/myCost\"), count(*) FROM '{target}' GROUP BY ALL"
    ).fetchall()
    return {"rows": sum(row[3] for row in by_service), "bytes": target.stat().st_size}


def pandas_loop(source: Path, out: Path) -> dict[str, int]:
    """The other script that many write: pandas in chunks, each to Parquet, sums merged."""
    import pandas

    out.mkdir()
    sums: list[pandas.DataFrame] = []
    rows = 0
    for path in reports(source):
        for i, chunk in enumerate(pandas.read_csv(path, chunksize=_CHUNK, low_memory=False)):
            rows += len(chunk)
            chunk.to_parquet(out / f"{path.name}-{i}.parquet", compression="zstd")
            day = chunk["lineItem/intervalUsageStart"].str[:10]
            sums.append(chunk.groupby(["product/service", day])["cost/myCost"].sum().reset_index())
    merged = pandas.concat(sums).groupby(["product/service", "lineItem/intervalUsageStart"]).sum()
    return {
        "rows": rows,
        "sums": len(merged),
        "bytes": sum(p.stat().st_size for p in _parquet(out)),
    }


def _copy(source: Path, out: Path, options: Callable[[Path], str]) -> dict[str, int]:
    import duckdb

    out.mkdir()
    connection = duckdb.connect()
    rows = 0
    for path in reports(source):
        given = ", ".join(filter(None, [f"'{path}'", options(path)]))
        copied = connection.execute(
            f"COPY (SELECT * FROM read_csv({given})) "
            f"TO '{out / path.name}.parquet' (FORMAT parquet, COMPRESSION zstd)"
        ).fetchone()
        rows += copied[0] if copied else 0
    return {"rows": rows, "bytes": sum(p.stat().st_size for p in _parquet(out))}


def _columns(path: Path) -> str:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        names = file.readline().strip().split(",")
    listed = ", ".join(f"'{name}': '{_TYPES.get(name, 'VARCHAR')}'" for name in names)
    return f"{{{listed}}}"


def _parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


STEPS = {f.__name__: f for f in (floor, floor_sniffed, decompress, write, script, pandas_loop)}

if __name__ == "__main__":
    which, from_, to, facts = sys.argv[1:]
    Path(facts).write_text(json.dumps(STEPS[which](Path(from_), Path(to))), encoding="utf-8")
