"""An S3-speaking server for all tests of a home in an object store, and a bucket for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from finops_pipeline_tests.cli.place import Place
from finops_pipeline_tests.objects.bucket import Bucket
from finops_pipeline_tests.servers.s3 import S3, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[S3]:
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket, and this process and its children set up for it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "DAGSTER_HOME", "FINOPS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    server.fail(0)
    return Bucket.new(server)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Place:
    """A folder with a finops.yaml whose home is in the bucket."""
    monkeypatch.chdir(tmp_path)
    made = Place(tmp_path)
    made.configure(home=bucket.home, work="work")
    return made
