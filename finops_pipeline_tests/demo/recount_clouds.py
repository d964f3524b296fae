"""Reads the clouds' trees with csv, json and a plain Parquet reader, and counts again.

It shares no code with the maker of the files nor with the pipeline. Which files count follows each
provider's documentation: the manifest delivered last, or, at Google, every file.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Row = dict[str, Any]


@dataclass(frozen=True)
class Charge:
    """A charge as any provider tells it."""

    day: str
    currency: str
    billed: Decimal
    effective: Decimal
    service: str
    category: str
    commitment: str
    status: str
    scope: str
    tags: tuple[tuple[str, str], ...]
    provider: str


def rows_of(path: Path) -> list[Row]:
    """The rows of a data file, floats as they are."""
    if path.suffix == ".parquet":
        rows: list[Row] = pq.read_table(path).to_pylist()
        return rows
    with gzip.open(path, "rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        if path.name.endswith(".json.gz"):
            return [json.loads(line) for line in text]
        return list(csv.DictReader(text, strict=True))


def charges(folder: Path, provider: str) -> list[Charge]:
    """Every charge that stands."""
    return list({"aws": _aws, "azure": _azure, "gcp": _gcp}[provider](folder))


def data_files(folder: Path) -> list[Path]:
    """Every file with rows, whether it counts or not."""
    return sorted(
        p for p in folder.rglob("*") if p.name.endswith((".csv.gz", ".parquet", ".json.gz"))
    )


def standing_aws(folder: Path) -> Iterator[Path]:
    """The files that the manifests beside the executions' own list."""
    for path in sorted(folder.glob("exports/*/metadata/BILLING_PERIOD=*/*-Manifest.json")):
        for name in json.loads(path.read_text(encoding="utf-8"))["dataFiles"]:
            yield folder / name.removeprefix("s3://acme-billing/")


def standing_azure(folder: Path) -> Iterator[Path]:
    """The parts of the run submitted last, of each export and month."""
    latest: dict[tuple[str, str], Row] = {}
    for path in folder.rglob("manifest.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        key = (told["exportConfig"]["exportName"], told["runInfo"]["startDate"])
        if key not in latest or _submitted(told) > _submitted(latest[key]):
            latest[key] = told
    for told in latest.values():
        for blob in told["blobs"]:
            path = folder / blob["blobName"]
            assert path.stat().st_size == blob["byteCount"]
            assert len(rows_of(path)) == blob["dataRowCount"]
            yield path


def google_rows(folder: Path) -> list[tuple[Path, str, Row]]:
    """Every row of Google's files, with a text that equal rows share whatever the file's form."""
    found = []
    for path in data_files(folder):
        for row in rows_of(path):
            for name in ("usage_start_time", "usage_end_time", "export_time"):
                row[name] = _utc(row[name])
            found.append((path, json.dumps(row, sort_keys=True, default=str), row))
    return found


def number(value: Any) -> Decimal:
    """A number of a file; a float is the shortest decimal that names it."""
    return Decimal(repr(value) if isinstance(value, float) else value)


def _submitted(told: Row) -> str:
    return str(told["runInfo"]["submittedTime"])


def _aws(folder: Path) -> Iterator[Charge]:
    for path in standing_aws(folder):
        for row in rows_of(path):
            yield _focus(row, row["SubAccountName"])


def _azure(folder: Path) -> Iterator[Charge]:
    for path in standing_azure(folder):
        for row in rows_of(path):
            above = [row["SubAccountName"], row["x_ResourceGroupName"]]
            yield _focus(row, "/".join(part for part in above if part))


def _focus(row: Row, scope: str) -> Charge:
    start = row["ChargePeriodStart"]
    return Charge(
        day=start[:10] if isinstance(start, str) else f"{start:%Y-%m-%d}",
        currency=row["BillingCurrency"],
        billed=number(row["BilledCost"]),
        effective=number(row["EffectiveCost"]),
        service=row["ServiceName"],
        category=row["ChargeCategory"],
        commitment=row["CommitmentDiscountId"] or "",
        status=row["CommitmentDiscountStatus"] or "",
        scope=scope,
        tags=tuple(sorted(json.loads(row["Tags"]).items())),
        provider=row["ProviderName"],
    )


def _gcp(folder: Path) -> Iterator[Charge]:
    seen: dict[str, Path] = {}
    for path, text, row in google_rows(folder):
        if seen.setdefault(text, path) == path:
            yield from _google(row)


def _google(row: Row) -> Iterator[Charge]:
    project = row["project"]
    above = [a["display_name"] for a in reversed(project["ancestors"])]
    net, credits = number(row["cost"]), []
    for credit in row["credits"]:
        if credit["type"].endswith("_DISCOUNT"):
            net += number(credit["amount"])
        else:
            credits.append(number(credit["amount"]))
    for category, cost in [(row["cost_type"], net), *(("Credit", c) for c in credits)]:
        yield Charge(
            day=row["usage_start_time"][:10],
            currency=row["currency"],
            billed=cost,
            effective=cost,
            service=row["service"]["description"],
            category={"tax": "Tax"}.get(category, category),
            commitment="",
            status="",
            scope="/".join(above),
            tags=tuple(sorted((label["key"], label["value"]) for label in row["labels"])),
            provider="Google Cloud",
        )


def _utc(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return str(value)


def by_day(some: list[Charge]) -> dict[str, tuple[int, Decimal, Decimal]]:
    """Rows, billed and effective cost by charge day."""
    days: dict[str, list[Charge]] = defaultdict(list)
    for charge in some:
        days[charge.day].append(charge)
    return {day: sums(of_day) for day, of_day in days.items()}


def sums(some: list[Charge]) -> tuple[int, Decimal, Decimal]:
    """How many there are, and their billed and effective costs."""
    return (
        len(some),
        sum((c.billed for c in some), Decimal(0)),
        sum((c.effective for c in some), Decimal(0)),
    )
