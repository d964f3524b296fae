"""What the FOCUS rows say, by hand: columns, periods, look-ups, tags, and what has no column."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline_tests.normalize.pipeline import (
    NAMES,
    TEMPLATES,
    Pipeline,
    Row,
    assert_balanced,
    line,
    report,
)

FORMATS: tuple[str, ...] = ("oci_cost_csv", "oci_focus")
# FOCUS 1.2, "Cost and Usage" dataset: the columns in the order of their names.
FOCUS_1_2 = """
AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingAccountType BillingCurrency
BillingPeriodEnd BillingPeriodStart CapacityReservationId CapacityReservationStatus ChargeCategory
ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart
CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountQuantity
CommitmentDiscountStatus CommitmentDiscountType CommitmentDiscountUnit ConsumedQuantity
ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost InvoiceId InvoiceIssuerName ListCost
ListUnitPrice PricingCategory PricingCurrency PricingCurrencyContractedUnitPrice
PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice PricingQuantity PricingUnit ProviderName
PublisherName RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName
ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId SubAccountId SubAccountName
SubAccountType Tags
""".split()  # noqa: SIM905
NEVER_NULL = """
BilledCost BillingAccountId BillingAccountType BillingCurrency BillingPeriodEnd BillingPeriodStart
ChargeCategory ChargeFrequency ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost
InvoiceIssuerName ListCost ProviderName PublisherName ServiceCategory ServiceName
ServiceSubcategory
""".split()  # noqa: SIM905


def charges(folder: Path, format_: str, *rows: Row, **options: Any) -> dict[str, Row]:
    """The FOCUS rows of these report rows, by reference number."""
    pipeline = Pipeline(folder, format_, **options)
    pipeline.deliver("a.csv", report(rows))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.rejected == []
    return {c["x_ReferenceNumber"]: c for c in outcome.charges}


@pytest.mark.parametrize("format_", FORMATS)
def test_57_columns_then_our_own(tmp_path: Path, format_: str) -> None:
    [charge] = charges(tmp_path, format_, line(format_)).values()
    names = list(charge)
    assert len(FOCUS_1_2) == 57
    assert names[:57] == FOCUS_1_2
    assert all(name.startswith("x_") for name in names[57:])


@pytest.mark.parametrize("format_", FORMATS)
def test_what_a_plain_row_becomes(tmp_path: Path, format_: str) -> None:
    [charge] = charges(tmp_path, format_, line(format_)).values()
    expected = {
        "AvailabilityZone": "AD-1",
        "BilledCost": Decimal("0.05"),
        "BillingAccountId": "sub-1",
        "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": datetime(2026, 9, 9, 10, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 9, 9, 11, tzinfo=UTC),
        "ConsumedQuantity": Decimal(2),
        "ConsumedUnit": "OCPU-Hours",
        "ContractedCost": Decimal("0.05"),
        "EffectiveCost": Decimal("0.05"),
        "InvoiceIssuerName": "Oracle",
        "ListCost": Decimal("0.05") if format_ == "oci_cost_csv" else Decimal("0.06"),
        "PricingCategory": "Standard",
        "PricingCurrency": "USD",
        "PricingQuantity": Decimal(2),
        "PricingUnit": "OCPU-Hours",
        "ProviderName": "Oracle",
        "PublisherName": "Oracle",
        "RegionId": "us-ashburn-1",
        "RegionName": "US East (Ashburn)",
        "ResourceId": "ocid1.instance.oc1.iad.one",
        "ResourceType": "instance",
        "ServiceCategory": "Compute",
        "ServiceName": "COMPUTE",
        "ServiceSubcategory": "Virtual Machines",
        "SkuId": "B88514",
        "SkuPriceId": "B88514",
        "SubAccountId": "ocid1.tenancy.oc1..acme",
        "Tags": "{}",
        "x_ScopeId": "ocid1.compartment.oc1..web",
        "x_ExchangeRate": Decimal(1),
        "x_ReportingBilledCost": Decimal("0.05"),
        "x_Report": "a.csv",
        "x_ReportRow": 1,
        "x_ChargeDay": date(2026, 9, 9),
    }
    assert {name: charge[name] for name in expected} == expected


@pytest.mark.parametrize("format_", FORMATS)
def test_a_row_with_nothing_but_what_it_needs(tmp_path: Path, format_: str) -> None:
    needed = {NAMES[format_][n] for n in ("ref", "start", "end", "cost", "currency", "service")}
    bare = {n: v if n in needed else "" for n, v in TEMPLATES[format_].items()}
    blank = {NAMES[format_][n]: " " for n in ("region", "unit")}
    ocid = "product/resourceId" if format_ == "oci_cost_csv" else "ResourceId"
    rows = [bare, bare | {NAMES[format_]["ref"]: "blank", **blank, ocid: "ocid1."}]
    found = charges(tmp_path, format_, *rows)
    for charge in found.values():
        assert [n for n, v in charge.items() if v == ""] == []
        assert [n for n in NEVER_NULL if charge[n] is None] == []
        assert charge["RegionId"] is None and charge["PricingUnit"] is None
    assert found["blank"]["ResourceType"] == "COMPUTE"


@pytest.mark.parametrize(
    ("start", "end", "period"),
    [
        ("2026-08-31T23:00Z", "2026-09-01T00:00Z", ("2026-08-01", "2026-09-01")),
        ("2026-09-01T00:00Z", "2026-09-01T01:00Z", ("2026-09-01", "2026-10-01")),
        ("2025-12-31T23:59:59Z", "2026-01-01T00:00:00.000Z", ("2025-12-01", "2026-01-01")),
        ("2024-02-29T12:00Z", "2024-03-01T12:00Z", ("2024-02-01", "2024-03-01")),
        ("2026-09-01T01:00:00+02:00", "2026-09-01T02:00:00+02:00", ("2026-08-01", "2026-09-01")),
    ],
)
def test_billing_period_is_the_utc_month(
    tmp_path: Path, start: str, end: str, period: tuple[str, str]
) -> None:
    [charge] = charges(tmp_path, "oci_cost_csv", line(start=start, end=end)).values()
    found = (charge["BillingPeriodStart"], charge["BillingPeriodEnd"])
    assert tuple(t.strftime("%Y-%m-%d") for t in found) == period
    assert charge["ChargePeriodEnd"] > charge["ChargePeriodStart"]
    assert charge["x_ChargeDay"] == charge["ChargePeriodStart"].date()


def test_charge_class_is_for_corrections_of_a_month_before(tmp_path: Path) -> None:
    found = charges(
        tmp_path,  # delivered in September
        "oci_cost_csv",
        line(ref="of August", back="x", start="2026-08-31T10:00Z"),
        line(ref="of September", back="y", start="2026-09-01T10:00Z"),
        line(ref="none", start="2026-08-31T10:00Z"),
    )
    assert {ref: c["ChargeClass"] for ref, c in found.items()} == {
        "of August": "Correction", "of September": None, "none": None,
    }  # fmt: skip
    assert [c["x_IsCorrection"] for c in found.values()].count(True) == 2


def test_look_ups(tmp_path: Path) -> None:
    regions = {"iad": "us-ashburn-1", "PHX": "us-phoenix-1", "eu-frankfurt-1": "eu-frankfurt-1"}
    found = charges(
        tmp_path,
        "oci_cost_csv",
        *(line(ref=r, region=r) for r in [*regions, "xx-new-9"]),
        line(ref="new", service="TELEPATHY"),
        line(ref="blanks", service="Block Storage"),
        line(ref="dashes", service="block-storage"),
        line(ref="GB", unit="Gigabyte Storage Capacity Per Month"),
        line(ref="made up", unit="Widget Per Hour"),
    )
    for key, region in regions.items():
        assert found[key]["RegionId"] == region
        assert found[key]["RegionName"] not in (None, key)
    assert (found["xx-new-9"]["RegionId"], found["xx-new-9"]["RegionName"]) == ("xx-new-9",) * 2
    assert found["new"]["ServiceCategory"] == "Other"
    assert found["new"]["ServiceSubcategory"] == "Other (Other)"
    assert {found[r]["ServiceSubcategory"] for r in ("blanks", "dashes")} == {"Block Storage"}
    assert found["GB"]["PricingUnit"] == "GB-Months"


def test_categories(tmp_path: Path) -> None:
    found = charges(
        tmp_path,
        "oci_cost_csv",
        line(ref="usage"),
        line(ref="credit", cost="-4"),
        line(ref="tax", service="TAX", **{"product/Description": "Sales tax"}),
        line(ref="negative correction", cost="-4", back="usage"),
    )
    assert {ref: c["ChargeCategory"] for ref, c in found.items()} == {
        "usage": "Usage", "credit": "Credit", "tax": "Tax", "negative correction": "Usage",
    }  # fmt: skip
    assert found["tax"]["PricingQuantity"] is found["tax"]["ListUnitPrice"] is None
    assert found["credit"]["ConsumedQuantity"] is found["credit"]["PricingCategory"] is None


def test_a_negative_price_is_no_price(tmp_path: Path) -> None:
    [charge] = charges(
        tmp_path, "oci_cost_csv", line(cost="-1", **{"cost/unitPrice": "-0.5"})
    ).values()
    assert charge["ListUnitPrice"] is charge["ContractedUnitPrice"] is None


NASTY = {
    "cost/myCost": "a tag named like a column",
    "ServiceName": "and another",
    "Team": "upper",
    "team": "lower",
    "quotes": 'say "hi"',
    "backslash": "a\\b\\\\",
    "control": "\t\x01\x1f\x7f\n\r\n\x00",
    "words": "Größe 漢字 🎉 \u2028",
    "json": '{"not": "nested"}',
    "comma": "a,b",
    "blank": " ",
    "": "no key",
    'ke"y\\\n': "odd key",
    "Ns.Key": "v",
    "report_row": "1",
    "tag 0": "2",
}


def test_tags_come_back_as_they_were(tmp_path: Path) -> None:
    tags = {f"tags/{key}": value for key, value in NASTY.items()}
    found = charges(tmp_path, "oci_cost_csv", line(ref="a", **tags), line(ref="b"))
    assert json.loads(found["a"]["Tags"]) == NASTY
    assert found["b"]["Tags"] == "{}"
    assert found["a"]["BilledCost"] == Decimal("0.05")
    assert found["a"]["x_OtherColumns"] is None


def test_unknown_columns_survive(tmp_path: Path) -> None:
    others = {"cost/new": "1", "COST/NEW": "2", 'a "b"': 'x"y\\', "Tags/late": "é", " ": "blank"}
    found = charges(tmp_path, "oci_cost_csv", line(ref="a", **others), line(ref="b"))
    assert json.loads(found["a"]["x_OtherColumns"]) == others
    assert found["b"]["x_OtherColumns"] is None


@pytest.mark.parametrize(
    ("text", "tags", "others"),
    [
        ('{"a":"b","C":"d\\"e"}', {"a": "b", "C": 'd"e'}, None),
        ("{}", {}, None),
        ("", {}, None),
        ("null", {}, {"Tags": "null"}),
        ('["a"]', {}, {"Tags": '["a"]'}),
        ('{broken"', {}, {"Tags": '{broken"'}),
    ],
)
@pytest.mark.parametrize("more", [{}, {"oci_New": "1"}])
def test_focus_tags_that_are_no_object_are_kept_as_text(
    tmp_path: Path, text: str, tags: Row, others: Row | None, more: Row
) -> None:
    [charge] = charges(tmp_path, "oci_focus", line("oci_focus", Tags=text, **more)).values()
    assert json.loads(charge["Tags"]) == tags
    kept = (others or {}) | more
    assert json.loads(charge["x_OtherColumns"] or "{}") == kept
    assert (charge["x_OtherColumns"] is None) == (not kept)


def test_effective_cost_of_zero_is_not_delivered(tmp_path: Path) -> None:
    delivered = ("", "0", "3", "0.0")
    rows = (line("oci_focus", ref=f"e{e}", cost="4", EffectiveCost=e) for e in delivered)
    found = charges(tmp_path, "oci_focus", *rows)
    assert {ref: c["EffectiveCost"] for ref, c in found.items()} == {
        "e": 4, "e0": 4, "e3": 3, "e0.0": 4,
    }  # fmt: skip


def test_a_day_without_a_rate_keeps_its_charges_and_says_so(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, rates={("XCG", "2026-09-01"): "0.5"})
    rows = [
        line(ref="known", currency="XCG", start="2026-09-08T10:00Z", cost="3"),
        line(ref="too old", currency="XCG", start="2026-09-09T10:00Z", cost="3"),
        line(ref="none", currency="XAU", cost="3"),
        line(ref="home", cost="3"),
    ]
    pipeline.deliver("a.csv", report(rows))
    outcome = pipeline.run()
    assert_balanced(outcome)
    found = {c["x_ReferenceNumber"]: c for c in outcome.charges}
    for ref, rate, day, source, cost in [
        ("known", Decimal("0.5"), date(2026, 9, 1), "rates file", Decimal("1.5")),
        ("too old", None, None, None, None),
        ("none", None, None, None, None),
        ("home", Decimal(1), date(2026, 9, 9), "identity", Decimal(3)),
    ]:
        assert found[ref]["x_ExchangeRate"] == rate
        assert found[ref]["x_ExchangeRateDate"] == day
        assert found[ref]["x_ExchangeRateSource"] == source
        assert found[ref]["x_ReportingBilledCost"] == cost
        assert found[ref]["BilledCost"] == 3
    unrated = {
        (b["currency"], b["charge_day"].day): b["charges_without_rate"] for b in outcome.books
    }
    assert unrated == {("XCG", 8): 0, ("XCG", 9): 1, ("XAU", 9): 1, ("USD", 9): 0}
