"""What ran on a Kubernetes cluster on a day, from containers as measured to the lake's workloads.

Where it comes from is in `opencost.py` and `prometheus.py`. Quantities are exact fractions of the
numbers as text until they are rounded once, half up, to the lake's 18 digits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.ingest.location import IngestError
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

GIB = 2**30
_DIGITS = 10**18
_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_QUANTITIES = (
    "cpu_request", "cpu_usage", "cpu_greater", "memory_request", "memory_usage", "memory_greater",
)  # fmt: skip


class UsageError(IngestError):
    """Usage of a cluster that cannot be had or read; the message names place, value and cure."""


@dataclass(frozen=True, slots=True)
class Container:
    """What a container, or what else was measured as one, had on a day.

    Core hours and GiB hours. `workload` is its kind and name, such as `deployment/web`.
    """

    namespace: str
    workload: str
    labels: Mapping[str, str]
    cpu_request: Fraction
    cpu_usage: Fraction
    memory_request: Fraction
    memory_usage: Fraction

    def quantities(self) -> Iterator[tuple[str, Fraction]]:
        """Each quantity by its column; the greater is of this container."""
        yield from (("cpu_request", self.cpu_request), ("cpu_usage", self.cpu_usage))
        yield "cpu_greater", max(self.cpu_request, self.cpu_usage)
        yield from (("memory_request", self.memory_request), ("memory_usage", self.memory_usage))
        yield "memory_greater", max(self.memory_request, self.memory_usage)


@dataclass
class DayOfContainers:
    """What was measured on a day. Capacities are core hours and GiB hours of all nodes."""

    containers: list[Container] = field(default_factory=list)
    namespace_labels: dict[str, dict[str, str]] = field(default_factory=dict)
    cpu_capacity: Fraction | None = None
    memory_capacity: Fraction | None = None


def read_number(text: str) -> Fraction | None:
    """A number that is not below zero, to its last digit; None where the text is none."""
    return Fraction(text.strip()) if _NUMBER.fullmatch(text.strip()) else None


def workload_name(kind: str, name: str) -> str:
    """A workload as the lake calls it; kinds are written in lower case."""
    return f"{kind.strip().lower()}/{name.strip()}" if kind.strip() and name.strip() else name


def known_contents(home: Home, cluster: str) -> set[str]:
    """The SHA-256 of every file that usage of the cluster was read from."""
    table = home.table("cluster_usage")
    contents = (table.read(f).column("sha256").unique() for f in table.files(cluster))
    return {sha256 for found in contents for sha256 in found.to_pylist()}


def known_days(home: Home, cluster: str) -> set[date]:
    """The days that the lake has usage of."""
    return {date.fromisoformat(f.partition[1]) for f in home.table("cluster_usage").files(cluster)}


def store_usage(
    home: Home, cluster: str, days: Mapping[date, tuple[DayOfContainers, Path, str]]
) -> list[date]:
    """Make these days the lake's, in one commit; returns those that are new or otherwise now.

    Each day comes with the file that it was read from and its SHA-256; the file is archived. A day
    without any workload is left as it is.
    """
    table = home.table("cluster_usage")
    present = set(table.files(cluster))
    archived: dict[str, str] = {}
    files: list[LakeFile] = []
    for day, (measured, path, sha256) in sorted(days.items()):
        rows = list(_rows(cluster, day, measured))
        if not rows:
            continue
        file = LakeFile((cluster, day.isoformat()), _fingerprint(rows))
        files.append(file)
        if file not in present:
            if sha256 not in archived:
                archived[sha256] = _archive(home, cluster, day, path, sha256)
            source = {"archive_path": archived[sha256], "sha256": sha256}
            schema = arrow_schema(tables()["cluster_usage"])
            told = pa.Table.from_pylist([{**row, **source} for row in rows], schema=schema)
            table.write(file, told)
    table.replace([f.partition for f in files], files)
    return [date.fromisoformat(f.partition[1]) for f in files if f not in present]


def _archive(home: Home, cluster: str, day: date, path: Path, sha256: str) -> str:
    copy = home.spool / f"usage-{cluster}-{sha256}{path.suffix}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(path.read_bytes())
    return home.archive.keep(copy, f"cluster-{cluster}", day.isoformat(), sha256, path.name)


def _rows(cluster: str, day: date, measured: DayOfContainers) -> Iterator[dict[str, Any]]:
    """A row for each workload that had anything, in the order of their names."""
    of_workload: dict[tuple[str, str], list[Container]] = defaultdict(list)
    for one in measured.containers:
        of_workload[one.namespace, one.workload].append(one)
    for (namespace, workload), containers in sorted(of_workload.items()):
        sums = dict.fromkeys(_QUANTITIES, Fraction(0))
        for one in containers:
            for name, quantity in one.quantities():
                sums[name] += quantity
        if not any(sums.values()):
            continue
        labels = _agreed(one.labels for one in containers)
        labels = measured.namespace_labels.get(namespace, {}) | labels
        yield {
            "cluster": cluster,
            "charge_day": day,
            "namespace": namespace,
            "workload": workload,
            "labels": json.dumps(labels, sort_keys=True, ensure_ascii=False),
            **{name: rounded(quantity) for name, quantity in sums.items()},
            "cpu_capacity": _known(measured.cpu_capacity),
            "memory_capacity": _known(measured.memory_capacity),
        }


def _agreed(labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The labels on whose value all agree that have them."""
    values: dict[str, set[str]] = defaultdict(set)
    for one in labels:
        for key, value in one.items():
            values[key].add(value)
    return {key: next(iter(found)) for key, found in values.items() if len(found) == 1}


def rounded(number: Fraction) -> Decimal:
    """A number that is not below zero, rounded half up to 18 digits, as the lake keeps it."""
    units = (number * _DIGITS + Fraction(1, 2)).__floor__()
    return Decimal(f"{units // _DIGITS}.{units % _DIGITS:018d}")


def _known(number: Fraction | None) -> Decimal | None:
    return None if number is None else rounded(number)


def _fingerprint(rows: Iterable[Mapping[str, Any]]) -> str:
    content = [[(name, str(value)) for name, value in row.items()] for row in rows]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]
