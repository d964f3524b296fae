"""What is true about a made tenancy, to the last digit, told by its maker and not by any reader.

`DayTruth` counts lines and costs; `OwnerTruth` says who owns them. Both come from the model that
wrote the files: a pipeline that disagrees with them is wrong.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from finops_pipeline.demo.catalogue import Tier

ReportFormat = Literal["cost", "focus", "aws_focus", "azure_focus", "gcp_detailed"]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DayTruth(_Told):
    """One currency on one charge day (UTC day of the usage), lines as rows of report files.

    `delivered` is every line of every file of one format. `superseded` are the lines that do not
    count: repeated and restated ones (the latest report of a reference counts) and, where
    corrections replace, the lines they stand instead of. `net` is what remains, corrections
    applied: delivered = net + superseded, in rows and in cost. Costs are billed ones; the effective
    cost is another where a commitment is paid apart from what it pays for. Of snapshots only the
    last one of a month is delivered here; of Google's credits those that are no discount are rows.
    """

    currency: str
    day: date
    delivered_rows: int
    delivered_cost: Decimal
    net_rows: int
    net_cost: Decimal
    net_effective_cost: Decimal
    superseded_rows: int
    superseded_cost: Decimal


class OwnerTruth(_Told):
    """The net cost of one owner by one tier; the owner of tier `pool` is the pool's name."""

    currency: str
    day: date
    owner: str
    tier: Tier
    rows: int
    cost: Decimal
    effective_cost: Decimal


class Anomaly(_Told):
    """A spike put into usage: that service of that owner used about `factor` times as much."""

    day: date
    service: str
    owner: str
    factor: Decimal


class FileTruth(_Told):
    """One report file: its path below the tenancy's folder or bucket, its lines, its delivery.

    A file of a snapshot that a later one stands instead of does not count.
    """

    path: str
    format: ReportFormat
    rows: int
    delivered_at: datetime
    counts: bool = True


class Truth(_Told):
    """All that is true about a tenancy."""

    tenancy: str
    seed: int
    corrections: Literal["add", "replace"]
    first_day: date
    last_day: date
    rows: int
    days: tuple[DayTruth, ...]
    owners: tuple[OwnerTruth, ...]
    anomalies: tuple[Anomaly, ...]
    files: tuple[FileTruth, ...]

    def net_cost(self, currency: str) -> Decimal:
        """The true cost of the whole period in one currency."""
        return sum((d.net_cost for d in self.days if d.currency == currency), Decimal(0))

    @property
    def currencies(self) -> tuple[str, ...]:
        """The currencies billed in."""
        return tuple(sorted({d.currency for d in self.days}))

    def write(self, path: Path) -> None:
        """Write it as JSON, decimals as strings."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_truth(path: Path) -> Truth:
    """Read what `Truth.write` wrote."""
    return Truth.model_validate_json(path.read_text(encoding="utf-8"))
