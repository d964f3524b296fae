"""What the tests of places share: a server that behaves as OCI does, and a source that names it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import oci
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from finops_pipeline.config import Source
from finops_pipeline.ingest.oci import OciLocation
from finops_pipeline_tests.servers.oci_object_storage import (
    TENANCY,
    ObjectStorageServer,
    new_key,
    write_config,
)

DELIVERED = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)


def brief_retry() -> Any:
    """The SDK's own strategy with its own rules; only its waits are short."""
    return oci.retry.RetryStrategyBuilder(
        max_attempts=4,
        total_elapsed_time_seconds=20,
        retry_base_sleep_time_seconds=0.01,
        retry_max_wait_between_calls_seconds=0.05,
        decorrelated_jitter=0.01,
    ).get_retry_strategy()


@pytest.fixture(autouse=True)
def _no_proxy_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def _no_look_up_at_google(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's library asks, beside its work, where an account may be used: not in tests."""
    kind = "google.auth.credentials.CredentialsWithRegionalAccessBoundary"
    monkeypatch.setattr(f"{kind}._after_refresh", lambda *_: None, raising=False)


@pytest.fixture(scope="session")
def key() -> RSAPrivateKey:
    return new_key()


@pytest.fixture
def server() -> Iterator[ObjectStorageServer]:
    with ObjectStorageServer() as running:
        yield running


@pytest.fixture
def source(server: ObjectStorageServer, key: RSAPrivateKey, tmp_path: Path) -> Source:
    return Source(
        name="acme-oci",
        format="oci_cost_csv",
        location=f"oci://bling/{TENANCY}",
        config_file=write_config(tmp_path, server, key=key),
        endpoint=server.endpoint,
    )


@pytest.fixture
def location(source: Source) -> OciLocation:
    return OciLocation(source, retry=brief_retry(), timeout=(5.0, 1.0))
