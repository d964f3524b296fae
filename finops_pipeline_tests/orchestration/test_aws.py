"""`finops run` over AWS: an export in S3 and Cost Explorer, to costs by account and unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from finops_pipeline.config import Settings, Source
from finops_pipeline_tests.days import closed_month, lasting_today
from finops_pipeline_tests.normalize.pipeline import lines
from finops_pipeline_tests.orchestration.company import Company
from finops_pipeline_tests.servers.aws import ACCOUNT, Aws, aws_server

MONTH = closed_month()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with aws_server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def _export(server: Aws, account: str, cost: str) -> str:
    bucket = server.bucket()
    row = {
        "BilledCost": cost,
        "BillingCurrency": "USD",
        "ChargePeriodStart": f"{MONTH:%Y-%m-%d}T00:00:00.000Z",
        "ChargePeriodEnd": f"{MONTH:%Y-%m-%d}T01:00:00.000Z",
        "ServiceName": "Amazon Simple Storage Service",
        "SubAccountId": account,
    }
    key = f"fin/acme/data/BILLING_PERIOD={MONTH:%Y-%m}/acme-00001.csv.gz"
    meta = f"fin/acme/metadata/BILLING_PERIOD={MONTH:%Y-%m}/acme-Manifest.json"
    said = {"dataFiles": [f"s3://{bucket}/{key}"]}
    server.put(bucket, {key: lines(row), meta: json.dumps(said).encode()})
    return f"s3://{bucket}/fin"


@dataclass
class AwsCompany(Company):
    """A company whose bills are in S3 and in Cost Explorer."""

    server: Aws = field(kw_only=True)
    export: str = ""

    @property
    def settings(self) -> Settings:
        """The settings, as finops.yaml would give them."""
        there = {"endpoint": self.server.endpoint}
        costs = f"costexplorer://{ACCOUNT}"
        sources = (
            Source(name="acme-aws", format="aws_focus", location=self.export, **there),
            Source(name="acme-ce", format="aws_cost_explorer", location=costs, **there),
        )
        return Settings(home=self.folder / "home", first_day=MONTH, sources=sources)


def _answer(_: str, asked: dict[str, Any]) -> Any:
    start = asked["TimePeriod"]["Start"]
    money = {"Amount": "1", "Unit": "USD"}
    group = {"Keys": ["AWS Lambda", ACCOUNT], "Metrics": dict.fromkeys(asked["Metrics"], money)}
    period = {"Start": start, "End": f"{start[:-2]}02"}
    groups = [group] if start == f"{MONTH:%Y-%m}-01" else []
    return {
        "GroupDefinitions": asked["GroupBy"],
        "ResultsByTime": [{"TimePeriod": period, "Groups": groups, "Estimated": False}],
    }


def test_both_feeds_end_as_costs_with_the_path_of_their_account(
    server: Aws, tmp_path: Path
) -> None:
    organizations = server.client("organizations")
    # The server is shared with other tests, which may have made one.
    with suppress(organizations.exceptions.AlreadyInOrganizationException):
        organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    made = organizations.create_account(AccountName="shop", Email="shop@example.com")
    account = made["CreateAccountStatus"]["AccountId"]
    unit = organizations.create_organizational_unit(ParentId=root, Name="Shops")
    organizations.move_account(
        AccountId=account,
        SourceParentId=root,
        DestinationParentId=unit["OrganizationalUnit"]["Id"],
    )
    server.cost_explorer = _answer
    company = AwsCompany(tmp_path, server=server, export=_export(server, account, "12.5"))
    today = lasting_today()
    with dg.DagsterInstance.ephemeral() as instance:
        result = company.materialize(instance, today, today, ["raw_reports"], "acme_ce")
        (told,) = result.asset_materializations_for_node("acme_ce__raw_reports")
        moving = told.metadata["priced requests"].value
        assert moving in (1, 2)  # this month, and in its first days the one before
    report = company.run()
    assert report.problems == []
    assert report.delivered == {"acme-aws": 2, "acme-ce": 13 - moving}
    assert {
        (c["x_Source"], c["x_ScopePath"], c["BilledCost"]) for c in company.rows("focus_costs")
    } == {
        ("acme-aws", "root/Shops/shop", Decimal("12.5")),
        ("acme-ce", "root/master", Decimal(1)),
    }
    assert company.costs() == {MONTH: Decimal("13.5")}
    again = company.run()
    assert (again.problems, again.idle) == ([], True)
    assert len(server.asked("GetCostAndUsage")) == 13
