"""Parquet files and JSON lines are read as the text of CSV is: every digit, every row, in order."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline.ingest.rows import CutOffError
from finops_pipeline.ingest.structured import (
    BrokenFileError,
    column_names,
    kind_of,
    read_structured,
    record_texts,
)


def read(path: Path) -> list[dict[str, Any]]:
    names = column_names(path, kind_of(path))
    tables = list(read_structured(path, kind_of(path), {n: i for i, n in enumerate(names)}))
    return [row for table in tables for row in table.to_pylist()]


def test_every_type_of_parquet_becomes_the_text_that_names_it(tmp_path: Path) -> None:
    noon = datetime(2026, 3, 29, 12, 30, 0, 250000)
    table = pa.table(
        {
            "float": pa.array([0.1, 1e-7, None]),
            "decimal": pa.array([Decimal("1.230"), Decimal("-0.001"), None], pa.decimal128(38, 3)),
            "integer": pa.array([1, -(2**62), None]),
            "yes": pa.array([True, False, None]),
            "naive": pa.array([noon, None, None], pa.timestamp("ms")),
            "zoned": pa.array([noon.replace(tzinfo=UTC), None, None], pa.timestamp("us", tz="CET")),
            "text": ['a,"b"\n', "", None],
            "bytes": pa.array([b"plain", None, None]),
            "map": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
            "credits": [[{"name": "x", "amount": -0.5}], [], None],
            "project": [{"id": "p", "labels": {"n": 1}}, {"id": None, "labels": None}, None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    first, second, third = read(tmp_path / "a.parquet")
    assert first == {
        "float": "0.1", "decimal": "1.230", "integer": "1", "yes": "true",
        "naive": "2026-03-29T12:30:00.250000Z", "zoned": "2026-03-29T12:30:00.250000Z",
        "text": "a,\"b\"\n", "bytes": "plain", "map": '{"k":"v"}',
        "credits": '[{"name":"x","amount":-0.5}]', "project.id": "p", "project.labels.n": "1",
        "report_row": 1,
    }  # fmt: skip
    assert Decimal(second["float"]) == Decimal("1e-7")
    assert (second["decimal"], second["integer"]) == ("-0.001", str(-(2**62)))
    assert (second["text"], second["map"], second["report_row"]) == (None, "{}", 2)
    assert {k: v for k, v in third.items() if v is not None} == {"report_row": 3}


def test_rows_of_many_row_groups_are_numbered_in_order(tmp_path: Path) -> None:
    count = 120_000
    table = pa.table({"n": pa.array(range(count))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7_000)
    rows = read(tmp_path / "a.parquet")
    assert [(r["n"], r["report_row"]) for r in rows] == [(str(i), i + 1) for i in range(count)]


def test_a_row_is_shown_with_what_was_delivered_and_nothing_else(tmp_path: Path) -> None:
    cost = [Decimal(f"{n}.123456789012345678") for n in range(5)]
    table = pa.table({"a cost": cost, "labels": [{"k": None, "l": ["q"]}] * 5})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert record_texts(tmp_path / "a.parquet", "parquet", {2, 5}) == {
        2: '{"a cost":1.123456789012345678,"labels":{"k":null,"l":["q"]}}',
        5: '{"a cost":4.123456789012345678,"labels":{"k":null,"l":["q"]}}',
    }


def test_json_lines_are_read_by_dotted_names(tmp_path: Path) -> None:
    text = b'{"cost":1.5,"p":{"id":"x","a.b":[1,{"c":2}]}}\n\n{"cost":"2e-3","late":"y","p":{}}\n'
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(text))
    assert read(path) == [
        {"cost": "1.5", "p.id": "x", "p.a.b": '[1,{"c":2}]', "late": None, "report_row": 1},
        {"cost": "2e-3", "p.id": None, "p.a.b": None, "late": "y", "report_row": 2},
    ]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("cut.json.gz", gzip.compress(b'{"a":1}\n' * 10_000)[:-20], CutOffError),
        ("broken.json", b'{"a":1}\n{"a":', BrokenFileError),
        ("list.json", b'[{"a":1}]', BrokenFileError),
        ("latin.json", b'{"a":"\xe9"}\n', BrokenFileError),
        ("cut.parquet", b"PAR1" + b"\0" * 100, BrokenFileError),
    ],
)
def test_a_broken_file_is_refused(
    tmp_path: Path, name: str, content: bytes, error: type[Exception]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "number",
    [
        "0.12345678901234567890123", "123456789012345678.5", "9007199254740993.5", "-1.50",
        "1e-7", "0.1234567890123456", "0.000000000012345678", "12345678901234567",
    ],
)  # fmt: skip
def test_numbers_of_json_keep_their_digits(tmp_path: Path, number: str) -> None:
    """The engine alone would read the first as 0.12345678901234568."""
    lines = f'{{"n": {number}, "l": [1,{number}], "s": "a, {number}, \\"b\\""}}\n{{"n": 1}}\n'
    (tmp_path / "a.json").write_text(lines, encoding="utf-8")
    first, second = read(tmp_path / "a.json")
    assert Decimal(first["n"]) == Decimal(number)
    assert first["s"] == f'a, {number}, "b"'
    assert [Decimal(n.strip('"')) for n in first["l"].strip("[]").split(",")] == [
        Decimal(1), Decimal(number),
    ]  # fmt: skip
    assert second["n"] == "1"
