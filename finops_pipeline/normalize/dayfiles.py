"""The files that a pass over reports writes: one for each table, report and charge day.

They grow in a spool folder as rows come, a row group at a time, and are somebody else's to put in
place once a report is whole.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.coded import Coded, combined

_TEXTS = [c.name for c in tables()["focus_costs"].columns if c.type in ("String", "JSON")]
_ROW_GROUP = 32_768  # rows; an engine reads the text of smaller ones by their dictionaries
_SPARSE = 4  # rows for each text of a dictionary; where there are fewer, the dictionary is remade
_UNLIKE = {"x_ReferenceNumber", "x_ReportRow", "report_row"}  # values that stand once in a report

Written = dict[str, dict[str, tuple[Path, int]]]


class DayFiles:
    """Files in the making, in a folder that is gone when the context is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, dict[tuple[str, str], _File]] = defaultdict(dict)

    def __enter__(self) -> DayFiles:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for report in list(self._writers):
                self.drop(report)
        finally:  # on a full disk the writers cannot end their files
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, table: str, rows: pa.Table, report: str, day: str) -> None:
        """Append rows to the table's files, by the columns `report` and `day`."""
        if not rows.num_rows:
            return
        keys = [Coded.of(rows.column(name)) for name in (report, day)]
        codes, firsts = combined(keys)
        if (codes[1:] < codes[:-1]).any():
            order = np.argsort(codes, kind="stable")
            rows, codes = rows.take(pa.array(order)), codes[order]
        bounds = np.searchsorted(codes, np.arange(len(firsts) + 1))
        reports, days = (key.at(firsts).plain().to_pylist() for key in keys)
        for i, (of_report, of_day) in enumerate(zip(reports, days, strict=True)):
            part = rows.slice(bounds[i], bounds[i + 1] - bounds[i])
            self._file(of_report, table, str(of_day), rows.schema).add(part)

    def _file(self, report: str, table: str, day: str, schema: pa.Schema) -> _File:
        files = self._writers[report]
        if (table, day) not in files:
            name = hashlib.sha256(report.encode()).hexdigest()[:32]
            files[table, day] = _File(self._folder / f"{name}-{table}-{day}.parquet", schema)
        return files[table, day]

    def close(self, report: str) -> Written:
        """Finish a report's files; returns each one and its rows, by table and charge day."""
        written: Written = defaultdict(dict)
        for (table, day), file in self._writers.pop(report, {}).items():
            written[table][day] = file.close()
        return written

    def drop(self, report: str) -> None:
        """Forget what was written of a report."""
        for file in self._writers.pop(report, {}).values():
            path, _ = file.close()
            path.unlink()


def write_without(source: Any, rows: Sequence[int], path: Path) -> tuple[Path, int]:
    """Write a charge file without some rows of its report, a row group at a time.

    Returns the file and its rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    left_out = pa.array(rows, pa.int64())
    charges = pq.ParquetFile(source, read_dictionary=_TEXTS, pre_buffer=False)
    kept = _File(path, charges.schema_arrow)
    for group in range(charges.num_row_groups):
        found = charges.read_row_group(group, use_threads=False)
        kept.add(found.filter(pc.invert(pc.is_in(found.column("x_ReportRow"), left_out))))
    return kept.close()


class _File:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._rows = 0
        self._writer = pq.ParquetWriter(
            path,
            schema,
            # Codes are small already, and setting up zstd for each of 84 columns costs more than
            # the rest of writing them; what stands once in a report is half of a file.
            compression={n: "zstd" if n in _UNLIKE else "snappy" for n in schema.names},
            use_dictionary=[name for name in schema.names if name not in _UNLIKE],
            # A file holds a day of one report in a row group or two: there is nothing to pass over,
            # and least and most of every column cost a quarter of the writing.
            write_statistics=False,
            store_schema=False,  # every engine is to read text as text
        )

    def add(self, rows: pa.Table) -> None:
        self._rows += rows.num_rows
        self._writer.write_table(_compact(rows), row_group_size=_ROW_GROUP)

    def close(self) -> tuple[Path, int]:
        self._writer.close()
        return self._path, self._rows


def _compact(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries of their own, where those they share hold much else."""
    for i, column in enumerate(rows.columns):
        if pa.types.is_dictionary(column.type):
            texts = max((len(chunk.dictionary) for chunk in column.chunks), default=0)
            if texts * _SPARSE > rows.num_rows:
                plain = column.cast(column.type.value_type)
                rows = rows.set_column(i, rows.field(i).name, plain.dictionary_encode())
    return rows
