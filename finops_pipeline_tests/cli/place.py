"""A folder with a finops.yaml and reports in it, and the `finops` command run there."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result
from deltalake import DeltaTable
from typer.testing import CliRunner

from finops_pipeline.cli import app

FINOPS = Path(sys.executable).with_name("finops")
DELIVERED = date(2025, 1, 3)

# A cost report written by hand, as OCI lays it out: CRLF, one tag column.
HEADER = (
    "lineItem/referenceNo,lineItem/tenantId,lineItem/intervalUsageStart,lineItem/intervalUsageEnd,"
    "product/service,product/compartmentId,product/compartmentName,product/region,"
    "product/availabilityDomain,product/resourceId,usage/billedQuantity,cost/subscriptionId,"
    "cost/productSku,product/Description,cost/unitPrice,cost/myCost,cost/currencyCode,"
    "cost/skuUnitDescription,lineItem/isCorrection,lineItem/backreferenceNo,tags/team"
)


def row(
    cost: str = "1.5", day: str = "2025-01-02", currency: str = "USD", team: str = "web"
) -> str:
    """One line of a cost report."""
    return (
        f"ref-{day}-{cost},ocid1.tenancy.oc1..acme,{day}T10:00Z,{day}T11:00Z,COMPUTE,"
        "ocid1.compartment.oc1..c,c,us-ashburn-1,AD-1,ocid1.instance.oc1.iad.one,2,sub-1,B88514,"
        f'"Standard, E4",0.025,{cost},{currency},OCPU Hours,false,,{team}'
    )


@dataclass
class Place:
    """Where the command is run."""

    folder: Path

    @property
    def config(self) -> Path:
        """The finops.yaml."""
        return self.folder / "finops.yaml"

    def configure(self, **changed: Any) -> None:
        """A finops.yaml of one source, `acme-oci`, with some settings changed."""
        settings = {
            "home": "home",
            "first_day": date(2025, 1, 1),
            "sources": [{"name": "acme-oci", "format": "oci_cost_csv", "location": "file:reports"}],
        }
        self.config.write_text(yaml.safe_dump(settings | changed), encoding="utf-8")

    def deliver(self, name: str, *rows: str, on: date = DELIVERED) -> Path:
        """A report of these rows."""
        content = "".join(f"{line}\r\n" for line in (HEADER, *rows)).encode()
        return self.deliver_bytes(name, gzip.compress(content, mtime=0), on)

    def deliver_bytes(self, name: str, content: bytes, on: date = DELIVERED) -> Path:
        """A report of these bytes."""
        path = self.folder / "reports" / f"{name}.csv.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        noon = datetime(on.year, on.month, on.day, 12, tzinfo=UTC).timestamp()
        os.utime(path, (noon, noon))
        return path

    def finops(self, command: str, *arguments: str) -> Result:
        """Run a command here, in this process."""
        return CliRunner().invoke(app, [command, *arguments, "--config", str(self.config)])

    def versions(self, home: str = "home") -> dict[str, int]:
        """The version of each table of the lake."""
        roots = sorted((self.folder / home / "lake").iterdir())
        return {root.name: DeltaTable(root).version() for root in roots}


def finops(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, as a user does."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "FINOPS_CONFIG")
    }
    return subprocess.run(
        [FINOPS, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
