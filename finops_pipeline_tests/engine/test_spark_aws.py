"""AWS's formats on Spark beside DuckDB: every charge, all columns, to the last digit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date

import pytest

from finops_pipeline.config import Settings, Source
from finops_pipeline.demo.clouds import make_cloud
from finops_pipeline.engine.spark_session import stop_spark
from finops_pipeline_tests.engine.test_spark import LOCAL
from finops_pipeline_tests.engine.whole import bring_in, rows

pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="NO JAVA: SPARK IS NOT TESTED")

AMOUNTS = ("1.25", "-0.000000000001", "1e3", "n/a", "12345678.123456789012345678901")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    folder = tmp_path_factory.mktemp("aws")
    make_cloud(folder / "export", "aws", days=3, rows=400, seed=5)
    (folder / "answers").mkdir()
    (folder / "answers" / "2026-09.json").write_text(json.dumps(_answer()))
    sources = (
        Source(name="export", format="aws_focus", location=f"file:{folder / 'export'}"),
        Source(name="answers", format="aws_cost_explorer", location=f"file:{folder / 'answers'}"),
    )
    made = [
        Settings(home=folder / name, first_day=date(2020, 1, 1), sources=sources, **more)
        for name, more in (("by-duckdb", {}), ("by-spark", LOCAL))
    ]
    for settings in made:
        bring_in(settings)
    yield made[0], made[1]
    stop_spark()


def _answer() -> object:
    def group(service: str, region: str, amount: str) -> object:
        metric = {"Amount": amount, "Unit": "USD"}
        return {"Keys": [service, region], "Metrics": {"UnblendedCost": metric}}

    return {
        "GroupDefinitions": [
            {"Type": "DIMENSION", "Key": "SERVICE"},
            {"Type": "DIMENSION", "Key": "REGION"},
        ],
        "ResultsByTime": [
            {
                "TimePeriod": {"Start": "2026-09-01", "End": "2026-09-02"},
                "Groups": [
                    group(service, region, amount)
                    for service in ("Tax", "AWS Lambda", "Savings Plans for AWS Compute usage")
                    for region in ("NoRegion", "eu-west-1")
                    for amount in AMOUNTS
                ],
            }
        ],
    }


@pytest.mark.parametrize("name", ["focus_costs", "rejected_rows", "conservation"])
def test_every_row_is_equal(homes: tuple[Settings, Settings], name: str) -> None:
    by_duckdb, by_spark = (rows(settings, name) for settings in homes)
    assert by_duckdb
    assert by_spark == by_duckdb
