"""Rows as lines of a report: which column holds which text, and how to write many lines fast.

Neighbouring columns that depend on the same facet form a run. The text of a run is made once for
each entry of its facet and used for all rows that have it, so a line costs a few look-ups and no
formatting. Nothing here knows what a text means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from finops_pipeline.demo.catalogue import Catalogue, data_rows
from finops_pipeline.demo.chance import Ints, references
from finops_pipeline.demo.facets import ORDINARY, Facets, tags_json
from finops_pipeline.demo.money import Cells
from finops_pipeline.demo.usage import Rows

_LINE_END = "\r\n"


@dataclass(frozen=True)
class Column:
    """A column of a report: its header, and the text it holds, as a value of a facet."""

    header: str
    facet: str
    value: str


def columns_at(format_: str, goods: Catalogue, share: Decimal) -> tuple[Column, ...]:
    """The columns of a format (`cost` or `focus`) when `share` of the period has passed."""
    table = data_rows({"cost": "cost_csv_columns.csv", "focus": "focus_columns.csv"}[format_])
    columns = [
        Column(row["header"], row["facet"], row["value"])
        for row in table
        if Decimal(row["since"]) <= share
    ]
    if format_ == "cost":
        columns += [Column(f"tags/{k}", "tags", k) for k in tag_keys_at(goods, share)]
    return tuple(columns)


def tag_keys_at(goods: Catalogue, share: Decimal) -> tuple[str, ...]:
    """The tag keys that exist when `share` of the period has passed."""
    return tuple(k.key for k in goods.tag_keys if k.since <= share < k.until)


class Layout:
    """One header, and lines below it."""

    def __init__(
        self, columns: tuple[Column, ...], facets: Facets, tag_keys: tuple[str, ...]
    ) -> None:
        self._facets = facets
        self._tag_keys = tag_keys
        self._fixed: dict[str, Cells] = {"tenancy": facets.tenancy, "nature": ORDINARY}
        self._columns = columns
        self._runs = _runs(columns)
        self._tables = {f: _Table(facets.size(f)) for f, _ in self._runs if f != "reference"}
        self.header = (",".join(quoted(c.header) for c in columns) + _LINE_END).encode()

    @property
    def width(self) -> int:
        """How many pieces make a line in what `pieces` returns."""
        return len(self._runs)

    def pieces(self, rows: Rows) -> list[bytes]:
        """The lines of many rows, `width` pieces a line; joined, they are the text."""
        entries = self._facets.entries(rows)
        made = np.empty((len(rows), self.width), dtype=object)
        for facet, table in self._tables.items():
            for entry in table.unknown(entries[facet]):
                table.put(entry, self._texts(facet, entry))
        seen: dict[str, int] = {}
        for place, (facet, _) in enumerate(self._runs):
            if facet == "reference":
                made[:, place] = np.char.add(references(rows.luck), b",").astype(object)
            else:
                made[:, place] = self._tables[facet].texts(seen.get(facet, 0), entries[facet])
                seen[facet] = seen.get(facet, 0) + 1
        pieces: list[bytes] = made.ravel().tolist()
        return pieces

    def line(self, cells: Mapping[str, Cells]) -> bytes:
        """One line from the cells of each facet, for rows that are not like others."""
        cells = {**self._fixed, **cells, "tags": self._with_json(cells["tags"])}
        return (",".join(quoted(cells[c.facet][c.value]) for c in self._columns)).encode() + b"\r\n"

    def _texts(self, facet: str, entry: int) -> list[bytes]:
        cells = self._facets.cells(facet, entry)
        known = {**self._fixed, facet: self._with_json(cells) if facet == "tags" else cells}
        texts = []
        for at, (owner, columns) in enumerate(self._runs):
            if owner == facet:
                text = ",".join(quoted(known[c.facet][c.value]) for c in columns)
                texts.append((text + (_LINE_END if at == self.width - 1 else ",")).encode())
        return texts

    def _with_json(self, tags: Cells) -> Cells:
        return {**tags, "json": tags_json({k: tags[k] for k in self._tag_keys})}


class _Table:
    """The texts of a facet's runs, for the entries met so far."""

    def __init__(self, size: int) -> None:
        self._known = np.zeros(size, dtype=np.bool_)
        self._texts: list[NDArray[np.object_]] = []

    def unknown(self, entries: Ints) -> list[int]:
        missing = entries[~self._known[entries]]
        found: list[int] = np.unique(missing).tolist() if len(missing) else []
        return found

    def put(self, entry: int, texts: list[bytes]) -> None:
        while len(self._texts) < len(texts):
            self._texts.append(np.empty(len(self._known), dtype=object))
        for table, text in zip(self._texts, texts, strict=True):
            table[entry] = text
        self._known[entry] = True

    def texts(self, run: int, entries: Ints) -> NDArray[np.object_]:
        return self._texts[run][entries]


def quoted(text: str) -> str:
    """A text as a CSV cell: quoted where a comma, quote or line end asks for it."""
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _runs(columns: tuple[Column, ...]) -> list[tuple[str, list[Column]]]:
    """Neighbouring columns of one facet; fixed ones go with a neighbour, as they cost nothing."""
    runs: list[tuple[str, list[Column]]] = []
    waiting: list[Column] = []
    for column in columns:
        fixed = column.facet in ("tenancy", "nature")
        if fixed and (not runs or runs[-1][0] == "reference"):
            waiting.append(column)
        elif runs and (fixed or runs[-1][0] == column.facet):
            runs[-1][1].append(column)
        else:
            runs.append((column.facet, [*waiting, column]))
            waiting = []
    return runs
