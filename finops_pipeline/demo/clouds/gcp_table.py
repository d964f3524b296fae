"""Charges as rows of Google's detailed billing export, nested as BigQuery nests them.

A row carries its credits in a list; which of them lower the charge and which are charges of their
own is the demo's own knowledge. Source of the columns: Google, "Structure of Detailed data export".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.clouds.goods import Cloud
from finops_pipeline.demo.clouds.lines import COST_DIGITS, PRICE_DIGITS, QUANTITY_DIGITS, USE, Line
from finops_pipeline.demo.clouds.tables import decimal_texts, decimals
from finops_pipeline.demo.clouds.usage import Charges, CloudUsage

_PACIFIC = ZoneInfo("America/Los_Angeles")
# Lines that get a sustained use discount of a fifth, and lines that a promotion pays a tenth of.
_SUSTAINED_EVERY, _SUSTAINED, _PROMOTED_EVERY, _PROMOTED = 5, 1, 7, 3
_COST_TYPES = {"tax": "tax", "rounding": "rounding_error", "adjustment": "adjustment"}
_CREDIT = pa.struct(
    [(n, pa.string()) for n in ("name", "full_name", "id", "type")] + [("amount", pa.float64())]
)
_PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
_TAGS = pa.list_(
    pa.struct(
        [("key", pa.string()), ("value", pa.string()), ("inherited", pa.bool_()),
         ("namespace", pa.string())]
    )
)  # fmt: skip
_PROJECT = pa.struct(
    [("id", pa.string()), ("number", pa.string()), ("name", pa.string()), ("labels", _PAIRS),
     ("ancestry_numbers", pa.string()),
     ("ancestors", pa.list_(pa.struct([("resource_name", pa.string()),
                                       ("display_name", pa.string())])))]
)  # fmt: skip


def _texts(*names: str) -> pa.StructType:
    return pa.struct([(name, pa.string()) for name in names])


_OF_LINE: dict[str, pa.DataType] = {
    "service": _texts("id", "description"),
    "sku": _texts("id", "description"),
    "project": _PROJECT,
    "labels": _PAIRS,
    "system_labels": _PAIRS,
    "location": _texts("location", "country", "region", "zone"),
    "tags": _TAGS,
    "resource": _texts("name", "global_name"),
    "cost_type": pa.string(),
    "adjustment_info": _texts("id", "description", "mode", "type"),
    "subscription": _texts("instance_id"),
    "unit": pa.string(),
}
_CREDITS: tuple[dict[str, str], ...] = (
    {"name": "Committed Usage Discount: CPU", "full_name": "Committed Usage Discount: CPU",
     "id": "cud-cpu-europe-west1", "type": "COMMITTED_USAGE_DISCOUNT"},
    {"name": "Sustained Usage Discount", "full_name": "", "id": "Sustained Usage Discount",
     "type": "SUSTAINED_USAGE_DISCOUNT"},
    {"name": "Startup program – 2026", "full_name": "Google Cloud for Startups, \"Scale\" tier",
     "id": "startup-2026", "type": "PROMOTION"},
)  # fmt: skip
DISCOUNTS = 2  # of the credits, the first that lower a charge instead of being one


class GcpTable:
    """Makes the rows of one billing account."""

    def __init__(self, goods: Cloud, usage: CloudUsage) -> None:
        self._goods = goods
        self._export = next(iter(goods.exports.values()))
        self._lines = usage.lines
        self._midnight = datetime.combine(usage.first_day, time(), UTC)
        told = [_line(line, self._export.billing_account_name) for line in usage.lines.all]
        self._of_line = {n: pa.array([t[n] for t in told], type_) for n, type_ in _OF_LINE.items()}

    def credits(self, charges: Charges) -> Ints:
        """The amount of each kind of credit of each row; zero where there is none."""
        line, cost = charges.line, charges.cost
        use = self._lines.is_use[line]
        covered = self._lines.covered[line]
        sustained = use & ~covered & (line % _SUSTAINED_EVERY == _SUSTAINED)
        promoted = use & (line % _PROMOTED_EVERY == _PROMOTED)
        return np.stack(
            [
                np.where(covered, charges.effective - cost, 0),
                np.where(sustained, -(cost // 5), 0),
                np.where(promoted, -(cost // 10), 0),
            ],
            axis=1,
        )

    def rows(
        self, charges: Charges, credits: Ints, exported: datetime, invoice: str | None, kind: str
    ) -> pa.Table:
        """The rows of an export; times as texts for `json`.

        `invoice` is the month of the invoice where the usage does not tell it.
        """
        rows, lines = len(charges), self._lines
        times = _as_texts if kind == "json" else _as_times
        take = {n: a.take(pa.array(charges.line)) for n, a in self._of_line.items()}
        unit = take.pop("unit")
        used = lines.is_use[charges.line]
        quantity = _floats(decimals(charges.quantity, QUANTITY_DIGITS, used))
        price = _floats(decimals(lines.price[charges.line], PRICE_DIGITS, used))
        listed = _floats(decimals(lines.list_price[charges.line], PRICE_DIGITS, used))
        one = pc.if_else(pa.array(used), 1.0, None)
        columns = {
            "billing_account_id": _same(self._export.billing_account, rows),
            **{name: take[name] for name in ("service", "sku")},
            "usage_start_time": self._moments(charges.start, times),
            "usage_end_time": self._moments(charges.start + charges.hours, times),
            **{name: take[name] for name in (
                "project", "labels", "system_labels", "location", "tags", "resource")},
            "price": _struct(effective_price=price, tier_start_amount=_zero(used), unit=unit,
                             pricing_unit_quantity=one, list_price=listed),
            "cost": _floats(decimals(charges.cost, COST_DIGITS)),
            "cost_at_list": _floats(decimals(charges.listed, COST_DIGITS)),
            "currency": _same(self._goods.currency, rows),
            "currency_conversion_rate": pa.array([1.0] * rows),
            "usage": _struct(amount=quantity, unit=unit, amount_in_pricing_units=quantity,
                             pricing_unit=unit),
            "credits": _credit_lists(credits),
            "invoice": _struct(month=self._invoices(charges, invoice),
                               publisher_type=_same("GOOGLE", rows)),
            "cost_type": take["cost_type"],
            "transaction_type": _same("GOOGLE", rows),
            "seller_name": _same("Google Cloud EMEA Limited", rows),
            "subscription": take["subscription"],
            "adjustment_info": take["adjustment_info"],
            "export_time": times([exported]).take(pa.array(np.zeros(rows, dtype=np.int64))),
        }  # fmt: skip
        return pa.table(columns)

    def _moments(self, hours: Ints, times: Callable[[list[datetime]], pa.Array]) -> pa.Array:
        known, place = np.unique(hours, return_inverse=True)
        moments = [self._midnight + timedelta(hours=h) for h in known.tolist()]
        return times(moments).take(pa.array(place))

    def _invoices(self, charges: Charges, invoice: str | None) -> pa.Array:
        """Months of invoices: those of the usage in Pacific time."""
        if invoice is not None:
            return _same(invoice, len(charges))
        known, place = np.unique(charges.start, return_inverse=True)
        times = [self._midnight + timedelta(hours=h) for h in known.tolist()]
        texts = [f"{t.astimezone(_PACIFIC):%Y%m}" for t in times]
        return pa.array(texts, pa.string()).take(pa.array(place))


def _line(line: Line, organization: str) -> dict[str, Any]:
    """What the export says of a line, as BigQuery nests it."""
    said, labels = line.texts, json.loads(line.texts["tags"])
    account, region, resource = said.get("account"), said.get("region"), said.get("resource")
    adjusted = line.role == "adjustment"
    return {
        "service": {"id": said["service_code"], "description": said["service"]},
        "sku": {"id": said["sku"], "description": said["description"]},
        "project": _project(said, organization) if account else _NO_PROJECT,
        "labels": _pairs(labels),
        "system_labels": _pairs({"compute.googleapis.com/cores": "4"} if line.covered else {}),
        "location": {"location": region, "country": None, "region": region,
                     "zone": said.get("zone") or None},
        "tags": [{"key": "env", "value": "prod", "inherited": True, "namespace": "900000000001"}]
        if labels.get("env") == "prod" else [],
        "resource": {"name": said.get("resource_name"), "global_name": resource or None},
        "cost_type": "regular" if line.role == USE else _COST_TYPES[line.role],
        "adjustment_info": {"id": "adj-20260812", "description": said["description"],
                            "mode": "MANUAL_ADJUSTMENT", "type": "GENERAL_ADJUSTMENT"}
        if adjusted else {},
        "subscription": {"instance_id": "c9d1e6a0-cud-cpu"} if line.covered else {},
        "unit": said.get("unit"),
    }  # fmt: skip


# Records are never null, their members are: so all files of an export have the same columns.
_NO_PROJECT: dict[str, Any] = {"labels": [], "ancestors": []}


def _project(said: dict[str, str], organization: str) -> dict[str, Any]:
    above = [
        (f"projects/{said['number']}", said["account_name"]),
        (f"folders/{said['folder_number']}", said["folder"]),
        ("organizations/900000000001", f"{organization.lower()}.example"),
    ]
    return {
        "id": said["account"],
        "number": said["number"],
        "name": said["account_name"],
        "labels": _pairs({"folder": said["folder"]}),
        "ancestry_numbers": f"/900000000001/{said['folder_number']}/",
        "ancestors": [{"resource_name": r, "display_name": d} for r, d in above],
    }


def _pairs(labels: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in labels.items()]


def _credit_lists(amounts: Ints) -> pa.Array:
    """A list of credits for each row, from an amount of each kind."""
    row, kind = np.nonzero(amounts)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(amounts)))])
    words = {
        name: pa.array([c[name] for c in _CREDITS], pa.string()).take(pa.array(kind))
        for name in ("name", "full_name", "id", "type")
    }
    amount = _floats(decimals(amounts[row, kind], COST_DIGITS))
    told = pa.StructArray.from_arrays([*words.values(), amount], fields=list(_CREDIT))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), told)


def _struct(**columns: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def _same(text: str, rows: int) -> pa.Array:
    return pa.array([text] * rows, pa.string())


def _zero(used: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pa.Array:
    return pc.if_else(pa.array(used), 0.0, None)


def _floats(values: pa.Array) -> pa.Array:
    """Doubles whose shortest text is the decimal."""
    return pc.cast(decimal_texts(values), pa.float64())


def _as_texts(moments: list[datetime]) -> pa.Array:
    """Times as BigQuery writes them to JSON."""
    return pa.array([f"{m:%Y-%m-%d %H:%M:%S} UTC" for m in moments], pa.string())


def _as_times(moments: list[datetime]) -> pa.Array:
    return pa.array(moments, pa.timestamp("us", "UTC"))
