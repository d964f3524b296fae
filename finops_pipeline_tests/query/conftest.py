"""One engine for all questions, and a small lake with something in every dimension."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline_tests.query.made_lake import Charge, charge, home_with


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    with DuckDBEngine("300MB", tmp_path_factory.mktemp("spill")) as made:
        yield made


@pytest.fixture(scope="session")
def charges() -> list[Charge]:
    second, april = date(2025, 3, 2), date(2025, 4, 1)
    return [
        charge(
            "10.000000000000000001", ResourceId="vm-1", ResourceName="web", SkuId="B1",
            RegionId="eu-frankfurt-1", SkuMeter="OCPU", ResourceType="instance",
            Tags='{"env": "prod", "a/b~c": "slash", "$x": "dollar", "Env": "other"}',
            x_ScopePath="root/web", x_Rule="by-tag", SubAccountId="t1",
            SubAccountName="Tenancy one", ServiceSubcategory="Virtual Machines",
        ),
        charge("0.005", second, ResourceId="vm-1", Tags='{"env": "test"}', x_Rule="by-tag"),
        charge(
            "7", second, ServiceName="Object Storage", ServiceCategory="Storage",
            ConsumedUnit="GB", x_BusinessUnit="shared's", x_Tier="pool", x_Pool="backup",
            x_Cluster="prod-1", x_Namespace="shop", x_Workload="deployment/web",
            x_Rule="by-share", ResourceId="bucket-1", Tags='{"env": "it\'s", "n": 3}',
        ),
        charge(
            "-3", april, ChargeCategory="Credit", x_BusinessUnit="unallocated",
            x_Tier="unallocated", Tags=None, ConsumedQuantity=None, ConsumedUnit=None,
        ),
        charge(
            "4", april, ChargeCategory="Tax", x_Source="acme-aws", ProviderName="AWS",
            BillingAccountId="payer", ConsumedQuantity=None, ConsumedUnit=None,
        ),
        charge("20", april, "1.1", x_Source="acme-aws", ProviderName="AWS", BillingCurrency="EUR"),
        charge("1000", april, None, BillingCurrency="BRL", ServiceName="Block Volume"),
        charge("234.5", april, None, BillingCurrency="BRL"),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, charges: list[Charge]) -> Home:
    return home_with(tmp_path_factory.mktemp("home"), charges)
