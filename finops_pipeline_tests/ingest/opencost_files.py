"""Exports as OpenCost writes them, with the fields that it has.

Every allocation costs 0.01 for a core hour and 0.001 for a GiB hour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

GIB = 2**30
_CPU, _MEMORY = Decimal("0.01"), Decimal("0.001")
CSV_HEADER = (
    "Date,Namespace,ControllerKind,ControllerName,Pod,Container,Labels,CPUCoreUsageAverage,"
    "CPUCoreRequestAverage,RAMBytesUsageAverage,RAMBytesRequestAverage,NetworkReceiveBytes,"
    "NetworkTransferBytes,GPUs,PVBytes,CPUCost,RAMCost,NetworkCost,PVCost,GPUCost,TotalCost"
)


def window(on: date) -> dict[str, str]:
    """A day as OpenCost writes it."""
    return {"start": f"{on}T00:00:00Z", "end": f"{on + timedelta(days=1)}T00:00:00Z"}


def allocation(
    on: date,
    namespace: str,
    kind: str = "deployment",
    name: str = "web",
    cores: str = "1",
    gib: str = "1",
    used: str | None = None,
    used_gib: str | None = None,
    minutes: int = 1440,
    labels: Mapping[str, str] | None = None,
    namespace_labels: Mapping[str, str] | None = None,
    cluster: str = "cluster-one",
) -> dict[str, Any]:
    """A container that requested so many cores and GiB, and used as many or others."""
    used_cores, used_memory = Decimal(used or cores), Decimal(used_gib or gib)
    hours = Decimal(minutes) / 60
    core_hours = max(Decimal(cores), used_cores) * hours
    gib_hours = max(Decimal(gib), used_memory) * hours
    return {
        "name": f"{cluster}/node-1/{namespace}/{name}-7d9f/main",
        "properties": {
            "cluster": cluster,
            "node": "node-1",
            "container": "main",
            "controller": name,
            "controllerKind": kind,
            "namespace": namespace,
            "pod": f"{name}-7d9f",
            "labels": dict(labels or {}),
            "namespaceLabels": dict(namespace_labels or {}),
        },
        "window": window(on),
        "minutes": minutes,
        "cpuCores": float(cores),
        "cpuCoreRequestAverage": float(cores),
        "cpuCoreUsageAverage": float(used_cores),
        "cpuCoreHours": float(core_hours),
        "cpuCost": float(core_hours * _CPU),
        "ramByteRequestAverage": float(Decimal(gib) * GIB),
        "ramByteUsageAverage": float(used_memory * GIB),
        "ramByteHours": float(gib_hours * GIB),
        "ramCost": float(gib_hours * _MEMORY),
        "totalCost": float(core_hours * _CPU + gib_hours * _MEMORY),
    }


def idle(on: date, cpu: str, memory: str) -> dict[str, Any]:
    """What nobody took, of which OpenCost tells the cost alone: so many cores and GiB all day."""
    cost = (Decimal(cpu) * 24 * _CPU, Decimal(memory) * 24 * _MEMORY)
    return {
        "name": "cluster-one/__idle__",
        "properties": {"cluster": "cluster-one"},
        "window": window(on),
        "minutes": 1440,
        "cpuCost": float(cost[0]),
        "ramCost": float(cost[1]),
        "totalCost": float(sum(cost)),
    }


def answer(on: date, *allocations: Mapping[str, Any]) -> str:
    """What `/allocation` answers about a day."""
    return json.dumps({"code": 200, "data": [{one["name"]: one for one in allocations}]})
