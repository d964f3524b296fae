"""Azure Cost Management exports of FOCUS, as they lie in a container.

Month-to-date snapshots, one a week kept, each in the folder of its run with a manifest; the month
before is delivered again after its close.
Source of the layout: Microsoft, "Create and manage Cost Management exports".
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np

from finops_pipeline.demo.clouds.account import CloudAccount
from finops_pipeline.demo.clouds.files import DataFiles, stamp
from finops_pipeline.demo.clouds.goods import Cloud, Export
from finops_pipeline.demo.clouds.snapshots import Snapshot, charges_of, schedule
from finops_pipeline.demo.clouds.tables import FocusTable
from finops_pipeline.demo.clouds.usage import Charges, CloudUsage, Month
from finops_pipeline.demo.truth import FileTruth

_DIRECTORY = "focus"
_EVERY = 7
# Azure writes list and contracted costs of zero for these.
_WITHOUT_LIST = ("purchase", "unused", "marketplace", "late-marketplace")


class AzureTree:
    """Writes the tree of one billing account."""

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
        self._table = FocusTable("azure", goods, usage.lines, usage.first_day)
        self._listed = np.array(
            [line.role not in _WITHOUT_LIST for line in usage.lines.all], dtype=np.int64
        )

    def deliver(self, months: list[Month]) -> Iterator[list[FileTruth]]:
        """Write all runs; gives the files of each."""
        for name, export in self._goods.exports.items():
            for month in months:
                for snapshot in schedule(month, months[-1].last, _EVERY):
                    yield self._run(name, export, snapshot)

    def _run(self, name: str, export: Export, snapshot: Snapshot) -> list[FileTruth]:
        month = snapshot.month
        at = self._time(snapshot)
        run = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        last = month.end - timedelta(1)
        folder = f"{_DIRECTORY}/{name}/{month.start:%Y%m%d}-{last:%Y%m%d}/{run}"
        files = DataFiles(
            self._out,
            lambda number, suffix: f"{folder}/part_{number}_0001.{suffix}",
            export.format, "azure_focus", at, self._split_rows, snapshot.stands,
        )  # fmt: skip
        middle = (month.first + snapshot.through) // 2
        for charges in charges_of(self._usage, name, snapshot):
            files.write(self._table.rows(self._as_azure(charges), month))
            if snapshot.stands:
                self._account.add(charges.line, charges.start, charges.billed, charges.effective)
                if int(charges.start[0]) // 24 == middle:  # partitioned, as large exports are
                    files.roll()
        files.roll()
        self._manifest(name, export, snapshot, folder, files.files)
        return files.files

    def _as_azure(self, charges: Charges) -> Charges:
        listed = self._listed[charges.line]
        changed = {"listed": charges.listed * listed, "cost": charges.cost * listed}
        return Charges(**{**vars(charges), **changed})

    def _manifest(
        self, name: str, export: Export, snapshot: Snapshot, folder: str, files: list[FileTruth]
    ) -> None:
        month, at = snapshot.month, self._time(snapshot)
        sizes = {file.path: (self._out / file.path).stat().st_size for file in files}
        told = {
            "manifestVersion": "2024-04-01",
            "byteCount": sum(sizes.values()),
            "blobCount": len(files),
            "dataRowCount": sum(file.rows for file in files),
            "exportConfig": {
                "exportName": name,
                "resourceId": f"{export.billing_account}/providers/Microsoft.CostManagement"
                f"/exports/{name}",
                "dataVersion": "1.2-preview",
                "apiVersion": "2023-07-01-preview",
                "type": "FocusCost",
                "timeFrame": "MonthToDate" if snapshot.edition == 1 else "TheLastMonth",
                "granularity": "Daily",
            },
            "deliveryConfig": {
                "partitionData": True,
                "dataOverwriteBehavior": "CreateNewReport",
                "fileFormat": export.format.capitalize(),
                "compressionMode": {"csv": "gzip", "parquet": "snappy"}[export.format],
                "containerUri": "/subscriptions/c5d4e3f2-0a1b-4c2d-8e3f-4a5b6c7d8e9f/resourceGroups"
                "/rg-billing/providers/Microsoft.Storage/storageAccounts/acmebilling",
                "rootFolderPath": _DIRECTORY,
            },
            "runInfo": {
                "executionType": "Scheduled",
                "submittedTime": f"{at:%Y-%m-%dT%H:%M:%S}.4371205Z",
                "runId": folder.rpartition("/")[2],
                "startDate": f"{month.start}T00:00:00",
                "endDate": f"{month.end - timedelta(1)}T00:00:00",
            },
            "blobs": [
                {"blobName": file.path, "byteCount": sizes[file.path], "dataRowCount": file.rows}
                for file in files
            ],
        }
        path = self._out / folder / "manifest.json"
        path.write_text(json.dumps(told, indent=1), encoding="utf-8")
        stamp(path, at + timedelta(minutes=1))

    def _time(self, snapshot: Snapshot) -> datetime:
        hour = time(5 if snapshot.edition == 1 else 13, 3 + snapshot.through % 50, tzinfo=UTC)
        return datetime.combine(self._usage.first_day + timedelta(snapshot.delivered), hour)
