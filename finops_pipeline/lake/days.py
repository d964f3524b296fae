"""Cutting work and rows by day: tables here are written a day at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc


def by_day(rows: pa.Table, column: str) -> Iterator[tuple[date, pa.Table]]:
    """The rows of each day that occurs in the column, in order of the days."""
    for day in sorted(set(rows.column(column).to_pylist())):
        yield day, rows.filter(pc.equal(rows.column(column), pa.scalar(day, pa.date32())))


def chunks(days: Sequence[date], rows: Callable[[date], int], most: int) -> Iterator[list[date]]:
    """The days in order, as many at a time as have `most` rows together; one day at least."""
    chunk: list[date] = []
    held = 0
    for day in sorted(days):
        here = rows(day)
        if chunk and held + here > most:
            yield chunk
            chunk, held = [], 0
        chunk.append(day)
        held += here
    if chunk:
        yield chunk
