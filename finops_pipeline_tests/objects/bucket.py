"""A bucket as a second reader sees it: by boto3, Delta's log and Parquet's own reader."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline_tests.servers.s3 import KEY, S3, SECRET

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Bucket:
    """A bucket of the server."""

    server: S3
    name: str

    @classmethod
    def new(cls, server: S3) -> Bucket:
        """An empty one."""
        name = f"bills-{uuid.uuid4().hex[:12]}"
        server.client.create_bucket(Bucket=name)
        return cls(server, name)

    @property
    def home(self) -> str:
        """A home in it."""
        return f"s3://{self.name}/fin/ops"

    def objects(self, below: str = "") -> dict[str, tuple[str, str]]:
        """Every object of the home, its ETag and time by name."""
        found = self.server.objects(self.name, f"fin/ops/{below}")
        return {name.removeprefix("fin/ops/"): told for name, told in found.items()}

    def read(self, name: str) -> bytes:
        """An object's bytes."""
        got = self.server.client.get_object(Bucket=self.name, Key=f"fin/ops/{name}")
        content: bytes = got["Body"].read()
        return content

    def put(self, name: str, content: bytes) -> None:
        """Write an object past the package."""
        self.server.client.put_object(Bucket=self.name, Key=f"fin/ops/{name}", Body=content)

    def delta(self, table: str) -> DeltaTable:
        """A table, as Delta's library opens it with its own options."""
        options = {
            "aws_endpoint": self.server.endpoint,
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_region": "us-east-1",
            "allow_http": "true",
        }
        return DeltaTable(f"{self.home}/lake/{table}", storage_options=options)

    def tables(self) -> dict[str, dict[str, Rows]]:
        """The rows of each file of each table, by its name in the log."""
        names = {n.split("/")[1] for n in self.objects("lake/") if "/_delta_log/" in n}
        return {
            name: {
                path: pq.read_table(io.BytesIO(self.read(f"lake/{name}/{path}"))).to_pylist()
                for path in _paths(self.delta(name))
            }
            for name in sorted(names)
        }


def tables_of(home: Path) -> dict[str, dict[str, Rows]]:
    """The same of a home in a folder."""
    return {
        root.name: {
            path: pq.read_table(root / path, partitioning=None).to_pylist()
            for path in _paths(DeltaTable(root))
        }
        for root in sorted((home / "lake").iterdir())
    }


def _paths(delta: DeltaTable) -> list[str]:
    import pyarrow as pa

    paths = pa.table(delta.get_add_actions(flatten=True)).column("path").to_pylist()
    return sorted(unquote(path) for path in paths)  # the log has them as URIs
