"""Rows of GCP's detailed export for tests, in every kind of file; their sums in plain Python."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

ANCESTORS = [
    {"resource_name": "projects/77", "display_name": "Web shop"},
    {"resource_name": "folders/55", "display_name": "engineering"},
    {"resource_name": "organizations/11", "display_name": "acme.example"},
]
ROW: Row = {
    "billing_account_id": "012345-ABCDEF-678901",
    "service": {"id": "6F81-5844-456A", "description": "Compute Engine"},
    "sku": {"id": "2E27-4F75-95CD", "description": "N1 Predefined Instance Core in Americas"},
    "usage_start_time": "2026-09-09 10:00:00 UTC",
    "usage_end_time": "2026-09-09 11:00:00 UTC",
    "project": {
        "id": "web-shop",
        "number": "77",
        "name": "Web shop",
        "labels": [{"key": "team", "value": "shop"}, {"key": "tier", "value": "front"}],
        "ancestry_numbers": "/11/55/",
        "ancestors": ANCESTORS,
    },
    "labels": [{"key": "team", "value": "checkout"}],
    "system_labels": [{"key": "compute.googleapis.com/cores", "value": "4"}],
    "tags": [{"key": "env", "value": "prod", "inherited": True, "namespace": "11"}],
    "location": {
        "location": "us-central1",
        "country": "US",
        "region": "us-central1",
        "zone": "us-central1-a",
    },
    "resource": {
        "name": "vm-1",
        "global_name": "//compute.googleapis.com/projects/77/zones/us-central1-a/instances/991",
    },
    "price": {
        "effective_price": "0.0475",
        "tier_start_amount": "0",
        "unit": "hour",
        "pricing_unit_quantity": "1",
        "list_price": "0.05",
    },
    "cost": 0.19,
    "cost_at_list": 0.2,
    "currency": "USD",
    "currency_conversion_rate": 1.0,
    "usage": {
        "amount": 14400.0,
        "unit": "seconds",
        "amount_in_pricing_units": 4.0,
        "pricing_unit": "hour",
    },
    "credits": [],
    "invoice": {"month": "202609", "publisher_type": "GOOGLE"},
    "cost_type": "regular",
    "transaction_type": "GOOGLE",
    "export_time": "2026-09-09 15:31:07.123456 UTC",
}
CUD = {
    "name": "Committed Usage Discount: CPU",
    "full_name": "Committed Usage Discount: CPU",
    "id": "cud-cpu",
    "amount": -0.09,
    "type": "COMMITTED_USAGE_DISCOUNT",
}
SUD = CUD | {
    "name": "Sustained Usage Discount",
    "full_name": None,
    "id": "Sustained Usage Discount",
    "amount": -0.01,
    "type": "SUSTAINED_USAGE_DISCOUNT",
}
PROMOTION = {
    "name": "Startup grant",
    "full_name": "Startup grant 2026",
    "id": "grant-2026",
    "amount": -0.05,
    "type": "PROMOTION",
}
FREE = {"name": "Free tier", "full_name": None, "id": "f", "amount": -0.02, "type": "FREE_TIER"}


def row(**values: Any) -> Row:
    """A row with some values changed; a record within it is merged."""
    made = dict(ROW)
    for name, value in values.items():
        own = made.get(name)
        made[name] = own | value if isinstance(own, dict) and isinstance(value, dict) else value
    return made


def json_lines(*rows: Row) -> bytes:
    """As BigQuery extracts JSON: one object a line; nothing for null."""
    return "".join(json.dumps(_without_null(r)) + "\n" for r in rows).encode()


def gz(content: bytes) -> bytes:
    """The same, compressed."""
    return gzip.compress(content, mtime=0)


def flat_csv(*rows: Row) -> bytes:
    """As flattened by whoever copies the table: dotted names, lists as JSON."""
    flat = [dict(_leaves("", r)) for r in rows]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(dict.fromkeys(n for r in flat for n in r)), restval="")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue().encode()


def parquet(*rows: Row) -> bytes:
    """As BigQuery extracts Parquet: records, lists, doubles, decimals and timestamps."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_typed(r) for r in rows]), out)
    return out.getvalue()


def delivered(rows: Iterable[Row]) -> Decimal:
    """What rows cost, credits taken off."""
    total = Decimal(0)
    for each in rows:
        total += Decimal(str(each["cost"]))
        total += sum((Decimal(str(c["amount"])) for c in each["credits"]), Decimal(0))
    return total


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_null(v) for v in value]
    return value


def _leaves(above: str, value: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(f"{above}{name}.", inner)
        elif isinstance(inner, list):
            yield above + name, json.dumps(inner)
        else:
            yield above + name, "" if inner is None else str(inner)


def _typed(each: Row) -> Row:
    from datetime import datetime

    made = dict(each)
    for name in ("usage_start_time", "usage_end_time", "export_time"):
        made[name] = datetime.fromisoformat(each[name].replace(" UTC", "+00:00"))
    made["price"] = {
        n: v if n == "unit" else Decimal(v).quantize(Decimal("1e-9"))
        for n, v in each["price"].items()
    }
    return made
