"""AWS Data Exports of FOCUS 1.2 with AWS columns, as they lie in a bucket.

One export creates a folder for each execution, in CSV; the other overwrites its files, in Parquet,
and leaves a chunk behind where an earlier delivery had more. Manifests come last.
Source of the layout: AWS Data Exports User Guide, "Understanding export delivery".
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa

from finops_pipeline.demo.clouds.account import CloudAccount
from finops_pipeline.demo.clouds.files import DataFiles, stamp
from finops_pipeline.demo.clouds.goods import Cloud, Export
from finops_pipeline.demo.clouds.snapshots import Snapshot, charges_of, schedule
from finops_pipeline.demo.clouds.tables import FocusTable
from finops_pipeline.demo.clouds.usage import CloudUsage, Month
from finops_pipeline.demo.truth import FileTruth

_BUCKET = "s3://acme-billing/exports"
_EXPORTS = "arn:aws:bcm-data-exports:us-east-1"
_EVERY = 16  # days between the snapshots that stay in the bucket
_TYPES = {"decimal128(38, 11)": "double", "string": "string"}


class AwsTree:
    """Writes the tree of one payer organization."""

    def __init__(
        self, out: Path, goods: Cloud, usage: CloudUsage, account: CloudAccount,
        rng: random.Random, split_rows: int,
    ) -> None:  # fmt: skip
        self._out = out
        self._goods = goods
        self._usage = usage
        self._account = account
        self._rng = rng
        self._split_rows = split_rows
        self._table = FocusTable("aws", goods, usage.lines, usage.first_day)

    def deliver(self, months: list[Month]) -> Iterator[list[FileTruth]]:
        """Write all deliveries; gives the files of each."""
        last_day = months[-1].last
        for name, export in self._goods.exports.items():
            files: dict[str, FileTruth] = {}
            for month in months:
                for snapshot in schedule(month, last_day, _EVERY):
                    made = self._snapshot(name, export, snapshot)
                    # What an overwriting export wrote again is another file now.
                    files |= {file.path: file for file in made}
            yield list(files.values())

    def _snapshot(self, name: str, export: Export, snapshot: Snapshot) -> list[FileTruth]:
        month = snapshot.month
        period = f"BILLING_PERIOD={month.start:%Y-%m}"
        at = self._time(snapshot)
        execution = f"{at:%Y-%m-%dT%H:%M:%S}.{self._rng.randrange(1000):03d}Z-{self._uuid()}"
        folder = f"{name}/data/{period}" + ("" if export.overwrite else f"/{execution}")
        files = DataFiles(
            self._out,
            lambda number, suffix: f"exports/{folder}/{name}-{number + 1:05d}.{suffix}",
            export.format, "aws_focus", at, self._split_rows, snapshot.stands,
        )  # fmt: skip
        middle = (month.first + snapshot.through) // 2
        schema: pa.Schema | None = None
        for charges in charges_of(self._usage, name, snapshot):
            rows = self._table.rows(charges, month)
            schema = rows.schema
            files.write(rows)
            if snapshot.is_first and int(charges.start[0]) // 24 == middle:
                files.roll()
            if snapshot.stands:
                self._account.add(charges.line, charges.start, charges.billed, charges.effective)
        files.roll()
        self._manifest(name, export, snapshot, execution, files.files, schema)
        return files.files

    def _manifest(
        self, name: str, export: Export, snapshot: Snapshot, execution: str,
        files: list[FileTruth], schema: pa.Schema | None,
    ) -> None:  # fmt: skip
        month = snapshot.month
        told = {
            "exportArn": f"{_EXPORTS}:{export.billing_account}:export/{name}",
            "exportName": name,
            "executionId": execution.rpartition("Z-")[2],
            "billingPeriod": {"start": f"{month.start}T00:00:00Z", "end": f"{month.end}T00:00:00Z"},
            "columns": [{"name": f.name, "type": _type(f.type)} for f in schema or ()],
            "dataFiles": [f"{_BUCKET}/{f.path.removeprefix('exports/')}" for f in files],
        }
        text = json.dumps(told, indent=1)
        period = f"exports/{name}/metadata/BILLING_PERIOD={month.start:%Y-%m}"
        folders = [period] if export.overwrite else [period, f"{period}/{execution}"]
        for folder in folders:
            path = self._out / folder / f"{name}-Manifest.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            stamp(path, self._time(snapshot) + timedelta(minutes=2))

    def _time(self, snapshot: Snapshot) -> datetime:
        # The second edition may come on the day after the period, as the last of another month.
        hour = time(6 if snapshot.edition == 1 else 14, 11 + snapshot.through % 40, tzinfo=UTC)
        return datetime.combine(self._usage.first_day + timedelta(snapshot.delivered), hour)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _type(type_: pa.DataType) -> str:
    return _TYPES.get(str(type_), "timestamp_ms")
