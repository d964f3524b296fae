"""Azure's reports on Spark: every table as DuckDB makes it, to the last digit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Settings
from finops_pipeline.engine.spark_session import stop_spark
from finops_pipeline_tests.engine.whole import bring_in, rows
from finops_pipeline_tests.normalize.azure_exports import as_csv, as_parquet, newest, row

pytestmark = [
    pytest.mark.xdist_group("spark"),
    pytest.mark.skipif(
        shutil.which("java") is None,
        reason="NO JAVA: NOTHING OF SPARK IS TESTED; install openjdk-17-jre-headless",
    ),
]

AWKWARD = [
    row(),
    row(Tags='"team": "web","env": "pröd"', ChargePeriodStart="2026-08-03T00:00:00.0000000Z"),
    row(Tags='{"broken', RegionId="", RegionName="West Europe", x_ResourceGroupName=""),
    row(ContractedCost="0", ContractedUnitPrice="0", ListCost="0", ListUnitPrice="",
        BilledCost="0", EffectiveCost="0.000000000000000001"),
    row(ServiceName="", x_PublisherCategory="Vendor", PublisherName="Contoso", SkuPriceId="-2"),
    row(ServiceName="", ServiceCategory="", PublisherName="", ChargeCategory="Purchase"),
    row(SubAccountId="/subscriptions/00000000-0000-0000-0000-000000000000", SubAccountName=""),
    row(BillingCurrency="EUR", ChargeClass="Correction", BilledCost="-1.5E-3"),
    row(ListUnitPrice="word"),
]  # fmt: skip
VM = "/subscriptions/A1/resourceGroups/Web/providers/Microsoft.Compute/virtualMachines/VM1"
ANSWER: dict[str, Any] = {
    "columns": [
        {"name": n}
        for n in ("Cost", "UsageDate", "ResourceId", "ChargeType", "Currency", "TagKey", "TagValue")
    ],
    "rows": [
        [1.25, 20260803, VM, "Usage", "USD", "team", "web"],
        [-7, 20260803, "", None, "EUR", "", None],
        [3, 20260804, "not a path", "Refund", "USD", "team", None],
        [3, 20260804, VM + "/extensions/x", "UnusedReservation", "USD", 'a"b', "é"],
    ],
}


def settings(folder: Path, home: str, **engine: Any) -> Settings:
    sources = [
        {"name": "exports", "format": "azure_focus", "location": f"file:{folder / 'exports'}"},
        {"name": "query", "format": "azure_cost_query", "location": f"file:{folder / 'answers'}"},
    ]
    return Settings.model_validate({"home": folder / home, "sources": sources, **engine})


def test_every_row_of_every_table_is_equal(tmp_path: Path) -> None:
    period = tmp_path / "exports/focus/20260801-20260831"
    period.mkdir(parents=True)
    (period / "part_0.csv").write_bytes(as_csv(AWKWARD))
    (period / "part_1.parquet").write_bytes(as_parquet([newest(r) for r in AWKWARD[2:-1]]))
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers/2026-08.json").write_text(json.dumps(ANSWER), encoding="utf-8")
    by_duckdb = settings(tmp_path, "by-duckdb")
    bring_in(by_duckdb)
    small = {
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.shuffle.partitions": "2",
    }
    by_spark = settings(tmp_path, "by-spark", engine="spark", spark_config=small)
    try:
        bring_in(by_spark)
    finally:
        stop_spark()
    charges = rows(by_duckdb, "focus_costs")
    assert len(charges) == 2 * len(AWKWARD) - 4 + len(ANSWER["rows"])
    assert len(rows(by_duckdb, "rejected_rows")) == 1
    for name in ("focus_costs", "rejected_rows", "conservation", "allocated_costs"):
        assert rows(by_spark, name) == rows(by_duckdb, name), name
