"""A lake made by hand: rows as dictionaries, and the same questions answered in plain Python.

`expected` is the independent answer: it knows nothing of Ibis, of SQL or of `query/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

TABLE = tables()["allocated_costs"]
MONTH = datetime(2025, 3, 1, tzinfo=UTC)

Charge = dict[str, Any]

# Which column each short name means, told here once more on purpose.
READS: dict[str, Callable[[Charge], str | None]] = {
    "account": lambda c: c["SubAccountId"],
    "account_name": lambda c: c["SubAccountName"],
    "billing_account": lambda c: c["BillingAccountId"],
    "category": lambda c: c["ServiceCategory"],
    "charge_category": lambda c: c["ChargeCategory"],
    "cluster": lambda c: c["x_Cluster"],
    "currency": lambda c: c["BillingCurrency"],
    "day": lambda c: c["x_ChargeDay"].isoformat(),
    "meter": lambda c: c["SkuMeter"],
    "month": lambda c: c["x_ChargeDay"].strftime("%Y-%m"),
    "namespace": lambda c: c["x_Namespace"],
    "owner": lambda c: c["x_BusinessUnit"],
    "pool": lambda c: c["x_Pool"],
    "provider": lambda c: c["ProviderName"],
    "region": lambda c: c["RegionId"],
    "resource": lambda c: c["ResourceId"],
    "resource_name": lambda c: c["ResourceName"],
    "resource_type": lambda c: c["ResourceType"],
    "rule": lambda c: c["x_Rule"],
    "scope": lambda c: c["x_ScopePath"],
    "service": lambda c: c["ServiceName"],
    "sku": lambda c: c["SkuId"],
    "source": lambda c: c["x_Source"],
    "subcategory": lambda c: c["ServiceSubcategory"],
    "tier": lambda c: c["x_Tier"],
    "unit": lambda c: c["ConsumedUnit"],
    "workload": lambda c: c["x_Workload"],
}


def read(charge: Charge, name: str) -> str | None:
    """The value of a dimension on a charge."""
    if name.startswith("tag:"):
        return json.loads(charge["Tags"] or "{}").get(name[4:])
    return READS[name](charge)


def charge(
    cost: str = "1", day: date = date(2025, 3, 1), rate: str | None = "1", **columns: Any
) -> Charge:
    """One row of the lake; `rate` is what a unit of the billing currency is worth."""
    amount = Decimal(cost)
    made: Charge = dict.fromkeys(TABLE.names)
    made |= {c.name: "" for c in TABLE.columns if not c.nullable and c.type == "String"}
    made |= {
        "BillingAccountId": "tenancy", "BillingCurrency": "USD", "ChargeCategory": "Usage",
        "BillingPeriodStart": MONTH, "BillingPeriodEnd": MONTH, "ProviderName": "Oracle",
        "ServiceCategory": "Compute", "ServiceName": "Compute", "Tags": "{}",
        "BilledCost": amount, "EffectiveCost": amount, "ListCost": amount * 2,
        "ContractedCost": amount * 3, "ConsumedQuantity": amount * 5, "ConsumedUnit": "Hours",
        "x_Tier": "tag", "x_Share": Decimal(1), "x_ChargeCount": 1, "x_ReportingCurrency": "USD",
        "x_Source": "acme-oci", "x_ChargeDay": day, "x_BusinessUnit": "retail",
    }  # fmt: skip
    made |= columns
    if rate is not None:
        with localcontext(Context(prec=100)):
            for metric in ("BilledCost", "EffectiveCost", "ListCost"):
                made[f"x_Reporting{metric}"] = made[metric] * Decimal(rate)
    return made


def store(home: Home, charges: Iterable[Charge]) -> None:
    """Make these the only charges of the lake, in one commit."""
    table = home.table("allocated_costs")
    partitions: dict[tuple[str, ...], list[Charge]] = {}
    for each in charges:
        partition = tuple(str(each[name]) for name in TABLE.partition_by)
        partitions.setdefault(partition, []).append(each)
    files = []
    for partition, rows in partitions.items():
        file = LakeFile(partition, sha256(repr(rows).encode()).hexdigest()[:16])
        path = Path(table.location(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(TABLE)), path)
        files.append(file)
    table.replace([()], files)


def home_with(folder: Path, charges: Iterable[Charge]) -> Home:
    """A new home whose lake holds these charges."""
    home = Home(folder)
    store(home, charges)
    return home


def expected(
    charges: Iterable[Charge], by: tuple[str, ...], column: str
) -> dict[tuple[str | None, ...], Decimal]:
    """The sum of a column for each group."""
    sums: dict[tuple[str | None, ...], Decimal] = {}
    with localcontext(Context(prec=100)):
        for each in charges:
            key = tuple(read(each, name) for name in by)
            sums[key] = sums.get(key, Decimal(0)) + (each[column] or Decimal(0))
    return sums
