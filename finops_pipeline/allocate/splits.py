"""Charges that a provider has split already: the namespace and the workload that they are of.

Which tags say so, and which namespaces stand for no workload, is in `data/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from finops_pipeline.contracts.tables import read_facts

Means = Literal["workload", "idle", "overhead", "unknown"]


@dataclass(frozen=True, slots=True)
class Split:
    """What a charge is of; `key` is the tag that names the namespace.

    `tags` are those of the charge, and the workload's labels among them by their own names.
    """

    key: str
    namespace: str
    workload: str
    means: Means
    tags: str


def split_of(tags: Mapping[str, str]) -> Split | None:
    """What a charge is of by the first tag that names a namespace; None where none does."""
    for fact in _tag_facts():
        if namespace := tags.get(fact["namespace"], "").strip():
            means: Means = _buckets().get(namespace, "workload")
            kind, name = (tags.get(fact[column], "").strip() for column in ("kind", "workload"))
            kind = kind.rpartition("-")[2].lower()  # Google writes apps/v1-Deployment
            workload = f"{kind}/{name}" if kind and name else name
            return Split(fact["namespace"], namespace, workload, means, _with_labels(tags, fact))
    return None


def _with_labels(tags: Mapping[str, str], fact: Mapping[str, str]) -> str:
    prefix = fact["label_prefix"]
    labels = {k.removeprefix(prefix): v for k, v in tags.items() if prefix and k.startswith(prefix)}
    return json.dumps({**tags, **labels}, sort_keys=True, ensure_ascii=False)


@cache
def _tag_facts() -> list[dict[str, str]]:
    return read_facts("allocate/data/split_tags.csv")


@cache
def _buckets() -> dict[str, Means]:
    rows = read_facts("allocate/data/split_buckets.csv")
    return {row["namespace"]: row["means"] for row in rows}  # type: ignore[misc]
