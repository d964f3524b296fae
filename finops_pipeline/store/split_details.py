"""What FOCUS 1.3 says of a split charge: who takes it, by which method, and its ratio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa

from finops_pipeline.allocate.clusters import ClusterWeights
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.weights import EXACT


def with_split_details(shares: pa.Table, decider: Decider) -> pa.Table:
    """The rows of `shares` with what becomes the columns `Allocated*` of the figures."""
    rows = shares.to_pylist()
    paths = [decider.calendar.on(row["charge_day"]).path(row["owner"]) for row in rows]
    further = {
        "method_id": [f"{row['pool']}@{row['method']}" for row in rows],
        "taker": [_taker(row) for row in rows],
        "taker_name": [_name(row, path) for row, path in zip(rows, paths, strict=True)],
        "taker_tags": [_tags(row, path) for row, path in zip(rows, paths, strict=True)],
        "details": [_details(row, decider) for row in rows],
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


def _details(row: Mapping[str, Any], decider: Decider) -> str:
    """AllocatedMethodDetails of a share: its ratio, and what was weighed.

    The ratio is a JSON number with every digit of the share, so that ratios sum to exactly 1. Of a
    workload there is an element for CPU and one for memory, whose ratios sum to that of the share.
    """
    further = {"x_Driver": row["driver"], "x_Fraction": row["fraction"]}
    if row["facts"] is not None:
        of_day = decider.calendar.on(row["charge_day"])
        elements = _hours(row, of_day.clusters[row["cluster"]].weights)
    else:
        element = {"AllocatedRatio": _Number(row["share"])}
        if row["weight"] is not None:
            unit = row["driver"].removeprefix("usage ")
            element |= {"UsageUnit": unit, "UsageQuantity": _Number(row["weight"])}
        elements = [element]
    return f'{{"Elements":[{",".join(_object({**e, **further}) for e in elements)}]}}'


def _hours(row: Mapping[str, Any], weights: ClusterWeights) -> list[dict[str, Any]]:
    facts = json.loads(row["facts"])
    cpu, memory = (Decimal(facts[name]) for name in ("cpu_core_hours", "memory_gib_hours"))
    by_cpu = Fraction(weights.cpu) * Fraction(cpu)
    by_memory = Fraction(weights.memory) * Fraction(memory)
    units = (Fraction(row["share"]) * 10**18 * by_cpu / (by_cpu + by_memory)).__floor__()
    ratio = Decimal(units).scaleb(-18, context=EXACT)
    found = (
        (ratio, "Core-Hours", cpu, by_cpu),
        (EXACT.subtract(row["share"], ratio), "GiB-Hours", memory, by_memory),
    )
    return [
        {"AllocatedRatio": _Number(part), "UsageUnit": unit, "UsageQuantity": _Number(quantity)}
        for part, unit, quantity, weight in found
        if weight
    ]


def _object(members: Mapping[str, Any]) -> str:
    told = (f"{_json(name)}:{_member(value)}" for name, value in members.items())
    return f"{{{','.join(told)}}}"


def _member(value: object) -> str:
    return str(value) if isinstance(value, _Number) else _json(value)


class _Number(str):
    """A decimal as JSON writes a number, with every digit."""

    def __new__(cls, value: Decimal) -> _Number:
        text = format(value, "f")
        return super().__new__(cls, text.rstrip("0").rstrip(".") if "." in text else text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
