"""An export is exactly FOCUS 1.2: its columns, its text, its rules for every kind of charge."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from finops_pipeline.contracts.tables import focus_columns, tables
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.store.export import ExportError, export_focus
from finops_pipeline_tests.catalogues.test_catalogues import is_focus_unit
from finops_pipeline_tests.normalize.pipeline import Pipeline, line, lines

Row = dict[str, Any]
NAMES = [c.name for c in focus_columns()]
LATER = date(2026, 10, 2)  # reports of another month than the charge's
COST_ROWS = [
    line(ref="plain", cost="0.050"),
    line(ref="free", cost="0", **{"cost/unitPrice": "0"}),
    line(ref="tiny", cost="0.000000000000000001", **{"product/Description": 'a "b", c\nd – é'}),
    line(ref="large", cost="123456789.10", **{"usage/billedQuantity": "1E3"}),
    line(ref="credit", cost="-3", **{"usage/billedQuantity": "-1"}),
    line(ref="tax", cost="7", service="TAX", **{"product/Description": "Sales tax"}),
    line(ref="fixed", cost="-0.05", back="plain", **{"usage/billedQuantity": "-2"}),
    line(ref="unit-less", unit="", **{"cost/billingUnitReadable": ""}),
    line(ref="odd-unit", unit="5K Widgets Per Hour"),
    line(ref="odd-time", unit="Widgets per month (of 730 hours)"),
]
FOCUS_ROWS = [
    line("oci_focus", ref="plain", cost="0.06"),
    line("oci_focus", ref="no-list", ListCost="", ListUnitPrice="0.025"),
    line("oci_focus", ref="credit", cost="-3", ChargeCategory="Credit", ListCost=""),
    line("oci_focus", ref="tax", cost="7", ChargeCategory="Tax"),
    line("oci_focus", ref="bought", cost="0.06", ChargeCategory="Purchase"),
    line("oci_focus", ref="fixed", cost="-0.06", ListCost="-0.06", PricingQuantity="-2",
         UsageQuantity="-2", back="plain"),
    line("oci_focus", ref="unit-less", cost="0.06", PricingUnit="", UsageUnit=""),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    with DuckDBEngine("300MB", tmp_path_factory.mktemp("spill")) as made:
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Charges of every category, corrections in the same and in a later month, three days."""
    pipeline = Pipeline(tmp_path_factory.mktemp("exported"))
    pipeline.now = pipeline.now.replace(month=10)
    pipeline.deliver("1.csv.gz", lines(*COST_ROWS))
    other = {"start": "2026-09-11T10:00Z", "end": "2026-09-11T11:00Z"}
    pipeline.deliver("2.csv.gz", lines(line(ref="other-day", **other)), date(2026, 9, 12))
    late = line(ref="late", cost="-0.01", back="plain", **{"usage/billedQuantity": "-1"})
    pipeline.deliver("3.csv.gz", lines(late), LATER)
    assert not pipeline.run().rejected
    return pipeline.home


def parquet_rows(home: Home, engine: DuckDBEngine, out: Path, **asked: Any) -> list[Row]:
    result = export_focus(home, engine, out, **asked)
    rows: list[Row] = pq.read_table(out).to_pylist()
    assert (result.rows, result.path) == (len(rows), out)
    return rows


def test_parquet_is_the_charges(home: Home, engine: DuckDBEngine, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "it's.parquet"
    rows = parquet_rows(home, engine, out)
    assert pq.read_schema(out).names == NAMES
    assert pq.read_schema(out).field("BilledCost").type.scale == 18
    table = home.table("focus_costs")
    stored = [
        r
        for f in table.files()
        for r in pq.read_table(table.location(f), partitioning=None).to_pylist()
    ]
    assert sorted(map(repr, rows)) == sorted(repr({n: r[n] for n in NAMES}) for r in stored)
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_x_columns_come_last(home: Home, engine: DuckDBEngine, tmp_path: Path) -> None:
    for name in ("x.parquet", "x.csv"):
        export_focus(home, engine, tmp_path / name, with_x=True)
    assert pq.read_schema(tmp_path / "x.parquet").names == list(tables()["focus_costs"].names)
    rows = list(csv.DictReader((tmp_path / "x.csv").open(newline="")))
    assert list(rows[0]) == list(tables()["focus_costs"].names)
    assert {r["x_IsCorrection"] for r in rows} == {"true", "false"}
    assert {r["x_ChargeDay"] for r in rows} == {"2026-09-09", "2026-09-11"}


def test_csv_says_the_same_in_plain_text(home: Home, engine: DuckDBEngine, tmp_path: Path) -> None:
    typed = parquet_rows(home, engine, tmp_path / "a.parquet")
    export_focus(home, engine, tmp_path / "a.csv")
    export_focus(home, engine, tmp_path / "a.csv.gz")
    raw = (tmp_path / "a.csv").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == raw
    text = list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))
    assert list(text[0]) == NAMES and len(text) == len(typed)
    for written, row in zip(text, typed, strict=True):
        for column in focus_columns():
            value, cell = row[column.name], written[column.name]
            if value is None:
                assert cell == ""
            elif column.type == "Decimal":
                assert Decimal(cell) == value
                assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", cell), cell
            elif column.type == "Date/Time":
                assert cell == f"{value:%Y-%m-%dT%H:%M:%SZ}"
            else:
                assert cell == value
    costs = {r["BilledCost"] for r in text}
    assert {"0", "0.05", "0.000000000000000001", "123456789.1", "-3"} <= costs


def test_the_same_lake_gives_the_same_file(
    home: Home, engine: DuckDBEngine, tmp_path: Path
) -> None:
    for name in ("a.parquet", "a.csv", "a.csv.gz"):
        export_focus(home, engine, tmp_path / name)
        first = (tmp_path / name).read_bytes()
        export_focus(home, engine, tmp_path / name)
        assert (tmp_path / name).read_bytes() == first
    days = [
        r["ChargePeriodStart"].date() for r in pq.read_table(tmp_path / "a.parquet").to_pylist()
    ]
    assert days == sorted(days)


def test_days_and_sources(home: Home, engine: DuckDBEngine, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    first, second = date(2026, 9, 9), date(2026, 9, 11)
    whole = len(parquet_rows(home, engine, out))
    assert len(parquet_rows(home, engine, out, until=first)) == whole - 1
    assert len(parquet_rows(home, engine, out, since=second, until=second)) == 1
    assert len(parquet_rows(home, engine, out, sources=["acme"])) == whole


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("a.parquet", {"version": "1.0"}, r"FOCUS 1\.0 is not supported; supported: 1\.2"),
        ("a.xlsx", {}, r"must end with \.parquet, \.csv, \.csv\.gz"),
        ("a.csv", {"since": date(2027, 1, 1)}, "the lake holds 2026-09-09 to 2026-09-11"),
        ("a.csv", {"sources": ["acme", "none"]}, "no charges of source none; the lake holds acme"),
    ],
)
def test_what_cannot_be_exported(
    home: Home, engine: DuckDBEngine, tmp_path: Path, name: str, asked: Row, said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        export_focus(home, engine, tmp_path / name, **asked)
    assert not list(tmp_path.iterdir())


def test_an_empty_lake_and_a_place_that_cannot_be_written(
    home: Home, engine: DuckDBEngine, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="finops run"):
        export_focus(Home(tmp_path), engine, tmp_path / "a.csv")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for name in ("file/a.parquet", "file/a.csv", "a" * 243 + ".parquet", "a" * 247 + ".csv"):
        with pytest.raises(ExportError, match="cannot be written"):
            export_focus(home, engine, tmp_path / name)
    with pytest.raises(ExportError, match="is a folder"):
        export_focus(home, engine, tmp_path / "folder.csv")


def test_what_was_there_stays_when_an_export_breaks(
    home: Home, engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.csv"
    export_focus(home, engine, out)
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("finops_pipeline.engine.duckdb.publish", full)
    with pytest.raises(ExportError, match="No space left"):
        export_focus(home, engine, out, since=date(2026, 9, 11))
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]


# FOCUS's rules that the official validator does not see on ordinary charges, see
# scripts/focus_validator/README.md

PRICES = [
    "ListUnitPrice", "ContractedUnitPrice", "PricingCurrencyListUnitPrice",
    "PricingCurrencyContractedUnitPrice",
]  # fmt: skip
NOT_OF_TAX = [*PRICES, "PricingQuantity", "SkuId", "SkuPriceId", "PricingCategory"]


def broken_rules(row: Row) -> list[str]:
    """The rules of FOCUS 1.2 on categories, quantities and prices that a charge breaks."""
    category, corrected = row["ChargeCategory"], row["ChargeClass"] == "Correction"
    usage = category == "Usage"
    found = [f"{n} of tax" for n in NOT_OF_TAX if category == "Tax" and row[n] is not None]
    if category in ("Usage", "Purchase") and not corrected:
        found += [f"no {name}" for name in NOT_OF_TAX if row[name] is None]
    if not usage and row["ConsumedQuantity"] is not None:
        found.append("ConsumedQuantity of no usage")
    if usage and not corrected and row["ConsumedQuantity"] is None:
        found.append("usage of no ConsumedQuantity")
    for kind in ("Consumed", "Pricing"):
        unit = row[kind + "Unit"]
        if (unit is None) != (row[kind + "Quantity"] is None):
            found.append(f"{kind}Unit and {kind}Quantity")
        if unit is not None and not is_focus_unit(unit):
            found.append(f"{kind}Unit {unit}")
    if row["SkuId"] is None and row["SkuMeter"] is not None:
        found.append("SkuMeter of no SKU")
    if category == "Purchase" and row["ChargeFrequency"] == "Usage-Based":
        found.append("purchase by usage")
    found += [f"{name} below 0" for name in PRICES if (row[name] or 0) < 0]
    if (
        category == "Credit"
        and len({row[f"{n}Cost"] for n in ("Billed", "Effective", "Contracted")}) > 1
    ):
        found.append("costs of a credit differ")
    return found


def by_reference(home: Home, engine: DuckDBEngine, out: Path) -> dict[str, Row]:
    rows = parquet_rows(home, engine, out, with_x=True)
    return {r["x_ReferenceNumber"]: r for r in rows}


def test_rules_hold_for_cost_reports(home: Home, engine: DuckDBEngine, tmp_path: Path) -> None:
    rows = by_reference(home, engine, tmp_path / "a.parquet")
    assert {ref: broken for ref, r in rows.items() if (broken := broken_rules(r))} == {}
    kinds = {ref: (r["ChargeCategory"], r["ChargeClass"]) for ref, r in rows.items()}
    assert kinds == dict.fromkeys(kinds, ("Usage", None)) | {
        "credit": ("Credit", None),
        "tax": ("Tax", None),
        "fixed": ("Usage", None),  # a correction within its own month is no Correction in FOCUS
        "late": ("Usage", "Correction"),
    }
    assert rows["unit-less"]["PricingUnit"] == "Units"
    assert rows["odd-unit"]["PricingUnit"] == "5000 Widgets"
    assert rows["odd-time"]["PricingUnit"] == "Widget-Months"


def test_rules_hold_for_focus_reports(engine: DuckDBEngine, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, "oci_focus")
    pipeline.now = pipeline.now.replace(month=10)
    pipeline.deliver("1.csv.gz", lines(*FOCUS_ROWS))
    late = line("oci_focus", ref="late", cost="-0.01", back="plain", PricingQuantity="-1")
    pipeline.deliver("2.csv.gz", lines(late), LATER)
    assert not pipeline.run().rejected
    rows = by_reference(pipeline.home, engine, tmp_path / "a.parquet")
    assert {ref: broken for ref, r in rows.items() if (broken := broken_rules(r))} == {}
    kinds = {ref: r["ChargeCategory"] for ref, r in rows.items()}
    others = {"credit": "Credit", "tax": "Tax", "bought": "Purchase"}
    assert kinds == dict.fromkeys(kinds, "Usage") | others
    assert rows["late"]["ChargeClass"] == "Correction"
    assert rows["plain"]["ContractedUnitPrice"] == rows["plain"]["ListUnitPrice"] == Decimal("0.03")
    # Something was taken off here, so the contracted price is not the list price.
    assert rows["late"]["ListCost"] != rows["late"]["BilledCost"]
    assert rows["late"]["ContractedUnitPrice"] is None
    assert rows["bought"]["ChargeFrequency"] == "One-Time"
