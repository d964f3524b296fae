"""GCP's detailed export: credits, identity, periods, files of every kind, by hand."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import ibis
import pytest

from finops_pipeline.normalize.gcp import invoice_period
from finops_pipeline_tests.normalize.gcp_rows import (
    CUD,
    FREE,
    PROMOTION,
    SUD,
    delivered,
    flat_csv,
    gz,
    json_lines,
    parquet,
    row,
)
from finops_pipeline_tests.normalize.pipeline import (
    Outcome,
    Pipeline,
    assert_balanced,
    exact_sum,
    total,
)

WRITERS = {"a.json.gz": lambda *r: gz(json_lines(*r)), "a.csv": flat_csv, "a.parquet": parquet}
SAMPLE = Path(__file__).parents[3] / "shared/data/samples/gcp_billing_export_generated.csv"


def made(folder: Path, files: dict[str, bytes], **options: Any) -> Outcome:
    pipeline = Pipeline(folder, "gcp_detailed", **options)
    for name, content in files.items():
        pipeline.deliver(name, content)
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert [e.problem for e in outcome.ingested.unreadable] == []
    return outcome


def charges(folder: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    outcome = made(folder, {"a.json": json_lines(*rows)})
    assert outcome.rejected == []
    return outcome.charges


@pytest.mark.parametrize("name", WRITERS)
def test_golden_row(tmp_path: Path, name: str) -> None:
    """Worked out by hand: 4 hours at 0.0475, list 0.05; 0.09 of it covered, 0.05 granted."""
    given = row(credits=[CUD, PROMOTION])
    usage, credit = made(tmp_path, {name: WRITERS[name](given)}).charges
    expected = {
        "AvailabilityZone": "us-central1-a",
        "BilledCost": Decimal("0.10"),
        "BillingAccountId": "012345-ABCDEF-678901",
        "BillingAccountName": "012345-ABCDEF-678901",
        "BillingAccountType": "Billing Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 9, 1, 7, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, 7, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": "N1 Predefined Instance Core in Americas",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": datetime(2026, 9, 9, 10, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 9, 9, 11, tzinfo=UTC),
        "CommitmentDiscountCategory": "Usage",
        "CommitmentDiscountId": "cud-cpu",
        "CommitmentDiscountName": "Committed Usage Discount: CPU",
        "CommitmentDiscountQuantity": None,
        "CommitmentDiscountStatus": "Used",
        "CommitmentDiscountType": "Resource-based committed use discount",
        "ConsumedQuantity": Decimal(14400),
        "ConsumedUnit": "Seconds",
        "ContractedCost": Decimal("0.19"),
        "ContractedUnitPrice": Decimal("0.0475"),
        "EffectiveCost": Decimal("0.10"),
        "InvoiceId": None,
        "InvoiceIssuerName": "Google Cloud",
        "ListCost": Decimal("0.2"),
        "ListUnitPrice": Decimal("0.05"),
        "PricingCategory": "Committed",
        "PricingQuantity": Decimal(4),
        "PricingUnit": "Hours",
        "ProviderName": "Google Cloud",
        "PublisherName": "Google Cloud",
        "RegionId": "us-central1",
        "RegionName": "Iowa",
        "ResourceId": ("//compute.googleapis.com/projects/77/zones/us-central1-a/instances/991"),
        "ResourceName": "vm-1",
        "ResourceType": "instances",
        "ServiceCategory": "Compute",
        "ServiceName": "Compute Engine",
        "ServiceSubcategory": "Virtual Machines",
        "SkuId": "2E27-4F75-95CD",
        "SubAccountId": "web-shop",
        "SubAccountName": "Web shop",
        "SubAccountType": "Project",
        "x_CostType": "regular",
        "x_CreditType": None,
        "x_FilledColumns": "BillingAccountName,InvoiceIssuerName",
        "x_ProviderExchangeRate": Decimal(1),
        "x_ReportRow": 1,
        "x_ScopePath": "acme.example/engineering/Web shop",
        "x_ChargeDay": date(2026, 9, 9),
    }
    assert {name: usage[name] for name in expected} == expected
    assert json.loads(usage["Tags"]) == {
        "11/env": "prod", "compute.googleapis.com/cores": "4", "team": "checkout", "tier": "front",
    }  # fmt: skip
    assert [c["amount"] for c in json.loads(usage["x_Credits"])] == [-0.09, -0.05]
    changed = {n: credit[n] for n in usage if credit[n] != usage[n]}
    assert changed.pop("x_ReferenceNumber").startswith(usage["x_ReferenceNumber"])
    costs = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
    reporting = ("x_ReportingBilledCost", "x_ReportingEffectiveCost", "x_ReportingListCost")
    gone = [n for n, v in changed.items() if v is None]
    assert {n: v for n, v in changed.items() if v is not None} == {
        **dict.fromkeys((*costs, *reporting, "PricingCurrencyEffectiveCost"), Decimal("-0.05")),
        "ChargeCategory": "Credit",
        "ChargeDescription": "Startup grant 2026",
        "ChargeFrequency": "One-Time",
        "x_CreditType": "PROMOTION",
        "x_ReportRow": 2_000_000_000_001,
    }
    assert {"PricingQuantity", "ConsumedQuantity", "ListUnitPrice", "SkuPriceId"} < set(gone)


def test_each_kind_of_credit(tmp_path: Path) -> None:
    spend = CUD | {"type": "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE", "id": "s", "amount": -0.19}
    untyped = {"name": "Sustained Usage Discount", "amount": -0.03}
    grant = {"name": "Free trial", "amount": "-0.04"}
    new = {"name": "New", "amount": -0.5, "type": "SOMETHING_NEW"}
    outcome = made(
        tmp_path,
        {
            "a.json": json_lines(
                row(credits=[SUD, FREE]),
                row(credits=[spend], cost_at_list=0.3),
                row(credits=[untyped, grant]),
                row(credits=[new, PROMOTION, PROMOTION]),
                row(credits=[CUD | {"amount": -0.19}]),
            )
        },
    )
    found = [(c["x_ReportRow"], c["BilledCost"], c["x_CreditType"]) for c in outcome.charges]
    beyond = 10**12
    assert found == [
        (1, Decimal("0.18"), None),
        (2, Decimal(0), None),
        (3, Decimal("0.16"), None),
        (4, Decimal("0.19"), None),
        (5, Decimal(0), None),
        (4 + beyond, Decimal("-0.5"), "SOMETHING_NEW"),
        (1 + 2 * beyond, Decimal("-0.02"), "FREE_TIER"),
        (3 + 2 * beyond, Decimal("-0.04"), "CREDIT"),
        (4 + 2 * beyond, Decimal("-0.05"), "PROMOTION"),
        (4 + 3 * beyond, Decimal("-0.05"), "PROMOTION"),
    ]
    by_row = {c["x_ReportRow"]: c for c in outcome.charges}
    assert by_row[2]["CommitmentDiscountCategory"] == "Spend"
    assert by_row[2]["CommitmentDiscountQuantity"] is None
    assert by_row[5]["CommitmentDiscountQuantity"] == 4
    assert by_row[5]["CommitmentDiscountUnit"] == "Hours"


def test_costs_are_exact_to_the_last_digit(tmp_path: Path) -> None:
    """18 digits after the point, of which binary floats would keep 15."""
    text = flat_csv(
        row(cost="0.123456789012345678", credits=[]),
        row(
            cost="1e-17",
            credits=[CUD | {"amount": "-0.000000000000000003"}, FREE | {"amount": "-0.4e-17"}],
        ),
    )
    outcome = made(tmp_path, {"a.csv": text})
    assert [c["BilledCost"] for c in outcome.charges] == [
        Decimal("0.123456789012345678"), Decimal("7e-18"), Decimal("-4e-18"),
    ]  # fmt: skip
    assert total(outcome, "delivered_cost") == Decimal("0.123456789012345681")


def test_what_credits_cannot_be_read_is_rejected_with_its_cost(tmp_path: Path) -> None:
    broken = ("nonsense", "{}", '[{"name":"x"}]', '[{"amount":"much"}]', "[1]", '[{"amount":1e13}]')
    rows = [row(credits=text, cost=0.5) for text in broken]
    outcome = made(tmp_path, {"a.csv": flat_csv(*rows, row(credits="null"), row(credits=""))})
    assert [(r["column"], r["value"], r["cost"]) for r in outcome.rejected] == [
        ("credits", text, Decimal("0.5")) for text in broken
    ]
    assert all("a list of JSON objects" in r["reason"] for r in outcome.rejected)
    assert len(outcome.charges) == 2


def test_kinds_of_cost(tmp_path: Path) -> None:
    found = charges(
        tmp_path,
        row(),
        row(cost_type="tax", cost=1.9),
        row(cost_type="rounding_error", cost=0.01),
        row(
            cost_type="adjustment",
            cost=-3,
            usage_start_time="2026-08-03 00:00:00 UTC",
            usage_end_time="2026-08-03 00:00:00 UTC",
            adjustment_info={"id": "9", "mode": "PARTIAL_CORRECTION", "type": "USAGE_CORRECTION"},
        ),
        row(cost_type="adjustment", cost=-2),
    )
    by_category = [(c["ChargeCategory"], c["ChargeClass"], c["BilledCost"]) for c in found]
    assert by_category == [
        ("Usage", None, Decimal("0.19")),
        ("Tax", None, Decimal("1.9")),
        ("Adjustment", None, Decimal("0.01")),
        ("Adjustment", "Correction", Decimal(-3)),
        ("Adjustment", None, Decimal(-2)),
    ]
    assert found[1]["SkuId"] is found[1]["PricingQuantity"] is found[1]["ListUnitPrice"] is None
    assert found[3]["BillingPeriodStart"] == datetime(2026, 9, 1, 7, tzinfo=UTC)


def test_marketplace_and_places(tmp_path: Path) -> None:
    partner = row(
        transaction_type="THIRD_PARTY_RESELLER",
        seller_name="Example Software GmbH",
        invoice={"month": "202609", "publisher_type": "PARTNER"},
        location={"location": "global", "country": None, "region": None, "zone": None},
        project={"id": None, "number": None, "name": None, "labels": [], "ancestors": []},
        resource={"name": None, "global_name": None},
        labels=[],
    )
    (charge,) = charges(tmp_path, partner)
    assert charge["PublisherName"] == "Example Software GmbH"
    assert charge["InvoiceIssuerName"] == charge["ProviderName"] == "Google Cloud"
    assert (charge["RegionId"], charge["RegionName"]) == ("global", "Global")
    assert charge["SubAccountId"] is charge["ResourceType"] is charge["x_ScopePath"] is None


def test_prices_for_many_units_are_left_out(tmp_path: Path) -> None:
    many = {"pricing_unit_quantity": "1000000", "effective_price": "0.4", "list_price": "0.4"}
    (charge,) = charges(tmp_path, row(price=many))
    assert charge["ContractedUnitPrice"] is charge["ListUnitPrice"] is None
    assert charge["PricingQuantity"] == 4


@pytest.mark.parametrize("year", [2008, 2024, 2026, 2031, 2040])
def test_invoice_months_begin_at_midnight_in_los_angeles(year: int) -> None:
    pacific = ZoneInfo("America/Los_Angeles")
    months = [f"{year}{month:02}" for month in range(1, 13)]
    given = ibis.memtable(
        {"month": [*months, "202613", "", None, "2026-01"]}, schema={"month": "string"}
    )
    start, end = invoice_period(given.month)
    found = ibis.duckdb.connect().to_pyarrow(given.select(start=start, end=end)).to_pylist()
    for position, each in enumerate(found[:12]):
        first = datetime(year, position + 1, 1, tzinfo=pacific)
        following = (first + timedelta(days=40)).replace(day=1)
        assert (each["start"], each["end"]) == (first, following)
    assert all(each == {"start": None, "end": None} for each in found[12:])


def test_late_rows_of_an_old_month_keep_their_invoice(tmp_path: Path) -> None:
    late = row(usage_start_time="2026-08-31 23:30:00 UTC", usage_end_time="2026-09-01 00:30:00 UTC")
    (charge,) = charges(tmp_path, late)
    assert charge["x_ChargeDay"] == date(2026, 8, 31)
    assert charge["BillingPeriodStart"] == datetime(2026, 9, 1, 7, tzinfo=UTC)
    assert charge["ChargeClass"] is None


ROWS = [row(credits=[CUD, PROMOTION, PROMOTION]), row(), row(), row(cost=0.4, credits=[FREE])]


def test_overlapping_exports_of_any_kind_count_once_and_equal_rows_twice(tmp_path: Path) -> None:
    files = {
        "whole.json.gz": gz(json_lines(*ROWS)),
        "some.csv": flat_csv(*ROWS[:2]),
        "again/all.parquet": parquet(*reversed(ROWS)),
        "underscores.csv": flat_csv(*ROWS[2:]).replace(b"usage.", b"usage_"),
    }
    for i, names in enumerate(list(permutations(files))[:8]):
        outcome = made(tmp_path / str(i), {f"{j}-{n}": files[n] for j, n in enumerate(names)})
        assert exact_sum(c["BilledCost"] for c in outcome.charges) == delivered(ROWS)
        assert len(outcome.charges) == 7
        assert {r["reason"] for r in outcome.superseded} == {"repeated"}


def test_parts_of_one_export_are_one_and_parts_left_behind_another(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, "gcp_detailed")
    old = date(2026, 9, 9)
    pipeline.deliver("out-000000000000.json", json_lines(row(), row(cost=0.7)))
    pipeline.deliver("out-000000000001.json", json_lines(row(), row(cost=0.8)))
    pipeline.deliver("out-000000000002.json", json_lines(row(cost=0.7)), old)
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert sorted(c["BilledCost"] for c in outcome.charges) == [
        Decimal("0.19"), Decimal("0.19"), Decimal("0.7"), Decimal("0.8"),
    ]  # fmt: skip


def test_exports_of_one_day_that_are_named_by_their_time_are_not_parts(tmp_path: Path) -> None:
    files = {f"bill-2026090{i}0600.csv": flat_csv(row()) for i in (7, 8)}
    assert len(made(tmp_path, files).charges) == 1


def test_a_row_exported_again_with_other_words_is_the_same(tmp_path: Path) -> None:
    """Names change, columns are added, removed, renamed and retyped in the middle of a month."""
    renamed = row(service={"id": "6F81-5844-456A", "description": "Compute"})
    added = row(consumption_model={"description": "Default"}, brand_new="x")
    removed = {k: v for k, v in row().items() if k not in ("transaction_type", "tags")}
    removed["tags"] = row()["tags"]
    retyped = row(cost="0.190", currency_conversion_rate="1", usage={"amount": 14400})
    files = {
        "1.json": json_lines(row()),
        "2.json": json_lines(renamed),
        "3.json": json_lines(added),
        "4.json": json_lines(removed),
        "5.json": json_lines(retyped),
        "6.csv": flat_csv(row()).replace(b"resource.name", b"Resource_Name"),
    }
    outcome = made(tmp_path, files)
    assert len(outcome.charges) == 1
    assert len(outcome.superseded) == 5


def test_columns_without_a_place_are_kept(tmp_path: Path) -> None:
    (charge,) = charges(tmp_path, row(brand_new={"deep": 1.5}))
    others = json.loads(charge["x_OtherColumns"])
    assert others["brand_new.deep"] == "1.5"
    assert others["project.ancestry_numbers"] == "/11/55/"
    assert "credits" not in others


def test_a_column_that_is_gone_or_no_number(tmp_path: Path) -> None:
    gone = {k: v for k, v in row().items() if k != "cost"}
    pipeline = Pipeline(tmp_path, "gcp_detailed")
    pipeline.deliver("gone.json", json_lines(gone))
    pipeline.deliver("words.json", json_lines(row(cost="much", credits=[CUD]), row()))
    outcome = pipeline.run()
    (unreadable,) = outcome.ingested.unreadable
    assert "column 'cost' is missing" in (unreadable.problem or "")
    assert [(r["column"], r["value"]) for r in outcome.rejected] == [("cost", "much")]
    assert len(outcome.charges) == 1


def test_a_salvaged_report_counts_its_credits(tmp_path: Path) -> None:
    good, bad = flat_csv(row(credits=[PROMOTION]), row()).splitlines()[1:], b"a,b,c"
    header = flat_csv(row()).splitlines()[0]
    outcome = made(tmp_path, {"a.csv": b"\n".join([header, good[0], bad, good[1]])})
    assert [c["x_ReportRow"] for c in outcome.charges] == [1, 3, 1_000_000_000_001]
    assert [r["report_row"] for r in outcome.rejected] == [2]


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the sample is not at hand")
def test_a_flattened_export_of_somebody_else(tmp_path: Path) -> None:
    import csv

    with SAMPLE.open(encoding="utf-8", newline="") as file:
        costs = [Decimal(r["cost"]) for r in csv.DictReader(file)]
    outcome = made(tmp_path, {"sample.csv": SAMPLE.read_bytes(), "again.csv": SAMPLE.read_bytes()})
    assert exact_sum(c["BilledCost"] for c in outcome.charges) == exact_sum(costs)
    assert len(outcome.superseded) == len(costs)


def test_amounts_of_json_are_what_duckdb_would_round() -> None:
    """Why amounts are cut out of the text: read as JSON they are binary floats."""
    text = '[{"amount": 0.12345678901234567890}]'
    ((read,),) = duckdb.sql(f"SELECT '{text}'::JSON ->> '$[0].amount'").fetchall()
    assert read == "0.12345678901234568"
