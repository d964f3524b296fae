"""`finops run` over Azure: an export in Blob Storage, and Query with its management groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.config import Settings, Source
from finops_pipeline_tests.days import closed_month
from finops_pipeline_tests.normalize.azure_exports import SUBSCRIPTION, as_parquet, manifest, row
from finops_pipeline_tests.orchestration.company import Company
from finops_pipeline_tests.servers.azurite import ACCOUNT, Azurite, azurite, is_installed
from finops_pipeline_tests.servers.cost_management import TENANT, CostManagement

pytestmark = pytest.mark.skipif(not is_installed(), reason="Azurite: `make azurite` installs it")

MONTH = closed_month()
OTHER = "/subscriptions/11111111-2222-3333-4444-555555555555"
GROUPS = "/providers/Microsoft.Management/managementGroups"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azurite]:
    with azurite() as running:
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", running.sas("bills"))
        yield running


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[CostManagement]:
    with CostManagement() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@dataclass
class AzureCompany(Company):
    """A company whose bills are in a container and in Query."""

    storage: Azurite = field(kw_only=True)
    service: CostManagement = field(kw_only=True)

    @property
    def settings(self) -> Settings:
        """The settings, as finops.yaml would give them."""
        sources = (
            Source(
                name="acme-export", format="azure_focus", location=f"az://{ACCOUNT}/bills/exports",
                endpoint=self.storage.endpoint,
            ),
            Source(
                name="acme-query", format="azure_cost_query",
                location=f"costmanagement:/{OTHER}", endpoint=self.service.endpoint,
            ),
        )  # fmt: skip
        return Settings(home=self.folder / "home", first_day=MONTH, sources=sources)

    def export(self, submitted: date, *costs: str) -> None:
        """A run of the export: a part with these costs, and its manifest."""
        day = {
            "ChargePeriodStart": f"{MONTH:%Y-%m-%d}T00:00:00Z",
            "ChargePeriodEnd": f"{MONTH + timedelta(days=1):%Y-%m-%d}T00:00:00Z",
            "BillingPeriodStart": f"{MONTH:%Y-%m-%d}T00:00:00Z",
            "BillingPeriodEnd": "",
        }
        part = as_parquet([row(BilledCost=cost, EffectiveCost=cost, **day) for cost in costs])
        folder = f"exports/daily/{MONTH:%Y%m%d}-{MONTH:%Y%m}28/{submitted:%Y%m%d}"
        self.storage.put("bills", f"{folder}/part_0.parquet", part)
        told = manifest(
            {f"{folder}/part_0.parquet": (part, len(costs))},
            f"{submitted:%Y-%m-%dT%H:%M:%S}.1234567Z",
            f"{MONTH:%Y-%m-%d}T00:00:00",
        )
        self.storage.put("bills", f"{folder}/manifest.json", told)


def test_both_feeds_end_as_costs_and_a_month_made_anew_replaces_itself(
    storage: Azurite, service: CostManagement, tmp_path: Path
) -> None:
    company = AzureCompany(tmp_path, storage=storage, service=service)
    service.groups = [(OTHER, "Lab", f"{GROUPS}/{TENANT}")]
    vm = f"{OTHER}/resourceGroups/Tests/providers/Microsoft.Compute/virtualMachines/vm"
    service.add(OTHER.strip("/"), f"{MONTH:%Y-%m-%d}", "1.25", vm, "Virtual Machines")
    company.export(MONTH + timedelta(days=2), "5", "7.5")
    report = company.run()
    assert report.problems == []
    assert report.delivered == {"acme-export": 2, "acme-query": 13}
    found = {(c["x_Source"], c["x_ScopePath"]) for c in company.rows("focus_costs")}
    assert found == {("acme-export", "Acme Production/web"), ("acme-query", "root/Lab/tests")}
    assert company.costs() == {MONTH: Decimal("13.75")}
    asked = len(service.asked)
    assert asked == 13
    again = company.run()
    assert (again.problems, again.idle) == ([], True)
    assert len(service.asked) == asked

    company.export(MONTH + timedelta(days=35), "5")
    report = company.run()
    assert report.problems == []
    assert company.costs() == {MONTH: Decimal("6.25")}
    assert {c["SubAccountId"] for c in company.rows("focus_costs")} == {SUBSCRIPTION, OTHER}
