"""The rows of one answer of Cost Explorer's GetCostAndUsage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Row = Mapping[str, str | None]

# Dimensions that have a column of their own; every other group is a column by its own name.
_COLUMNS = {
    "SERVICE": "Service",
    "LINKED_ACCOUNT": "LinkedAccount",
    "REGION": "Region",
    "RECORD_TYPE": "RecordType",
    "USAGE_TYPE": "UsageType",
}


def cost_and_usage(answer: Any) -> Iterator[Row]:
    """A row for each day (or month) and group, numbers as they are written.

    An answer without groups has a row for each period's total. Raises KeyError or TypeError for
    what is no such answer.
    """
    groups = [(g["Type"], g["Key"]) for g in answer.get("GroupDefinitions", ())]
    names = {
        value["Value"]: value.get("Attributes", {}).get("description")
        for value in answer.get("DimensionValueAttributes", ())
    }
    for period in answer["ResultsByTime"]:
        shared = {
            "Start": period["TimePeriod"]["Start"],
            "End": period["TimePeriod"]["End"],
            "Estimated": json.dumps(period.get("Estimated", False)),
        }
        for group in period.get("Groups", ()):
            yield shared | _keys(groups, group["Keys"], names) | _metrics(group["Metrics"])
        if not groups and period.get("Total"):
            yield shared | _metrics(period["Total"])


def _keys(
    groups: list[tuple[str, str]], keys: list[str], names: Mapping[str, str | None]
) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for (kind, name), key in zip(groups, keys, strict=True):
        if kind in ("TAG", "COST_CATEGORY"):  # given as `name$value`, without a value where none is
            label = f"tags/{name}" if kind == "TAG" else name
            row[label] = key.partition("$")[2] or None
        else:
            row[_COLUMNS.get(name, name)] = key
        if name == "LINKED_ACCOUNT":
            row["LinkedAccountName"] = names.get(key)
    return row


def _metrics(metrics: Mapping[str, Any]) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for name, metric in metrics.items():
        row[name] = metric["Amount"]
        if name.endswith("Cost"):
            row["Currency"] = metric["Unit"]
    return row
