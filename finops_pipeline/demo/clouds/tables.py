"""Charges as Arrow tables: texts by line, exact decimals, times.

Money goes from integers to decimals without rounding. Where a provider's file has binary floats
(Parquet from AWS and Azure), the float is the one whose shortest text is that decimal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finops_pipeline.demo.catalogue import data_rows
from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.clouds.goods import Cloud
from finops_pipeline.demo.clouds.lines import COST_DIGITS, PRICE_DIGITS, QUANTITY_DIGITS, USE, Lines
from finops_pipeline.demo.clouds.usage import Charges, Month

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

_CATEGORIES = {
    USE: "Usage", "unused": "Usage", "purchase": "Purchase", "support": "Purchase", "tax": "Tax",
    "credit": "Credit", "late-credit": "Credit", "marketplace": "Purchase",
    "late-marketplace": "Purchase",
}  # fmt: skip
_FREQUENCIES = {USE: "Usage-Based", "unused": "Usage-Based", "purchase": "Recurring",
                "support": "Recurring", "marketplace": "Recurring"}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a report: the name of a value, or `=` and a text that all rows have."""

    header: str
    value: str
    type: str


def columns_of(name: str) -> list[Column]:
    """The columns of a report as `data/clouds/` tells them."""
    return [Column(**row) for row in data_rows(f"clouds/{name}_columns.csv")]


class FocusTable:
    """Makes the rows of a FOCUS report."""

    def __init__(self, name: str, goods: Cloud, lines: Lines, first_day: date) -> None:
        self._columns = columns_of(name)
        self._lines = lines
        self._midnight = datetime.combine(first_day, time(), UTC)
        told = [focus_texts(goods, lines, number) for number in range(len(lines.all))]
        self._texts = {
            c.value: texts_of(told, c.value) for c in self._columns if c.type == "text" and c.value
        }
        self._is_use = lines.is_use

    def rows(self, charges: Charges, month: Month) -> pa.Table:
        """The rows as decimals, times and texts."""
        numbers = self._numbers(charges)
        times = {
            "start": moments(self._midnight, charges.start),
            "end": moments(self._midnight, charges.start + charges.hours),
            "month_start": _same(month.start, len(charges)),
            "month_end": _same(month.end, len(charges)),
        }
        kinds = {"number": numbers, "time": times}
        made = []
        for column in self._columns:
            if column.type == "text":
                made.append(self._text(column.value, charges))
            elif column.value:
                made.append(kinds[column.type][column.value])
            else:
                made.append(pa.nulls(len(charges), pa.decimal128(38, COST_DIGITS)))
        return pa.table(dict(zip((c.header for c in self._columns), made, strict=True)))

    def _text(self, value: str, charges: Charges) -> pa.Array:
        if not value:
            return pa.nulls(len(charges), pa.string())
        return self._texts[value].take(pa.array(charges.line))

    def _numbers(self, charges: Charges) -> dict[str, pa.Array]:
        line, used = charges.line, self._is_use[charges.line]
        lines = self._lines
        return {
            "billed": decimals(charges.billed, COST_DIGITS),
            "effective": decimals(charges.effective, COST_DIGITS),
            "list": decimals(charges.listed, COST_DIGITS),
            "contracted": decimals(charges.cost, COST_DIGITS),
            "quantity": decimals(charges.quantity, QUANTITY_DIGITS, used),
            "consumed": decimals(charges.quantity, QUANTITY_DIGITS, used),
            "list_price": decimals(lines.list_price[line], PRICE_DIGITS, used),
            "contracted_price": decimals(lines.price[line], PRICE_DIGITS, used),
        }


def focus_texts(goods: Cloud, lines: Lines, number: int) -> dict[str, str]:
    """What a FOCUS report says of a line."""
    line, bought = lines.all[number], goods.commitment
    export = goods.exports[line.export]
    said = {
        **line.texts,
        "billing_account": export.billing_account,
        "billing_account_name": export.billing_account_name,
        "currency": goods.currency,
        "charge_category": _CATEGORIES[line.role],
        "charge_frequency": _FREQUENCIES.get(line.role, "One-Time"),
        "sub_account_type": "Subscription" if line.texts["account"] else "",
        "publisher_category": "Marketplace" if "marketplace" in line.role else "Vendor",
    }
    if line.role == USE:
        said |= {
            "consumed_unit": said["unit"],
            "pricing_category": "Committed" if line.covered else "Standard",
            "sku_price": f"{said['sku']}.JRTCKXETXF",
            # Azure names no publisher where a reservation pays.
            "publisher": "" if line.covered else "Microsoft",
        }
    status = {"unused": "Unused", USE: "Used", "purchase": ""}.get(line.role)
    if bought and status is not None and (line.covered or line.role != USE):
        said |= {
            "commitment_id": bought.id,
            "commitment_name": bought.name,
            "commitment_type": bought.type,
            "commitment_category": bought.category,
            "commitment_unit": bought.unit,
            "commitment_status": status,
        }
    return said


def texts_of(told: Sequence[Mapping[str, str]], value: str) -> pa.Array:
    """A value of each line; nothing where it is empty."""
    if value.startswith("="):
        return pa.array([value[1:]] * len(told), pa.string())
    return pa.array([line.get(value) or None for line in told], pa.string())


def decimals(values: Ints, digits: int, known: Mask | None = None) -> pa.Array:
    """Integers of 10^-digits as decimals, exactly; null where they are not `known`."""
    words = np.empty((len(values), 2), dtype=np.int64)
    words[:, 0] = values
    words[:, 1] = values >> 63
    made = pa.Array.from_buffers(
        pa.decimal128(38, digits), len(values), [None, pa.py_buffer(words.tobytes())]
    )
    return made if known is None else pc.if_else(pa.array(known), made, None)


def moments(midnight: datetime, hours: Ints) -> pa.Array:
    """Hours since a midnight as times."""
    start = int(midnight.timestamp())
    return pa.array((hours * 3600 + start) * 1000, pa.timestamp("ms", "UTC"))


def _same(day: date, rows: int) -> pa.Array:
    return moments(datetime.combine(day, time(), UTC), np.zeros(rows, dtype=np.int64))


def decimal_texts(column: pa.Array) -> pa.Array:
    """Decimals as texts: plain without needless zeros, or small ones as `3.5E-8`."""
    text = pc.cast(column, pa.string())
    trimmed = pc.utf8_rtrim(pc.utf8_rtrim(text, characters="0"), characters=".")
    zero = pc.starts_with(text, "0E")
    return pc.if_else(zero, "0", pc.if_else(pc.match_substring(text, "E"), text, trimmed))


def as_texts(table: pa.Table, spelling: str = "%Y-%m-%dT%H:%M:%SZ") -> pa.Table:
    """All columns as texts, as a CSV has them; nothing is empty."""
    made = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        chunk = column.combine_chunks()
        if pa.types.is_decimal(chunk.type):
            chunk = decimal_texts(chunk)
        elif pa.types.is_timestamp(chunk.type):
            chunk = _spelled(chunk, spelling)
        made[name] = chunk
    return pa.table(made)


def as_floats(table: pa.Table) -> pa.Table:
    """Decimals as doubles, as the providers' Parquet files have them."""
    return pa.table(
        {
            name: pc.cast(decimal_texts(c.combine_chunks()), pa.float64())
            if pa.types.is_decimal(c.type)
            else c
            for name, c in zip(table.column_names, table.columns, strict=True)
        }
    )


def _spelled(column: pa.Array, spelling: str) -> pa.Array:
    coded = column.dictionary_encode()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    known = coded.dictionary.cast(pa.int64()).to_pylist()
    words = [(epoch + timedelta(milliseconds=ms)).strftime(spelling) for ms in known]
    return pa.array(words, pa.string()).take(coded.indices)
