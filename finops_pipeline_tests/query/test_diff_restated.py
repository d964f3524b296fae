"""A month that a newer manifest restates: only what moved is told, with the manifest that did."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from finops_pipeline_tests.cli.place import Place
from finops_pipeline_tests.normalize.pipeline import lines

DATA = "acme/data/BILLING_PERIOD=2025-01"
MANIFEST = "acme/metadata/BILLING_PERIOD=2025-01/acme-Manifest.json"


def charge(service: str, cost: str, day: int) -> dict[str, str]:
    return {
        "BilledCost": cost, "EffectiveCost": cost, "BillingCurrency": "USD",
        "ChargePeriodStart": f"2025-01-{day:02}T00:00:00Z",
        "ChargePeriodEnd": f"2025-01-{day:02}T01:00:00Z", "ServiceName": service,
        "SubAccountId": "222222222222", "ProviderName": "AWS",
    }  # fmt: skip


def deliver(place: Place, on: int, **files: list[dict[str, str]]) -> None:
    """An execution of the export, into a folder of its own."""
    folder = f"{DATA}/2025-02-{on:02}T00:00:00.000Z-x"
    names = [f"{folder}/{name}.csv.gz" for name in files]
    contents = {n: lines(*rows) for n, rows in zip(names, files.values(), strict=True)}
    contents[MANIFEST] = json.dumps({"dataFiles": names}).encode()
    noon = datetime(2025, 2, on, 12, tzinfo=UTC).timestamp()
    for name, content in contents.items():
        path = place.folder / "aws" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (noon, noon))


def test_only_what_moved_is_told_with_its_manifest(tmp_path: Path) -> None:
    place = Place(tmp_path)
    source = {"name": "acme-aws", "format": "aws_focus", "location": "file:aws"}
    place.configure(sources=[source])
    same, moved, gone = charge("EC2", "10", 2), charge("S3", "5", 2), charge("KMS", "1", 3)
    deliver(place, 2, one=[same, moved], two=[gone])
    assert place.finops("run").exit_code == 0
    time.sleep(0.01)
    known = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    deliver(place, 9, one=[same, moved | {"BilledCost": "5.25", "EffectiveCost": "5.25"}])
    assert place.finops("run").exit_code == 0
    result = place.finops("diff", "--as-of", known, "--by", "service", "--format", "json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["lines"]
    told = {
        row["service"]: (
            Decimal(row["before"]),
            Decimal(row["after"]),
            [(c["cause"], Decimal(c["change"]), c["report"]) for c in row["causes"]],
        )
        for row in rows
    }
    assert told == {
        "S3": (Decimal(5), Decimal("5.25"), [("rewritten", Decimal("0.25"), MANIFEST)]),
        "KMS": (Decimal(1), Decimal(0), [("rewritten", Decimal(-1), MANIFEST)]),
    }
