"""Saved answers of Query to FOCUS 1.2, by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline_tests.normalize.pipeline import Outcome, Pipeline, assert_balanced

SUBSCRIPTION = "/subscriptions/e18e1552-c6dd-45d1-973c-999999999999"
VM = f"{SUBSCRIPTION}/resourceGroups/Web/providers/Microsoft.Compute/virtualMachines/VM1"
Value = str | int | None


def answer(
    columns: Sequence[str], *rows: Sequence[Value], cost: str = "1.50", bare: bool = False
) -> bytes:
    """An answer as the service writes it; `cost` is the text of the number COST."""
    told: dict[str, Any] = {
        "nextLink": None,
        "columns": [{"name": name, "type": "String"} for name in columns],
        "rows": [list(row) for row in rows],
    }
    document = told if bare else {"id": "1", "properties": told}
    return json.dumps(document).replace('"COST"', cost).encode()


def run(tmp_path: Path, *answers: bytes) -> Outcome:
    made = Pipeline(tmp_path, "azure_cost_query")
    for number, content in enumerate(answers):
        made.deliver(f"2026-08-{number}.json", content)
    outcome = made.run()
    assert_balanced(outcome)
    return outcome


USUAL = ("Cost", "UsageDate", "ResourceId", "ServiceName", "Currency")


def test_what_is_asked_for_becomes_a_charge(tmp_path: Path) -> None:
    told = answer(USUAL, ["COST", 20260803, VM, "Virtual Machines", "USD"])
    (charge,) = run(tmp_path, told).charges
    assert {k: v for k, v in charge.items() if v is not None and not k.startswith("x_")} == {
        "BilledCost": Decimal("1.5"),
        "BillingAccountId": SUBSCRIPTION,
        "BillingAccountName": SUBSCRIPTION,
        "BillingAccountType": "Billing Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 8, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 9, 1, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ChargeDescription": "Virtual Machines",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": datetime(2026, 8, 3, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 8, 4, tzinfo=UTC),
        "ContractedCost": Decimal("1.5"),
        "EffectiveCost": Decimal("1.5"),
        "InvoiceIssuerName": "Microsoft",
        "ListCost": Decimal("1.5"),
        "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": Decimal("1.5"),
        "ProviderName": "Microsoft",
        "PublisherName": "Microsoft",
        "ResourceId": VM.lower(),
        "ResourceName": "vm1",
        "ResourceType": "microsoft.compute/virtualmachines",
        "ServiceCategory": "Compute",
        "ServiceName": "Virtual Machines",
        "ServiceSubcategory": "Virtual Machines",
        "SubAccountId": SUBSCRIPTION,
        "SubAccountName": SUBSCRIPTION,
        "SubAccountType": "Subscription",
        "Tags": "{}",
    }
    assert charge["x_FilledColumns"] == (
        "BillingAccountId,ChargeCategory,ChargeDescription,ChargeFrequency,ContractedCost,EffectiveCost,"
        "InvoiceIssuerName,ListCost,ProviderName,PublisherName,ServiceCategory,ServiceSubcategory"
    )
    assert charge["x_ScopeId"] == f"{SUBSCRIPTION}/resourceGroups/web"
    assert charge["x_ScopePath"] == f"{SUBSCRIPTION}/web"


def test_every_page_of_a_file_counts(tmp_path: Path) -> None:
    page = answer(USUAL, ["COST", 20260803, VM, "Storage", "USD"])
    outcome = run(tmp_path, page + b"\n" + page + b"\r\n" + page)
    assert [c["BilledCost"] for c in outcome.charges] == [Decimal("1.5")] * 3
    assert [c["x_ReportRow"] for c in outcome.charges] == [1, 2, 3]


@pytest.mark.parametrize(
    ("cost", "stored"),
    [
        ("0.123456789012345678", "0.123456789012345678"),
        ("1.2345678901234567E-05", "0.000012345678901235"),
        ("-7", "-7"),
    ],
)
def test_numbers_keep_their_digits(tmp_path: Path, cost: str, stored: str) -> None:
    told = answer(USUAL, ["COST", 20260803, VM, "Storage", "USD"], cost=cost)
    (charge,) = run(tmp_path, told).charges
    assert charge["BilledCost"] == Decimal(stored)


@pytest.mark.parametrize(
    ("told", "category", "class_", "frequency"),
    [
        ("Usage", "Usage", None, "Usage-Based"),
        ("Purchase", "Purchase", None, "One-Time"),
        ("Refund", "Purchase", "Correction", "One-Time"),
        ("Tax", "Tax", None, "Usage-Based"),
        ("UnusedReservation", "Usage", None, "Usage-Based"),
        ("RoundingAdjustment", "Adjustment", None, "Usage-Based"),
    ],
)
def test_charge_types_are_categories(
    tmp_path: Path, told: str, category: str, class_: str | None, frequency: str
) -> None:
    columns = ("PreTaxCost", "UsageDate", "ChargeType", "SubscriptionId", "Currency")
    guid = SUBSCRIPTION.rpartition("/")[2].upper()
    (charge,) = run(tmp_path, answer(columns, ["COST", 20260803, told, guid, "USD"])).charges
    assert charge["ChargeCategory"] == category
    assert charge["ChargeClass"] == class_
    assert charge["ChargeFrequency"] == frequency
    assert charge["SubAccountId"] == SUBSCRIPTION
    assert "ChargeCategory" not in charge["x_FilledColumns"]
    assert json.loads(charge["x_OtherColumns"]) == {"ChargeType": told}


def test_commitments_regions_and_tags(tmp_path: Path) -> None:
    columns = (
        "Cost", "UsageDate", "BenefitId", "ChargeType", "PricingModel", "ResourceLocation",
        "TagKey", "TagValue", "ResourceGroup", "UsageQuantity", "UnitOfMeasure", "Currency",
    )  # fmt: skip
    plan = "/providers/Microsoft.BillingBenefits/savingsPlanOrders/1/savingsPlans/2"
    order = "/providers/Microsoft.Capacity/reservationOrders/1/reservations/2"
    rows = [
        ["COST", 20260803, plan, "UnusedSavingsPlan", "SavingsPlan", "US East", "team", "web",
         "rg", "COST", "1 Hour", "USD"],
        ["COST", 20260803, order, "Usage", "Reservation", "East US", "team", None, "rg", None, "",
         "USD"],
    ]  # fmt: skip
    unused, used = run(tmp_path, answer(columns, *rows, cost="24")).charges
    assert (unused["CommitmentDiscountType"], unused["CommitmentDiscountStatus"]) == (
        "Savings Plan",
        "Unused",
    )
    assert unused["CommitmentDiscountCategory"] == "Spend"
    assert (used["CommitmentDiscountType"], used["CommitmentDiscountStatus"]) == (
        "Reservation",
        "Used",
    )
    assert [c["PricingCategory"] for c in (unused, used)] == ["Committed"] * 2
    assert {(c["RegionId"], c["RegionName"]) for c in (unused, used)} == {("eastus", "East US")}
    assert json.loads(unused["Tags"]) == {"team": "web"}
    assert json.loads(used["Tags"]) == {"team": None}
    assert (unused["ConsumedQuantity"], unused["ConsumedUnit"]) == (24, "Hours")
    assert used["ConsumedQuantity"] is used["ConsumedUnit"] is None


def test_what_the_azure_cli_prints_is_taken_too(tmp_path: Path) -> None:
    told = answer(USUAL, ["COST", "2026-08-03", VM, "Storage", "USD"], bare=True)
    (charge,) = run(tmp_path, told).charges
    assert charge["ServiceCategory"] == "Storage"


def test_a_month_of_nothing(tmp_path: Path) -> None:
    outcome = run(tmp_path, b'{"properties":{"nextLink":null,"columns":[],"rows":[]}}\n')
    assert not outcome.charges
    assert [r["status"] for r in outcome.ledger] == ["read"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"error":{"code":"429","message":"Too many"}}', "no answer of the service"),
        (answer(USUAL, ["COST", 20260803]), "no answer of the service"),
        (
            answer(("Cost", "BillingMonth", "Currency"), ["COST", 1, "USD"]),
            "'UsageDate' is missing",
        ),
        (answer(USUAL, ["COST", 20260803, VM, "x", "USD"])[:-9], "no JSON"),
    ],
)
def test_what_is_no_answer_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    outcome = run(tmp_path, content)
    assert not outcome.charges
    (report,) = outcome.ledger
    assert problem in report["problem"]


@pytest.mark.parametrize(
    ("columns", "row", "other"),
    [
        ((*USUAL, "Brandnew"), ["COST", 20260803, VM, "Storage", "USD", 7], {"Brandnew": "7"}),
        (("Cost", "UsageDate", "ServiceName", "Currency"),
         ["COST", 20260803, "Storage", "USD"], None),
        (("PreTaxCost", *USUAL[1:]), ["COST", 20260803, VM, "Storage", "USD"], None),
        (USUAL, ["COST", "2026-08-03T00:00:00", VM, "Storage", "USD"], None),
    ],
    ids=["added", "removed", "renamed", "retyped"],
)  # fmt: skip
def test_a_column_changes_in_the_middle_of_a_month(
    tmp_path: Path, columns: Sequence[str], row: Sequence[Value], other: dict[str, str] | None
) -> None:
    first = answer(USUAL, ["COST", 20260803, VM, "Storage", "USD"])
    before, after = run(tmp_path, first, answer(columns, row)).charges
    for name in ("BilledCost", "ChargePeriodStart", "ServiceName", "ServiceCategory"):
        assert before[name] == after[name], name
    assert (after["x_OtherColumns"] and json.loads(after["x_OtherColumns"])) == other


def test_a_day_that_is_none_is_a_rejected_row(tmp_path: Path) -> None:
    outcome = run(tmp_path, answer(USUAL, ["COST", 20260231, VM, "Storage", "USD"]))
    (rejected,) = outcome.rejected
    assert (rejected["column"], rejected["value"]) == ("UsageDate", "2026-02-31")
