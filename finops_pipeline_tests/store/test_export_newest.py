"""FOCUS 1.4: its names, allocated costs, and the dataset of billing periods."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal

import pytest

from finops_pipeline.contracts.tables import focus_columns
from finops_pipeline_tests.cli.place import Place, row

NEW = {
    "AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName",
    "AllocatedTags", "CommitmentProgramEligibilityDetails", "ContractApplied", "HostProviderName",
    "InvoiceDetailId", "ServiceProviderName",
}  # fmt: skip
RULES = """
owners: [web, data]
tags:
  - key: team
pools:
  - name: rest
    match: {ServiceName: [COMPUTE]}
    drivers: {fixed: {web: 1, data: 2}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A month that is over and one that is not, one charge of a team and one shared."""
    made = Place(tmp_path_factory.mktemp("newest"))
    (made.folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    made.configure(rules="rules.yaml")
    made.deliver("0001", row("10"), row("1", team=""))
    made.deliver("0002", row("5", day="2025-02-03"), on=date(2025, 2, 4))
    assert made.finops("run").exit_code == 0
    return made


def exported(place: Place, *arguments: str) -> list[dict[str, str]]:
    out = place.folder / "out.csv"
    result = place.finops("export", "--focus", "1.4", "--out", str(out), *arguments)
    assert result.exit_code == 0, result.output
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_columns_are_those_of_1_4(place: Place) -> None:
    charges = exported(place)
    old = {c.name for c in focus_columns()} - {"ProviderName", "PublisherName"}
    assert list(charges[0]) == sorted(old | NEW)
    assert len(charges[0]) == 65
    assert {(c["ServiceProviderName"], c["HostProviderName"]) for c in charges} == {
        ("Oracle", "Oracle")
    }
    assert sorted(c["BilledCost"] for c in charges) == ["1", "10", "5"]


def test_allocated_costs_have_their_method_and_sum_to_the_charges(place: Place) -> None:
    parts = exported(place, "--dataset", "allocated")
    assert sum(Decimal(p["BilledCost"]) for p in parts) == Decimal(16)
    shared = {p["AllocatedResourceName"]: p for p in parts if p["AllocatedMethodId"]}
    assert set(shared) == {"web", "data"}
    assert sum(Decimal(p["BilledCost"]) for p in shared.values()) == Decimal(1)
    assert shared["web"]["ChargePeriodStart"] == "2025-01-02T00:00:00Z"
    assert shared["web"]["ChargePeriodEnd"] == "2025-01-03T00:00:00Z"
    assert {p["ServiceProviderName"] for p in parts} == {"Oracle"}


def test_a_period_is_closed_when_deliveries_went_on_without_it(place: Place) -> None:
    assert exported(place, "--dataset", "billing-periods") == [
        {
            "BillingPeriodCreated": "2025-01-03T00:00:00Z",
            "BillingPeriodEnd": "2025-02-01T00:00:00Z",
            "BillingPeriodLastUpdated": "2025-01-03T00:00:00Z",
            "BillingPeriodStart": "2025-01-01T00:00:00Z",
            "BillingPeriodStatus": "Closed",
            "InvoiceIssuerName": "Oracle",
        },
        {
            "BillingPeriodCreated": "2025-02-04T00:00:00Z",
            "BillingPeriodEnd": "2025-03-01T00:00:00Z",
            "BillingPeriodLastUpdated": "2025-02-04T00:00:00Z",
            "BillingPeriodStart": "2025-02-01T00:00:00Z",
            "BillingPeriodStatus": "Open",
            "InvoiceIssuerName": "Oracle",
        },
    ]


@pytest.mark.parametrize("dataset", ["allocated", "billing-periods"])
def test_what_1_2_cannot_say_is_refused(place: Place, dataset: str) -> None:
    out = place.folder / "x.csv"
    result = place.finops("export", "--focus", "1.2", "--out", str(out), "--dataset", dataset)
    assert result.exit_code == 2
    assert "--focus 1.4" in result.output
    assert not out.exists()
