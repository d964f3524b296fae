"""Rows of reports to charges and rejected rows, a batch at a time: memory follows the batch.

What is done to a row is in `mapping.py`; here it is done, by distinct values where the engine is
quick and by rows where it is not. Both give the same rows (a test runs both).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.coded import (
    PLACE,
    Coded,
    Codes,
    Rows,
    combined,
    placed,
    rows_at,
    table_of,
)
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest.reading import bad_fields
from finops_pipeline.ingest.rows import ROW
from finops_pipeline.ingest.salvage import BadRow
from finops_pipeline.normalize.mapping import Mapping as FocusMapping

# About 600 bytes a row are held; planning the queries of a batch costs as much as 20,000 rows.
_ROWS = 150_000
# The files of charges: one for each of these.
FILED_BY = ("x_ReportId", "x_ChargeDay")


@dataclass(frozen=True)
class Parcel:
    """Some rows of one report as text, and what is the same on all rows of the report."""

    constants: Mapping[str, str]
    rows: pa.Table


def batches(parcels: Iterable[Parcel]) -> Iterator[list[Parcel]]:
    """The parcels in order, as many at a time as make a batch."""
    batch: list[Parcel] = []
    held = 0
    for parcel in parcels:
        batch.append(parcel)
        held += parcel.rows.num_rows
        if held >= _ROWS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


class Mapper:
    """Maps rows of reports that have the same header; the catalogues are bound before."""

    def __init__(self, engine: Engine, mapping: FocusMapping) -> None:
        self._engine = engine
        self._mapping = mapping

    def map(self, batch: Sequence[Parcel]) -> tuple[pa.Table, pa.Table]:
        """The charges (`focus_costs`) and the rejected rows of a batch."""
        text, count = _text(batch)
        mapped = self._by_values(text, count) if self._engine.quick else self._by_rows(text, count)
        valid = np.ones(count, bool)
        for rule in self._mapping.rules:
            valid &= mapped[rule].plain().to_numpy(zero_copy_only=False)
        rows = {name: mapped[name] for name in tables()["focus_costs"].names}
        (good,), (bad,) = np.nonzero(valid), np.nonzero(~valid)
        return table_of(_as_filed(rows, good)), self._rejected(bad, text)

    def bad_rows(
        self,
        bad: Sequence[BadRow],
        columns: Mapping[str, int | None],
        constants: Mapping[str, str],
    ) -> pa.Table:
        """Records that were no rows, as rejected rows; what can be told of them is told.

        Their text goes through the same expressions as every other row, so that day, currency
        and cost are those that the ledger counted. The rule that speaks for them is that they
        are no rows.
        """
        text = bad_fields(bad, columns) | {k: [v] * len(bad) for k, v in constants.items()}
        rows = {n: Coded(pa.array(values, pa.string()), None) for n, values in text.items()}
        rows[ROW] = Coded(pa.array([b.row for b in bad], pa.int64()), None)
        rejected = self._as_rejected(rows, len(bad)).to_pylist()
        for row, one in zip(rejected, bad, strict=True):
            row |= {"column": one.column, "value": one.value, "reason": one.reason}
        return pa.Table.from_pylist(rejected, arrow_schema(tables()["rejected_rows"]))

    def _by_values(self, rows: Rows, count: int) -> Rows:
        for step in self._mapping.steps:
            rows = step.run(self._engine, rows, count)
        return rows

    def _by_rows(self, rows: Rows, count: int) -> Rows:
        self._bind(placed(rows, count))
        mapped = self._engine.rows(self._mapping.steps[-1].whole).sort_by(PLACE)
        return {n: Coded(mapped.column(n).combine_chunks(), None) for n in mapped.column_names}

    def _bind(self, rows: pa.Table) -> None:
        first, *further = self._mapping.steps
        self._engine.bind_arrow(first.name, rows)
        before = first
        for step in further:
            self._engine.bind_sql(step.name, before.whole)
            before = step

    def _rejected(self, rows: Codes, text: Rows) -> pa.Table:
        schema = arrow_schema(tables()["rejected_rows"])
        if not len(rows):
            return schema.empty_table()
        chosen = {name: column.at(rows) for name, column in text.items()}
        return self._as_rejected(chosen, len(rows)).cast(schema)

    def _as_rejected(self, rows: Rows, count: int) -> pa.Table:
        self._bind(placed(rows, count))
        return self._engine.rows(self._mapping.rejected)


def _as_filed(rows: Rows, chosen: Codes) -> Rows:
    """The chosen rows, those of one report and charge day together, as files take them.

    Codes are put in order here at a fraction of what all columns would cost afterwards.
    """
    files, firsts = combined([_coded(rows[name]) for name in FILED_BY])
    if len(firsts) > 1:
        chosen = chosen[np.argsort(files[chosen], kind="stable")]
    elif len(chosen) == len(files):
        return rows
    return rows_at(rows, chosen)


def _coded(column: Coded) -> Coded:
    return column if column.codes is not None else Coded.of(pa.chunked_array([column.values]))


def _text(batch: Sequence[Parcel]) -> tuple[dict[str, Coded], int]:
    """The text of a batch by distinct values, and the number of its rows."""
    rows = pa.concat_tables(parcel.rows for parcel in batch)
    text = {
        name: Coded.of(column)
        if pa.types.is_dictionary(column.type)
        else Coded(column.combine_chunks(), None)
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
    which = np.repeat(
        np.arange(len(batch), dtype=np.int32), [parcel.rows.num_rows for parcel in batch]
    )
    for name in batch[0].constants:
        values = pa.array([parcel.constants[name] for parcel in batch], pa.string())
        text[name] = Coded(values, None).dealt(which)
    return text, rows.num_rows
