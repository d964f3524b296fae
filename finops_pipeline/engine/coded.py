"""Rows as codes: a column is its distinct values, and for each row the place of its value.

A bill repeats itself: a million rows hold few services, regions, tags and hours. So a step of
expressions is worked out once for each distinct combination of what a column is made from, by the
engine as ever, and the results are dealt out to the rows by their codes. No expression may look
at another row than its own: a join to a catalogue with one row a key may, a window may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis.expr.operations as ops
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql

Codes = npt.NDArray[np.integer[Any]]

PLACE = "place"

_ROOM = 2**62  # codes of several columns are made one integer as long as they fit below this
_ALIKE = 4  # columns with at most so many times more values are worked out side by side
_FEW = 4096  # and those with fewer always


class BrokenStepError(AssertionError):
    """A step gave more or fewer rows than it was given: a catalogue has a key twice."""


@dataclass(frozen=True)
class Coded:
    """A column: row `i` has the value `values[codes[i]]`, or without codes `values[i]`."""

    values: pa.Array
    codes: Codes | None

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Coded:
        """A column by its distinct values, null among them."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode(null_encoding="encode")
        encoded = column.unify_dictionaries().combine_chunks()
        if not encoded.null_count or encoded.dictionary.null_count:
            return cls(encoded.dictionary, encoded.indices.to_numpy())
        null = len(encoded.dictionary)
        values = pa.concat_arrays([encoded.dictionary, pa.nulls(1, encoded.dictionary.type)])
        return cls(values, encoded.indices.fill_null(null).to_numpy())

    def at(self, rows: Codes) -> Coded:
        """The column of these rows, in this order."""
        if self.codes is None:
            return Coded(self.values.take(pa.array(rows)), None)
        return Coded(self.values, self.codes[rows])

    def plain(self) -> pa.Array:
        """The column as an array of its values, row by row."""
        return self.values if self.codes is None else self.values.take(pa.array(self.codes))

    def array(self) -> pa.Array:
        """The column as Arrow has it: text as a dictionary, everything else plain."""
        if self.codes is not None and pa.types.is_string(self.values.type):
            return _dictionary(self.values, self.codes)
        return self.plain()

    def dealt(self, codes: Codes | None) -> Coded:
        """These values, one a code, given to rows by their codes; equal values become one.

        This column has no codes of its own. Without codes it is the answer: a value a row.
        """
        if codes is None:
            return Coded(self.values, None)
        encoded = self.values.dictionary_encode(null_encoding="encode")
        if len(encoded.dictionary) == len(self.values):
            return Coded(self.values, codes)
        return Coded(encoded.dictionary, encoded.indices.to_numpy()[codes])


Rows = Mapping[str, Coded]


def rows_at(rows: Rows, chosen: Codes) -> Rows:
    """These rows of all columns, in this order. Columns that share their codes still do."""
    shared = {id(c.codes): c.codes for c in rows.values() if c.codes is not None}
    taken = {key: codes[chosen] for key, codes in shared.items()}
    return {
        name: c.at(chosen) if c.codes is None else Coded(c.values, taken[id(c.codes)])
        for name, c in rows.items()
    }


def table_of(rows: Rows) -> pa.Table:
    """Rows as a table, text as dictionaries."""
    return pa.table({name: column.array() for name, column in rows.items()})


def placed(rows: Rows, count: int) -> pa.Table:
    """Rows as a plain table with their PLACE."""
    plain = {name: column.plain() for name, column in rows.items()}
    return pa.table({**plain, PLACE: np.arange(count)})


@dataclass(frozen=True)
class _Group:
    """Columns made from the same others: their distinct combinations, and each row's place."""

    label: str
    columns: tuple[str, ...]
    inputs: Mapping[str, pa.Array]
    codes: Codes | None
    size: int


class Step:
    """Expressions over the table `rows`, which has a column PLACE that numbers its rows from 0.

    `result` selects PLACE and whatever else from `rows`, and from catalogues that are joined to
    it on the left, of which none may have a key twice.
    """

    def __init__(self, result: ir.Table, rows: ir.Table) -> None:
        self.name = rows.get_name()
        self.whole = Sql(result)
        self._types = rows.schema().to_pyarrow()
        self._passed: dict[str, str] = {}
        self._same: dict[str, str] = {}
        select: Any = result.op()
        made_from: dict[tuple[str, ...], list[str]] = {}
        first: dict[Any, str] = {}
        for column, value in select.values.items():
            field = ops.Field(select, column)
            if column == PLACE:
                continue
            if source := _passed_from(field, self.name):
                self._passed[column] = source
            elif first.setdefault(value, column) != column:
                self._same[column] = first[value]
            else:
                made_from.setdefault(tuple(sorted(_inputs(field, self.name))), []).append(column)
        self._made_from = {i: tuple(columns) for i, columns in sorted(made_from.items())}

    def run(self, engine: Engine, rows: Rows, count: int) -> dict[str, Coded]:
        """The step's columns for `count` rows. Raises BrokenStepError."""
        found = {column: rows[source] for column, source in self._passed.items()}
        groups = [
            _group(str(i), columns, {name: rows[name] for name in inputs}, count)
            for i, (inputs, columns) in enumerate(self._made_from.items())
        ]
        for side_by_side in _rounds(groups, self.whole.is_plain):
            found |= self._worked_out(engine, side_by_side)
        return found | {column: found[other] for column, other in self._same.items()}

    def _worked_out(self, engine: Engine, groups: Sequence[_Group]) -> dict[str, Coded]:
        size = max(g.size for g in groups)
        given = {PLACE: pa.array(np.arange(size))}
        if self.whole.is_plain:
            for g in groups:
                given |= {f"{g.label} {n}": _padded(v, size) for n, v in g.inputs.items()}
            given[f" {PLACE}"] = given[PLACE]
            asked = self.whole.apart([("", [PLACE]), *((g.label, g.columns) for g in groups)])
        else:
            given |= {n: _padded(v, size) for g in groups for n, v in g.inputs.items()}
            unasked = {t: pa.nulls(size, t) for t in {f.type for f in self._types}}
            given |= {f.name: unasked[f.type] for f in self._types if f.name not in given}
            asked = self.whole.only([PLACE, *(c for g in groups for c in g.columns)])
        engine.bind_arrow(self.name, pa.table(given))
        done = engine.rows(asked).sort_by(PLACE)
        if not np.array_equal(done.column(PLACE).to_numpy(), np.arange(size)):
            raise BrokenStepError(f"{self.name}: {size} rows became {done.num_rows}")
        return {
            column: Coded(_whole(done.column(column).slice(0, g.size)), None).dealt(g.codes)
            for g in groups
            for column in g.columns
        }


def _group(label: str, columns: tuple[str, ...], inputs: Mapping[str, Coded], count: int) -> _Group:
    if not inputs:
        return _Group(label, columns, {}, np.zeros(count, np.int32), 1)
    if len(inputs) == 1:
        ((name, only),) = inputs.items()
        return _Group(label, columns, {name: only.values}, only.codes, len(only.values))
    if any(c.codes is None for c in inputs.values()):
        return _Group(label, columns, {n: c.plain() for n, c in inputs.items()}, None, count)
    codes, firsts = combined(list(inputs.values()))
    distinct = {name: c.at(firsts).plain() for name, c in inputs.items()}
    return _Group(label, columns, distinct, codes, len(firsts))


def _dictionary(values: pa.Array, codes: Codes) -> pa.Array:
    """A dictionary array with its null beside the dictionary, as Parquet wants it."""
    if not values.null_count:
        return pa.DictionaryArray.from_arrays(pa.array(codes), values)
    null = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
    rest = pa.concat_arrays([values.slice(0, null), values.slice(null + 1)])
    indices = pa.array(codes - (codes > null), mask=codes == null)
    return pa.DictionaryArray.from_arrays(indices, rest)


def combined(columns: Sequence[Coded]) -> tuple[Codes, Codes]:
    """The distinct combinations of columns that have codes: each row's, and a row of each."""
    joint: Any = np.int64(0)
    size = 1
    for column in columns:
        if size * len(column.values) >= _ROOM:
            joint, size = _dense(joint)
        joint, size = joint * len(column.values) + column.codes, size * len(column.values)
    codes, size = _dense(joint)
    firsts = np.empty(size, np.int64)
    firsts[codes[::-1]] = np.arange(len(codes))[::-1]  # of a code's rows the first is written last
    return codes, firsts


def _dense(codes: Codes) -> tuple[Codes, int]:
    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy(), len(encoded.dictionary)


def _rounds(groups: Iterable[_Group], apart: bool) -> list[list[_Group]]:
    """Groups that one query works out side by side: of about one size.

    Unless a query can keep them apart, they are made of other columns as well.
    """
    rounds: list[list[_Group]] = []
    for group in sorted(groups, key=lambda g: -g.size):
        for others in rounds:
            alike = others[0].size <= max(group.size * _ALIKE, _FEW)
            if alike and (apart or all(group.inputs.keys().isdisjoint(o.inputs) for o in others)):
                others.append(group)
                break
        else:
            rounds.append([group])
    return rounds


def _padded(values: pa.Array, size: int) -> pa.Array:
    if len(values) == size:
        return values
    return pa.concat_arrays([values, pa.nulls(size - len(values), values.type)])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _passed_from(field: ops.Field, base: str) -> str | None:
    """The column of the rows that a field is, unchanged; None where it is anything else."""
    value: Any = field
    while isinstance(value, ops.Field):
        relation: Any = value.rel
        if isinstance(relation, ops.UnboundTable):
            return value.name if relation.name == base else None
        values = getattr(relation, "values", {})
        if value.name in values:
            value = values[value.name]
        else:
            value = ops.Field(relation.parent, value.name)
    return None


def _inputs(node: Any, base: str) -> frozenset[str]:
    """The columns of the rows that a value is made from, through selects and joins."""
    if not isinstance(node, ops.Field):
        children = (c for c in node.__children__ if not isinstance(c, ops.Relation))
        return frozenset().union(*(_inputs(c, base) for c in children))
    relation: Any = node.rel
    if isinstance(relation, ops.UnboundTable):
        return frozenset((node.name,) if relation.name == base else ())
    if isinstance(relation, ops.JoinChain):
        value = relation.values[node.name]
        found = _inputs(value, base)
        for link in relation.rest:  # what is looked up depends on what it is looked up by
            if any(f.rel == link.table for f in value.find(ops.Field)):
                found = found.union(*(_inputs(p, base) for p in link.predicates))
        return found
    if isinstance(relation, ops.Project):
        return _inputs(relation.values[node.name], base)
    return _inputs(ops.Field(relation.parent, node.name), base)
