"""Azure's FOCUS exports to FOCUS 1.2: what Microsoft leaves open, by hand, row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline_tests.normalize.azure_exports import (
    SUBSCRIPTION,
    as_csv,
    as_gzip,
    as_parquet,
    newest,
    row,
)
from finops_pipeline_tests.normalize.pipeline import Outcome, Pipeline, assert_balanced

RESERVATION = "/providers/Microsoft.Capacity/reservationOrders/a1/reservations/b2"
PLAN = "/providers/Microsoft.BillingBenefits/savingsPlanOrders/c3/savingsPlans/d4"


def run(
    tmp_path: Path, *rows: Mapping[str, str], rates: Mapping[tuple[str, str], str] | None = None
) -> Outcome:
    made = Pipeline(tmp_path, "azure_focus", rates=rates or {})
    made.deliver("focus/20260801-20260831/part_0_0001.csv", as_csv(rows))
    outcome = made.run()
    assert_balanced(outcome)
    assert not outcome.rejected
    return outcome


def one(tmp_path: Path, **values: str) -> dict[str, Any]:
    (charge,) = run(tmp_path, row(**values)).charges
    return charge


def test_a_plain_row_is_taken_as_it_is(tmp_path: Path) -> None:
    charge = one(tmp_path)
    assert {k: v for k, v in charge.items() if v is not None and not k.startswith("x_")} == {
        "BilledCost": Decimal("2.4"),
        "BillingAccountId": "/providers/Microsoft.Billing/billingAccounts/8611537",
        "BillingAccountName": "Acme",
        "BillingAccountType": "Billing Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 8, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 9, 1, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ChargeDescription": "Virtual Machines Dv5 Series - D2 v5 - US East",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": datetime(2026, 8, 3, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 8, 4, tzinfo=UTC),
        "ConsumedQuantity": Decimal(24),
        "ConsumedUnit": "Hours",
        "ContractedCost": Decimal("2.4"),
        "ContractedUnitPrice": Decimal("0.1"),
        "EffectiveCost": Decimal("2.4"),
        "InvoiceIssuerName": "Microsoft",
        "ListCost": Decimal("2.88"),
        "ListUnitPrice": Decimal("0.12"),
        "PricingCategory": "Standard",
        "PricingCurrency": "USD",
        "PricingCurrencyContractedUnitPrice": Decimal("0.1"),
        "PricingCurrencyEffectiveCost": Decimal("2.4"),
        "PricingCurrencyListUnitPrice": Decimal("0.12"),
        "PricingQuantity": Decimal(24),
        "PricingUnit": "Hours",
        "ProviderName": "Microsoft",
        "PublisherName": "Microsoft",
        "RegionId": "eastus",
        "RegionName": "East US",
        "ResourceId": f"{SUBSCRIPTION}/resourcegroups/web/providers/microsoft.compute"
        "/virtualmachines/vm1",
        "ResourceName": "vm1",
        "ResourceType": "Virtual machine",
        "ServiceCategory": "Compute",
        "ServiceName": "Virtual Machines",
        "ServiceSubcategory": "Virtual Machines",
        "SkuId": "DZH318Z0BQ4C",
        "SkuMeter": "D2 v5",
        "SkuPriceId": "DZH318Z0BQ4C/00G1",
        "SubAccountId": SUBSCRIPTION,
        "SubAccountName": "Acme Production",
        "SubAccountType": "Subscription",
        "Tags": '{"team":"web"}',
    }
    assert charge["x_FilledColumns"] == (
        "PricingCurrencyContractedUnitPrice,PricingCurrencyEffectiveCost,"
        "PricingCurrencyListUnitPrice,ServiceSubcategory"
    )
    assert charge["x_ScopeId"] == f"{SUBSCRIPTION}/resourceGroups/web"
    assert charge["x_ScopeName"] == "web"
    assert charge["x_ScopePath"] == "Acme Production/web"
    assert json.loads(charge["x_OtherColumns"]) == {
        "x_PublisherCategory": "Cloud Provider",
        "x_ResourceType": "microsoft.compute/virtualmachines",
        "x_SkuMeterCategory": "Virtual Machines",
        "x_SkuMeterSubcategory": "Dv5 Series",
        "x_BillingExchangeRate": "1",
    }


@pytest.mark.parametrize("written", [as_csv, as_gzip, as_parquet])
def test_every_version_and_kind_of_file_gives_the_same(tmp_path: Path, written: Any) -> None:
    made = Pipeline(tmp_path, "azure_focus")
    suffix = {"as_csv": "csv", "as_gzip": "csv.gz", "as_parquet": "snappy.parquet"}
    for name, told in (("old", row()), ("new", newest(row()))):
        made.deliver(f"{name}/20260801-20260831/part_0.{suffix[written.__name__]}", written([told]))
    outcome = made.run()
    assert_balanced(outcome)
    new, old = outcome.charges
    ours = {k for k in new if not k.startswith("x_")}
    assert {k: new[k] for k in ours} == {k: old[k] for k in ours}
    assert new["x_FilledColumns"] == old["x_FilledColumns"].removesuffix(",ServiceSubcategory")


def test_amortised_reservations_and_plans(tmp_path: Path) -> None:
    """A purchase, its use, what was not used: the effective cost sums to what was billed."""
    bought = row(
        BilledCost="744", EffectiveCost="0", ChargeCategory="Purchase",
        ChargeFrequency="One-Time", CommitmentDiscountId=RESERVATION,
        CommitmentDiscountType="Reservation", CommitmentDiscountCategory="Usage",
        ContractedCost="0", ContractedUnitPrice="0", ListCost="0", ListUnitPrice="0",
        PublisherName="", ServiceName="", x_SkuMeterSubcategory="Reserved VM Instance",
        x_SkuMeterCategory="", ResourceId=RESERVATION.lower(), ResourceType="",
        x_ResourceType="microsoft.capacity/reservationorders",
    )  # fmt: skip
    used = row(
        BilledCost="0", EffectiveCost="700", CommitmentDiscountId=RESERVATION,
        CommitmentDiscountStatus="Used", CommitmentDiscountType="Reservation",
        CommitmentDiscountCategory="Usage", ContractedCost="0", ContractedUnitPrice="",
        ListCost="0", ListUnitPrice="0", PricingCategory="Committed", PublisherName="",
    )  # fmt: skip
    unused = row(
        BilledCost="0", EffectiveCost="44", CommitmentDiscountId=PLAN,
        CommitmentDiscountStatus="Unused", CommitmentDiscountType="Savings Plan",
        CommitmentDiscountCategory="Spend", ContractedCost="0", ContractedUnitPrice="0",
        ListCost="50", ListUnitPrice="", PublisherName="", ChargeDescription="", SkuId="",
        SubAccountId="/subscriptions/00000000-0000-0000-0000-000000000000", SubAccountName="",
        SubAccountType="", x_ResourceGroupName="", ResourceId="", ResourceName="", ResourceType="",
        x_ResourceType="",
    )  # fmt: skip
    purchase, use, waste = run(tmp_path, bought, used, unused).charges
    assert sum(c["BilledCost"] for c in (purchase, use, waste)) == 744
    assert sum(c["EffectiveCost"] for c in (purchase, use, waste)) == 744
    assert purchase["ContractedCost"] == purchase["ListCost"] == 744
    assert purchase["ContractedUnitPrice"] is purchase["ListUnitPrice"] is None
    assert purchase["ServiceName"] == "Reserved VM Instance"
    assert purchase["ResourceType"] == "microsoft.capacity/reservationorders"
    assert purchase["ChargeFrequency"] == "One-Time"
    assert use["ContractedCost"] == use["ListCost"] == 700
    assert waste["ContractedCost"] == 44
    assert waste["ListCost"] == 50
    assert [c["PublisherName"] for c in (purchase, use, waste)] == ["Microsoft"] * 3
    assert waste["CommitmentDiscountStatus"] == "Unused"
    assert waste["SubAccountId"] is waste["SubAccountType"] is waste["x_ScopeId"] is None
    named = set(purchase["x_FilledColumns"].split(","))
    assert {"ContractedCost", "ListCost", "PublisherName", "ServiceName"} < named
    assert waste["ResourceType"] is None
    assert waste["ChargeDescription"] == "D2 v5"
    assert "ChargeDescription" in waste["x_FilledColumns"].split(",")
    assert not {"ListCost", "ResourceType"} & set(waste["x_FilledColumns"].split(","))


def test_what_is_free_stays_free(tmp_path: Path) -> None:
    charge = one(
        tmp_path, BilledCost="0", EffectiveCost="0", ContractedCost="0", ContractedUnitPrice="0",
        ListCost="0", ListUnitPrice="0",
    )  # fmt: skip
    assert charge["ContractedCost"] == charge["ListCost"] == charge["ContractedUnitPrice"] == 0
    assert "ContractedCost" not in charge["x_FilledColumns"]


def test_a_vendor_of_the_marketplace_names_its_service(tmp_path: Path) -> None:
    charge = one(
        tmp_path, BilledCost="100", EffectiveCost="100", ChargeCategory="Purchase",
        ChargeFrequency="Recurring", ContractedCost="0", ContractedUnitPrice="0", ListCost="0",
        ListUnitPrice="0", PublisherName="Contoso Ltd", ServiceName="", ServiceCategory="",
        x_PublisherCategory="Vendor", x_SkuMeterSubcategory="Gold plan", SkuPriceId="-2",
    )  # fmt: skip
    assert charge["ServiceName"] == charge["PublisherName"] == "Contoso Ltd"
    assert charge["ServiceCategory"] == "Other"
    assert charge["ContractedCost"] == charge["ListCost"] == 100
    assert charge["SkuPriceId"] is None
    assert charge["ProviderName"] == "Microsoft"


@pytest.mark.parametrize(
    ("category", "class_", "cost"),
    [("Tax", "", "19.99"), ("Credit", "", "-5.5"), ("Purchase", "Correction", "-744"),
     ("Usage", "Correction", "0.000000000000000001"), ("Adjustment", "", "-0.01")],
)  # fmt: skip
def test_tax_credits_refunds_and_corrections(
    tmp_path: Path, category: str, class_: str, cost: str
) -> None:
    charge = one(
        tmp_path, ChargeCategory=category, ChargeClass=class_, BilledCost=cost, EffectiveCost=cost,
        ContractedCost=cost, ListCost=cost,
    )  # fmt: skip
    assert charge["ChargeCategory"] == category
    assert charge["ChargeClass"] == (class_ or None)
    assert charge["x_IsCorrection"] == (class_ == "Correction")
    assert charge["BilledCost"] == charge["EffectiveCost"] == Decimal(cost)


@pytest.mark.parametrize(
    ("delivered", "tags", "left"),
    [
        ('"team": "web","env": "prod"', {"team": "web", "env": "prod"}, None),
        ('{"team":"web"}', {"team": "web"}, None),
        ('{"a":"b",', {}, '{"a":"b",'),
        ('"only a word"', {}, '"only a word"'),
        ("", {}, None),
    ],
)
def test_tags_without_braces_and_tags_that_are_broken(
    tmp_path: Path, delivered: str, tags: dict[str, str], left: str | None
) -> None:
    charge = one(tmp_path, Tags=delivered)
    assert json.loads(charge["Tags"]) == tags
    assert json.loads(charge["x_OtherColumns"]).get("Tags") == left


def test_several_currencies(tmp_path: Path) -> None:
    """Billed in Canadian dollars, priced in US dollars: 1 CAD is 0.75 USD on the day."""
    rates = {("CAD", "2026-08-03"): "0.75"}
    charge = run(
        tmp_path, row(BillingCurrency="CAD", x_BillingExchangeRate="1.36"), rates=rates
    ).charges[0]
    assert charge["BillingCurrency"] == "CAD"
    assert charge["PricingCurrency"] == "USD"
    assert charge["PricingCurrencyEffectiveCost"] is None
    assert charge["PricingCurrencyListUnitPrice"] is None
    assert charge["x_ReportingBilledCost"] == Decimal("1.8")


def test_places_without_an_identifier_or_a_name(tmp_path: Path) -> None:
    charge = one(
        tmp_path, RegionId="", RegionName="West Europe", SubAccountName="Unassigned",
        x_ResourceGroupName="Unassigned",
    )  # fmt: skip
    assert (charge["RegionId"], charge["RegionName"]) == ("westeurope", "West Europe")
    assert charge["SubAccountName"] is None
    assert charge["x_ScopeId"] == charge["x_ScopePath"] == SUBSCRIPTION
    nowhere = one(tmp_path / "again", RegionId="Unassigned", RegionName="Unassigned")
    assert nowhere["RegionId"] is nowhere["RegionName"] is None


def test_management_groups_come_from_the_inventory(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, "azure_focus", scopes={SUBSCRIPTION: "root/Production/Acme"})
    made.deliver("20260801-20260831/part_0.csv", as_csv([row()]))
    (charge,) = made.run().charges
    assert charge["x_ScopePath"] == "root/Production/Acme/web"


def test_times_of_seven_digits(tmp_path: Path) -> None:
    charge = one(
        tmp_path, ChargePeriodStart="2026-08-03T00:00:00.0000000Z",
        ChargePeriodEnd="2026-08-04T00:00:00.0000000Z",
    )  # fmt: skip
    assert charge["ChargePeriodStart"] == datetime(2026, 8, 3, tzinfo=UTC)
    assert charge["ChargePeriodEnd"] == datetime(2026, 8, 4, tzinfo=UTC)


EVOLVED: Sequence[tuple[str, dict[str, str], set[str]]] = [
    ("added", row(x_Brandnew="7"), set()),
    ("removed", {k: v for k, v in row().items() if k != "ListCost"}, {"ListCost"}),
    ("renamed", newest(row()), set()),
    ("retyped", row(PricingQuantity="2.4E1", SkuId="12345"), set()),
]


@pytest.mark.parametrize(("how", "later", "filled"), EVOLVED, ids=[e[0] for e in EVOLVED])
def test_a_column_changes_in_the_middle_of_a_month(
    tmp_path: Path, how: str, later: dict[str, str], filled: set[str]
) -> None:
    made = Pipeline(tmp_path, "azure_focus")
    made.deliver("20260801-20260831/part_0_0001.csv", as_csv([row()]))
    made.deliver("20260801-20260831/part_1_0001.csv", as_csv([later]))
    outcome = made.run()
    assert_balanced(outcome)
    before, after = outcome.charges
    for name in ("BilledCost", "ContractedCost", "PricingQuantity", "ServiceName", "Tags"):
        assert after[name] == before[name], name
    named = [set(c["x_FilledColumns"].split(",")) for c in (before, after)]
    assert filled <= named[1]
    assert not filled & named[0]
    if how == "added":
        assert json.loads(after["x_OtherColumns"])["x_Brandnew"] == "7"


def test_a_required_column_that_goes_is_named(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, "azure_focus")
    told = {k: v for k, v in row().items() if k != "BilledCost"}
    made.deliver("20260801-20260831/part_0_0001.csv", as_csv([told]))
    (report,) = [r for r in made.run().ledger if r["status"] == "unreadable"]
    assert "'BilledCost' is missing" in report["problem"]


def test_a_number_that_becomes_a_word_is_a_rejected_row(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, "azure_focus")
    made.deliver("20260801-20260831/p.csv", as_csv([row(), row(ListUnitPrice="n/a")]))
    outcome = made.run()
    assert_balanced(outcome)
    (rejected,) = outcome.rejected
    assert (rejected["column"], rejected["value"]) == ("ListUnitPrice", "n/a")
    assert len(outcome.charges) == 1
