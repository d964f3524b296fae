"""Saved answers of Cost Explorer to FOCUS, worked out by hand."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from finops_pipeline_tests.normalize.pipeline import Pipeline, assert_balanced

USD = "USD"


def _metrics(unblended: str, amortized: str, net: str | None) -> dict[str, Any]:
    found = {"UnblendedCost": unblended, "AmortizedCost": amortized, "NetAmortizedCost": net}
    return {n: {"Amount": a, "Unit": USD} for n, a in found.items() if a is not None}


ANSWER = {
    "GroupDefinitions": [
        {"Type": "DIMENSION", "Key": "SERVICE"},
        {"Type": "DIMENSION", "Key": "LINKED_ACCOUNT"},
    ],
    "ResultsByTime": [
        {
            "TimePeriod": {"Start": "2026-09-01", "End": "2026-09-02"},
            "Total": {},
            "Groups": [
                {
                    "Keys": ["Amazon Elastic Compute Cloud - Compute", "111111111111"],
                    "Metrics": _metrics("10.1234567891", "12.5", "11.75"),
                },
                {"Keys": ["Tax", "111111111111"], "Metrics": _metrics("2.34", "2.34", None)},
                {
                    "Keys": ["Savings Plans for AWS Compute usage", "222222222222"],
                    "Metrics": _metrics("3.5", "0", "0"),
                },
                {
                    "Keys": ["AWS Lambda", "222222222222"],
                    "Metrics": _metrics("-0.0000003", "0", "0"),
                },
            ],
            "Estimated": True,
        },
    ],
    "DimensionValueAttributes": [
        {"Value": "111111111111", "Attributes": {"description": "Shop"}},
        {"Value": "222222222222", "Attributes": {"description": "Data"}},
    ],
}  # fmt: skip


def _run(tmp_path: Path, *answers: Any) -> Any:
    made = Pipeline(tmp_path, "aws_cost_explorer")
    text = json.dumps(answers[0], indent=4) if len(answers) == 1 else "\n".join(
        json.dumps(answer) for answer in answers
    )  # fmt: skip
    made.deliver("2026-09.json", text.encode())
    outcome = made.run()
    assert_balanced(outcome)
    return outcome


def test_a_saved_answer_to_focus(tmp_path: Path) -> None:
    outcome = _run(tmp_path, ANSWER)
    assert not outcome.rejected
    compute, tax, plan, function = outcome.charges
    assert {k: v for k, v in compute.items() if v is not None and not k.startswith("x_")} == {
        "BilledCost": Decimal("10.1234567891"), "BillingAccountId": "111111111111",
        "BillingAccountName": "Shop", "BillingAccountType": "Billing Account",
        "BillingCurrency": "USD", "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, tzinfo=UTC), "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based", "ChargePeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 9, 2, tzinfo=UTC),
        "ContractedCost": Decimal("10.1234567891"), "EffectiveCost": Decimal("11.75"),
        "InvoiceIssuerName": "AWS", "ListCost": Decimal("10.1234567891"), "PricingCurrency": "USD",
        "ProviderName": "AWS", "PublisherName": "AWS", "ServiceCategory": "Compute",
        "ServiceName": "Amazon Elastic Compute Cloud - Compute",
        "ServiceSubcategory": "Virtual Machines", "SubAccountId": "111111111111",
        "SubAccountName": "Shop", "SubAccountType": "Account", "Tags": "{}",
    }  # fmt: skip
    assert compute["x_FilledColumns"] == (
        "BillingAccountId,BillingAccountType,ChargeCategory,ChargeFrequency,ContractedCost,"
        "InvoiceIssuerName,ListCost,PricingCurrency,ProviderName,PublisherName,ServiceCategory,"
        "ServiceSubcategory"
    )
    assert json.loads(compute["x_OtherColumns"]) == {"Estimated": "true"}
    assert compute["x_ChargeDay"] == date(2026, 9, 1)
    # Without a net figure the amortised one is the effective cost.
    assert (tax["ChargeCategory"], tax["BilledCost"], tax["EffectiveCost"]) == (
        "Tax", Decimal("2.34"), Decimal("2.34"),
    )  # fmt: skip
    assert (plan["ChargeCategory"], plan["ChargeFrequency"]) == ("Purchase", "Recurring")
    assert (plan["BilledCost"], plan["EffectiveCost"]) == (Decimal("3.5"), 0)
    assert (plan["ServiceCategory"], plan["SubAccountName"]) == ("Compute", "Data")
    assert (function["ChargeCategory"], function["BilledCost"]) == ("Credit", Decimal("-0.0000003"))


def _day(day: int, keys: list[str], amount: str) -> dict[str, Any]:
    return {
        "TimePeriod": {"Start": f"2026-09-{day:02}", "End": f"2026-09-{day + 1:02}"},
        "Groups": [{"Keys": keys, "Metrics": _metrics(amount, amount, amount)}],
        "Estimated": False,
    }


def test_charge_types_regions_and_tags_as_groups(tmp_path: Path) -> None:
    by_type = {
        "GroupDefinitions": [
            {"Type": "DIMENSION", "Key": "RECORD_TYPE"},
            {"Type": "DIMENSION", "Key": "REGION"},
        ],
        "ResultsByTime": [
            _day(1, ["SavingsPlanCoveredUsage", "eu-west-1"], "1"),
            _day(2, ["Refund", "NoRegion"], "-2"),
            _day(3, ["SavingsPlanRecurringFee", "us-east-1"], "3"),
        ],
    }
    by_tag = {
        "GroupDefinitions": [
            {"Type": "TAG", "Key": "team"},
            {"Type": "COST_CATEGORY", "Key": "Unit"},
        ],
        "ResultsByTime": [
            _day(4, ["team$web", "Unit$Shop"], "4"),
            _day(5, ["team$", "Unit$"], "5"),
        ],
    }
    charges = {c["x_ChargeDay"].day: c for c in _run(tmp_path, by_type, by_tag).charges}
    assert [(charges[d]["ChargeCategory"], charges[d]["RegionId"]) for d in (1, 2, 3)] == [
        ("Usage", "eu-west-1"), ("Credit", None), ("Purchase", "us-east-1"),
    ]  # fmt: skip
    assert charges[1]["RegionName"] == "Europe (Ireland)"
    assert charges[2]["RegionName"] is None
    assert [json.loads(charges[d]["Tags"]) for d in (1, 4, 5)] == [{}, {"team": "web"}, {}]
    assert json.loads(charges[4]["x_OtherColumns"])["Unit"] == "Shop"
    assert charges[4]["ServiceName"] == "Other"
    assert charges[4]["BillingAccountId"] == "unknown"


def test_totals_by_month_and_a_month_of_nothing(tmp_path: Path) -> None:
    total = {
        "ResultsByTime": [
            {
                "TimePeriod": {"Start": "2026-08-01", "End": "2026-09-01"},
                "Total": _metrics("100.5", "90", "80"),
                "Groups": [],
            }
        ]
    }
    (charge,) = _run(tmp_path / "total", total).charges
    assert charge["ChargePeriodEnd"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert (charge["BilledCost"], charge["EffectiveCost"]) == (Decimal("100.5"), Decimal(80))
    empty = _run(tmp_path / "empty", {"ResultsByTime": []})
    assert empty.charges == []
    assert [r["status"] for r in empty.ledger] == ["read"]


def test_what_is_no_answer_is_told(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, "aws_cost_explorer")
    made.deliver("2026-09.json", json.dumps({"message": "denied"}).encode())
    (entry,) = made.run().ledger
    assert entry["status"] == "unreadable"
    assert "document 1 is no answer of the service as aws_cost_explorer expects" in entry["problem"]


def test_metrics_that_change_in_the_middle_of_a_month(tmp_path: Path) -> None:
    """Added, removed, retyped; and one that is renamed where it cannot be done without."""
    groups = [{"Type": "DIMENSION", "Key": "SERVICE"}]

    def page(day: int, metrics: dict[str, Any]) -> dict[str, Any]:
        found = {name: {"Amount": amount, "Unit": USD} for name, amount in metrics.items()}
        period = _day(day, ["AWS Lambda"], "0")
        period["Groups"][0]["Metrics"] = found
        return {"GroupDefinitions": groups, "ResultsByTime": [period]}

    outcome = _run(
        tmp_path,
        page(1, {"UnblendedCost": "1", "AmortizedCost": "2", "NetAmortizedCost": "3"}),
        page(2, {"UnblendedCost": "1", "AmortizedCost": "2"}),
        page(3, {"UnblendedCost": "1", "AmortizedCost": "2", "BlendedCost": "9"}),
        page(4, {"UnblendedCost": 1.10000000000000000001, "AmortizedCost": "2"}),
        page(5, {"Unblended": "1", "AmortizedCost": "2"}),
    )
    charges = {c["x_ChargeDay"].day: c for c in outcome.charges}
    assert {day: c["EffectiveCost"] for day, c in charges.items()} == {1: 3, 2: 2, 3: 2, 4: 2}
    assert json.loads(charges[3]["x_OtherColumns"])["BlendedCost"] == "9"
    assert charges[4]["BilledCost"] == Decimal("1.1")
    (rejected,) = outcome.rejected
    assert (rejected["column"], rejected["charge_day"]) == ("UnblendedCost", date(2026, 9, 5))
