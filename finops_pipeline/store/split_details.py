"""What FOCUS 1.3 says of a split charge: who takes it, by which method, and its ratio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from finops_pipeline.allocate.ownership import Decider


def with_split_details(shares: pa.Table, decider: Decider) -> pa.Table:
    """The rows of `shares` with what becomes the columns `Allocated*` of the figures."""
    rows = shares.to_pylist()
    paths = [decider.calendar.on(row["charge_day"]).path(row["owner"]) for row in rows]
    further = {
        "method_id": [f"{row['pool']}@{row['method']}" for row in rows],
        "taker": [_taker(row) for row in rows],
        "taker_name": [_name(row, path) for row, path in zip(rows, paths, strict=True)],
        "taker_tags": [_tags(row, path) for row, path in zip(rows, paths, strict=True)],
        "details": [_details(row) for row in rows],
    }
    for name, values in further.items():
        shares = shares.append_column(name, pa.array(values, pa.string()))
    return shares


def _taker(row: Mapping[str, Any]) -> str:
    """AllocatedResourceId: a workload by its cluster, namespace and name; else the owner."""
    if row["namespace"] is None:
        return str(row["owner"])
    return "/".join(filter(None, (row["cluster"], row["namespace"], row["workload"])))


def _name(row: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """AllocatedResourceName: a workload in its namespace; else the owner below its parents."""
    if row["namespace"] is None:
        return "/".join(path)
    return "/".join(filter(None, (row["namespace"], row["workload"])))


def _tags(row: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """AllocatedTags: who the owner is, and what it is a part of; and what a workload is."""
    owner = {"x_BusinessUnit": path[-1], "x_BusinessUnitPath": "/".join(path)}
    if row["namespace"] is None:
        return _json(owner)
    place = {"x_Cluster": row["cluster"], "x_Namespace": row["namespace"]}
    further = {"x_Workload": row["workload"]} if row["workload"] else {}
    return _json({**json.loads(row["facts"])["labels"], **owner, **place, **further})


def _details(row: Mapping[str, Any]) -> str:
    """AllocatedMethodDetails of a share: its ratio, and what was weighed.

    The ratio is a JSON number with every digit of the share, so that ratios sum to exactly 1.
    """
    element: dict[str, Any] = {"AllocatedRatio": _Number(row["share"])}
    if row["weight"] is not None:
        unit = row["driver"].removeprefix("usage ")
        element |= {"UsageUnit": unit, "UsageQuantity": _Number(row["weight"])}
    if row["facts"] is not None:
        facts = json.loads(row["facts"])
        element |= {"x_CpuCoreHours": _Number(facts["cpu_core_hours"])}
        element |= {"x_MemoryGiBHours": _Number(facts["memory_gib_hours"])}
    element |= {"x_Driver": row["driver"], "x_Fraction": row["fraction"]}
    members = (f"{_json(name)}:{_member(value)}" for name, value in element.items())
    return f'{{"Elements":[{{{",".join(members)}}}]}}'


def _member(value: object) -> str:
    return str(value) if isinstance(value, _Number) else _json(value)


class _Number(str):
    """A decimal as JSON writes a number, with every digit."""

    def __new__(cls, value: Decimal | str) -> _Number:
        text = format(Decimal(value), "f")
        return super().__new__(cls, text.rstrip("0").rstrip(".") if "." in text else text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
