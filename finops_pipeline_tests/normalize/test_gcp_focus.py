"""GCP's FOCUS export: what Google leaves out is filled and named; credits stay netted; by hand."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline_tests.normalize.pipeline import Outcome, Pipeline, assert_balanced

Row = dict[str, Any]
# The 55 columns of the preview, of a machine that a commitment covers in part.
ROW: Row = {
    "AvailabilityZone": "europe-west3-a",
    "BilledCost": "0.10",
    "BillingAccountId": "012345-ABCDEF-678901",
    "BillingCurrency": "EUR",
    "BillingPeriodStart": "2026-09-01T07:00:00Z",
    "BillingPeriodEnd": "2026-10-01T07:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeDescription": "N1 Predefined Instance Core in Frankfurt",
    "ChargePeriodStart": "2026-09-09T10:00:00Z",
    "ChargePeriodEnd": "2026-09-09T11:00:00Z",
    "ConsumedQuantity": "14400",
    "ConsumedUnit": "seconds",
    "ContractedCost": "0.19",
    "ContractedUnitPrice": "0.0475",
    "ListCost": "0.2",
    "ListUnitPrice": "0.05",
    "PricingCategory": "Committed",
    "PricingQuantity": "4",
    "PricingUnit": "hour",
    "ProviderName": "Google Cloud",
    "PublisherName": "Google Cloud",
    "RegionId": "europe-west3",
    "RegionName": None,
    "ResourceId": "//compute.googleapis.com/projects/77/zones/europe-west3-a/instances/991",
    "ResourceName": "vm-1",
    "ServiceName": "Compute Engine",
    "SkuId": "2E27-4F75-95CD",
    "SkuPriceId": "2E27-4F75-95CD/0",
    "SubAccountId": "web-shop",
    "SubAccountName": "Web shop",
    "EffectiveCost": "0.10",
    "PricingCurrency": "USD",
    "PricingCurrencyContractedUnitPrice": "0.05",
    "PricingCurrencyEffectiveCost": "0.11",
    "PricingCurrencyListUnitPrice": "0.053",
    "BillingAccountType": "Billing Account",
    "x_CostType": "regular",
    "x_Credits": [
        {"Name": "CUD", "Amount": "-0.09", "Type": "COMMITTED_USAGE_DISCOUNT", "Id": "c"}
    ],
    "x_CurrencyConversionRate": 0.9,
    "x_ExportTime": "2026-09-09T15:31:07.123456Z",
    "x_Labels": [{"Key": "team", "Value": "checkout"}],
    "x_Location": "europe-west3",
    "x_Project": {
        "Id": "web-shop",
        "Number": "77",
        "Name": "Web shop",
        "AncestryNumbers": "/11/",
        "Ancestors": [
            {"ResourceName": "projects/77", "DisplayName": "Web shop"},
            {"ResourceName": "organizations/11", "DisplayName": "acme.example"},
        ],
    },
    "x_ProjectLabels": [{"Key": "team", "Value": "shop"}, {"Key": "tier", "Value": "front"}],
    "x_ServiceId": "6F81-5844-456A",
    "x_SystemLabels": [],
    "x_Tags": [{"Key": "env", "Value": "prod", "Inherited": True, "Namespace": "11"}],
    "x_SubscriptionInstanceId": None,
    "x_PriceEffectivePriceDefault": "0.0475",
    "x_PriceListPriceConsumptionModel": None,
    "x_CostAtEffectivePriceDefault": "0.19",
    "x_CostAtListConsumptionModel": None,
    "x_ConsumptionModelId": None,
    "x_ConsumptionModelDescription": None,
}


def as_json(*rows: Row) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def as_csv(*rows: Row) -> bytes:
    flat = []
    for each in rows:
        made = {k: v for k, v in each.items() if k != "x_Project"}
        made |= {f"x_Project.{k}": v for k, v in each["x_Project"].items()}
        flat.append({k: json.dumps(v) if isinstance(v, list) else v for k, v in made.items()})
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(flat[0]))
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue().encode()


def as_parquet(*rows: Row) -> bytes:
    made = []
    for each in rows:
        typed = dict(each)
        for name, value in each.items():
            if name.endswith(("Cost", "Price", "Quantity")) and isinstance(value, str):
                typed[name] = Decimal(value).quantize(Decimal("1e-9"))
            elif name.endswith(("Start", "End", "Time")):
                typed[name] = datetime.fromisoformat(value)
        made.append(typed)
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(made), out)
    return out.getvalue()


WRITERS = {"a.jsonl": as_json, "a.csv": as_csv, "a.parquet": as_parquet}


def made(folder: Path, files: dict[str, bytes]) -> Outcome:
    pipeline = Pipeline(folder, "gcp_focus", reporting="EUR", rates={("EUR", "2026-09-01"): "1"})
    for name, content in files.items():
        pipeline.deliver(name, content)
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert [e.problem for e in outcome.ingested.unreadable] == []
    assert outcome.rejected == []
    return outcome


@pytest.mark.parametrize("name", WRITERS)
def test_golden_row(tmp_path: Path, name: str) -> None:
    (charge,) = made(tmp_path, {name: WRITERS[name](ROW)}).charges
    expected = {
        "BilledCost": Decimal("0.10"),
        "BillingAccountName": "012345-ABCDEF-678901",
        "BillingPeriodStart": datetime(2026, 9, 1, 7, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, 7, tzinfo=UTC),
        "ChargeFrequency": "Usage-Based",
        "CommitmentDiscountId": None,
        "ConsumedUnit": "Seconds",
        "ContractedCost": Decimal("0.19"),
        "EffectiveCost": Decimal("0.10"),
        "InvoiceId": None,
        "InvoiceIssuerName": "Google Cloud",
        "ListCost": Decimal("0.2"),
        "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": Decimal("0.11"),
        "PricingUnit": "Hours",
        "RegionName": "Frankfurt",
        "ResourceType": "instances",
        "ServiceCategory": "Compute",
        "ServiceSubcategory": "Virtual Machines",
        "SubAccountType": "Project",
        "x_ChargeDay": date(2026, 9, 9),
        "x_CostType": "regular",
        "x_FilledColumns": (
            "BillingAccountName,ChargeFrequency,InvoiceIssuerName,RegionName,ResourceType,"
            "ServiceCategory,ServiceSubcategory,Tags"
        ),
        "x_ProviderExchangeRate": Decimal("0.9"),
        "x_ScopePath": "acme.example/Web shop",
    }
    assert {n: charge[n] for n in expected} == expected
    assert json.loads(charge["Tags"]) == {"11/env": "prod", "team": "checkout", "tier": "front"}
    assert json.loads(charge["x_Credits"])[0]["Amount"] == "-0.09"
    assert json.loads(charge["x_OtherColumns"])["x_ServiceId"] == "6F81-5844-456A"


def test_overlapping_exports_count_once_and_equal_rows_twice(tmp_path: Path) -> None:
    rows = [ROW, ROW, ROW | {"BilledCost": "0.3"}]
    outcome = made(
        tmp_path,
        {
            "1.jsonl": as_json(*rows),
            "2.csv": as_csv(*rows[1:]),
            "3.parquet": as_parquet(*rows),
        },
    )
    assert sorted(c["BilledCost"] for c in outcome.charges) == [
        Decimal("0.1"), Decimal("0.1"), Decimal("0.3"),
    ]  # fmt: skip


def test_corrections_of_closed_months_and_tags_that_google_may_add(tmp_path: Path) -> None:
    late = ROW | {"ChargeClass": "correction", "BilledCost": "-1", "Tags": '{"a":"b"}'}
    (charge,) = made(tmp_path, {"a.jsonl": as_json(late)}).charges
    assert (charge["ChargeClass"], charge["x_IsCorrection"]) == ("Correction", True)
    assert charge["Tags"] == '{"a":"b"}'
    assert "Tags" not in charge["x_FilledColumns"]


def test_columns_added_removed_and_retyped_in_a_month(tmp_path: Path) -> None:
    removed = {k: v for k, v in ROW.items() if k not in ("ChargeClass", "x_ServiceId")}
    added = ROW | {"HostProviderName": "Google", "x_New": 1}
    retyped = ROW | {"BilledCost": 0.1, "ConsumedQuantity": 14400.0}
    outcome = made(
        tmp_path,
        {"1.jsonl": as_json(ROW), "2.jsonl": as_json(added), "3.jsonl": as_json(retyped)},
    )
    assert len(outcome.charges) == 1
    (charge,) = made(tmp_path / "other", {"1.jsonl": as_json(removed)}).charges
    assert charge["ChargeClass"] is None
