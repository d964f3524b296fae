"""Every table's contract refuses what it must, and its two ways of looking give one verdict."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pandera.errors import SchemaErrors

from finops_pipeline.contracts.check import _broken_values, violations
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.pandera_contracts import contract
from finops_pipeline.contracts.tables import Column, Table, tables
from finops_pipeline.engine.duckdb import DuckDBEngine

NOW = datetime(2025, 1, 1, tzinfo=UTC)
TOTAL = {"charge_day": NOW.date(), "currency": "USD", "rows": 1, "cost": Decimal(1)}
GOOD: dict[str, Any] = {
    "String": "text", "Strings": ["text"], "JSON": "{}", "Decimal": Decimal("1.5"),
    "Rate": Decimal("1.5"), "Share": Decimal("0.5"), "Date": date(2025, 1, 1), "Date/Time": NOW,
    "Integer": 7, "Boolean": True, "Totals": [TOTAL],
}  # fmt: skip
Row = dict[str, Any]


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine("500MB") as made:
        yield made


@pytest.fixture(params=list(tables()))
def table(request: pytest.FixtureRequest) -> Table:
    return tables()[request.param]


def good(table: Table) -> Row:
    return {c.name: c.allowed[0] if c.allowed else GOOD[c.type] for c in table.columns}


def bad_rows(table: Table) -> Iterator[tuple[Column, str, Row]]:
    """For each thing that the contract says of a column, a row that breaks just this."""
    for column in table.columns:
        if not column.nullable:
            yield column, "null", good(table) | {column.name: None}
        if column.allowed:
            yield column, "isin", good(table) | {column.name: "no such value"}
        if column.minimum is not None:
            yield column, "greater_than", good(table) | {column.name: column.minimum - 1}


def bind(engine: DuckDBEngine, table: Table, rows: list[Row]) -> None:
    engine.bind_arrow("rows", pa.Table.from_pylist(rows, schema=arrow_schema(table)))


def by_pandera(engine: DuckDBEngine, table: Table) -> set[str]:
    """The columns that Pandera alone finds wrong, each with the kind of check."""
    try:
        contract(table).validate(engine.bound("rows"), lazy=True)
    except SchemaErrors as errors:
        return {f"{e.schema.name}: {e.check}" for e in errors.schema_errors}
    return set()


def test_what_is_right_passes_both_ways(engine: DuckDBEngine, table: Table) -> None:
    nulls = {c.name: None for c in table.columns if c.nullable}
    edges = {c.name: c.minimum for c in table.columns if c.minimum is not None}
    bind(engine, table, [good(table), good(table) | nulls, good(table) | edges])
    assert _broken_values(engine, table, "rows") == 0
    assert by_pandera(engine, table) == set()
    assert violations(engine, table, "rows") == []


def test_no_row_is_right(engine: DuckDBEngine, table: Table) -> None:
    bind(engine, table, [])
    assert violations(engine, table, "rows") == []


def test_both_ways_find_each_wrong_value(engine: DuckDBEngine, table: Table) -> None:
    bad = list(bad_rows(table))
    assert bad
    for column, kind, row in bad:  # the counting one
        bind(engine, table, [good(table), row])
        assert _broken_values(engine, table, "rows") == 1, (column.name, kind)
    bind(engine, table, [row for _, _, row in bad])
    assert _broken_values(engine, table, "rows") == len(bad)
    told = by_pandera(engine, table)
    for column, kind, _ in bad:
        assert any(t.startswith(f"{column.name}: ") and kind in t for t in told), (column, told)
    assert len(told) == len(bad)
    found = violations(engine, table, "rows")
    assert {f"{v.column}: {v.check}" for v in found} == told
    assert all(v.table == table.name and 0 < len(v.examples) <= 5 for v in found)


def test_one_wrong_value_is_told_with_its_column(engine: DuckDBEngine, table: Table) -> None:
    column, kind, row = list(bad_rows(table))[-1]
    bind(engine, table, [good(table), row])
    (violation,) = violations(engine, table, "rows")
    assert violation.column == column.name and kind in violation.check
    assert f"{table.name}.{column.name}: " in str(violation)


def test_a_wrong_type_is_found_in_every_column(engine: DuckDBEngine, table: Table) -> None:
    wrong = {c.name: "text" if c.type in ("Integer", "Boolean") else 1 for c in table.columns}
    engine.bind_arrow("rows", pa.Table.from_pylist([wrong]))
    found = violations(engine, table, "rows")
    assert {v.column for v in found} == set(table.names)
    assert by_pandera(engine, table)


@pytest.mark.parametrize("change", ["one wrong type", "extra column", "missing column"])
def test_a_wrong_schema_is_found(engine: DuckDBEngine, table: Table, change: str) -> None:
    right = pa.Table.from_pylist([good(table)], schema=arrow_schema(table))
    last = table.columns[-1]
    if change == "extra column":
        rows = right.append_column("surplus", pa.array([1]))
    elif change == "missing column":
        rows = right.drop_columns([last.name])
    else:
        other = pa.array([b"bytes"], pa.binary())
        rows = right.set_column(len(table.columns) - 1, last.name, other)
    engine.bind_arrow("rows", rows)
    found = violations(engine, table, "rows")
    assert found and by_pandera(engine, table)
    assert ("surplus" if change == "extra column" else last.name) in " ".join(map(str, found))
