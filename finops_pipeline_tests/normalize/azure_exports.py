"""Azure's FOCUS exports as files, for tests: rows, parts, manifests, run folders.

As Microsoft documents them ("Create and manage Cost Management exports"). Knows nothing of the
package.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SUBSCRIPTION = "/subscriptions/e18e1552-c6dd-45d1-973c-999999999999"
# A row of 1.0 in which nothing is wrong: a virtual machine's hours of one day.
ROW: dict[str, str] = {
    "BilledCost": "2.4",
    "BillingAccountId": "/providers/Microsoft.Billing/billingAccounts/8611537",
    "BillingAccountName": "Acme",
    "BillingAccountType": "Billing Account",
    "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-09-01T00:00:00Z",
    "BillingPeriodStart": "2026-08-01T00:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeClass": "",
    "ChargeDescription": "Virtual Machines Dv5 Series - D2 v5 - US East",
    "ChargeFrequency": "Usage-Based",
    "ChargePeriodEnd": "2026-08-04T00:00:00Z",
    "ChargePeriodStart": "2026-08-03T00:00:00Z",
    "CommitmentDiscountCategory": "",
    "CommitmentDiscountId": "",
    "CommitmentDiscountName": "",
    "CommitmentDiscountStatus": "",
    "CommitmentDiscountType": "",
    "ConsumedQuantity": "24",
    "ConsumedUnit": "Hours",
    "ContractedCost": "2.4",
    "ContractedUnitPrice": "0.1",
    "EffectiveCost": "2.4",
    "InvoiceIssuerName": "Microsoft",
    "ListCost": "2.88",
    "ListUnitPrice": "0.12",
    "PricingCategory": "Standard",
    "PricingQuantity": "24",
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
    "SkuId": "DZH318Z0BQ4C",
    "SkuPriceId": "DZH318Z0BQ4C/00G1",
    "SubAccountId": SUBSCRIPTION,
    "SubAccountName": "Acme Production",
    "SubAccountType": "Subscription",
    "Tags": '{"team":"web"}',
    "x_BillingExchangeRate": "1",
    "x_InvoiceId": "",
    "x_PricingCurrency": "USD",
    "x_PublisherCategory": "Cloud Provider",
    "x_ResourceGroupName": "web",
    "x_ResourceType": "microsoft.compute/virtualmachines",
    "x_SkuMeterCategory": "Virtual Machines",
    "x_SkuMeterName": "D2 v5",
    "x_SkuMeterSubcategory": "Dv5 Series",
}
_RENAMED = {"x_InvoiceId": "InvoiceId", "x_PricingCurrency": "PricingCurrency"}
_MONEY = pa.decimal128(38, 18)
_NUMBERS = (
    "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost",
    "ListCost", "ListUnitPrice", "PricingQuantity",
)  # fmt: skip


def row(**values: str) -> dict[str, str]:
    """A good row of 1.0 with some of its values changed."""
    return ROW | values


def newest(told: Mapping[str, str]) -> dict[str, str]:
    """A row of 1.0 with the names of 1.2-preview, and the columns that came with it."""
    renamed = {_RENAMED.get(name, name): value for name, value in told.items()}
    return renamed | {"ServiceSubcategory": "Virtual Machines", "SkuMeter": told["x_SkuMeterName"]}


def as_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Rows as Azure writes CSV."""
    names = list(dict.fromkeys(name for told in rows for name in told))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_gzip(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Rows as compressed CSV."""
    return gzip.compress(as_csv(rows), mtime=0)


def as_parquet(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Rows as Azure writes Parquet: numbers and times typed, compressed with Snappy."""
    names = list(dict.fromkeys(name for told in rows for name in told))
    out = io.BytesIO()
    pq.write_table(pa.table({n: _column(n, rows) for n in names}), out, compression="snappy")
    return out.getvalue()


def _column(name: str, rows: Sequence[Mapping[str, str]]) -> pa.Array:
    texts = [told.get(name) or None for told in rows]
    if name in _NUMBERS:
        return pa.array([None if t is None else Decimal(t) for t in texts], _MONEY)
    if name.endswith(("PeriodStart", "PeriodEnd")):
        times = pa.array([None if t is None else t.removesuffix("Z") for t in texts])
        return times.cast(pa.timestamp("ms"))
    return pa.array(texts, pa.string())


def manifest(
    blobs: Mapping[str, tuple[bytes, int]],
    submitted: str,
    month: str = "2026-08-01T00:00:00",
    export: str = "focus-daily",
    scope: str = SUBSCRIPTION,
    **config: Any,
) -> bytes:
    """The manifest of a run; `blobs` are its parts by their names in the container."""
    told = {
        "manifestVersion": "2024-04-01",
        "byteCount": sum(len(content) for content, _ in blobs.values()),
        "blobCount": len(blobs),
        "dataRowCount": sum(rows for _, rows in blobs.values()),
        "exportConfig": {
            "exportName": export,
            "resourceId": f"{scope}/providers/Microsoft.CostManagement/exports/{export}",
            "dataVersion": "1.0",
            "apiVersion": "2023-07-01-preview",
            "type": "FocusCost",
            "timeFrame": "MonthToDate",
            "granularity": "Daily",
        }
        | config,
        "deliveryConfig": {
            "partitionData": True,
            "dataOverwriteBehavior": "OverwritePreviousReport",
            "fileFormat": "Csv",
            "compressionMode": "None",
        },
        "runInfo": {
            "executionType": "Scheduled",
            "submittedTime": submitted,
            "runId": "af754a8e-30fc-4ef3-bfc6-71bd1efb8598",
            "startDate": month,
            "endDate": "2026-08-31T00:00:00",
        },
        "blobs": [
            {"blobName": name, "byteCount": len(content), "dataRowCount": rows}
            for name, (content, rows) in blobs.items()
        ],
    }
    return json.dumps(told, indent=2).encode()
