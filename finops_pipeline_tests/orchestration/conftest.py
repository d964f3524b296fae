"""What the tests of the Dagster side share: a company, and an instance that forgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from finops_pipeline_tests.orchestration.company import Company


@pytest.fixture
def acme(tmp_path: Path) -> Company:
    """A company of one source."""
    made = Company(tmp_path)
    made.place()
    return made


@pytest.fixture
def acmes(tmp_path: Path) -> Company:
    """A company of two sources."""
    made = Company(tmp_path, sources=("acme-oci", "acme-eu"))
    for source in made.sources:
        made.place(source)
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def kept() -> Iterator[dg.DagsterInstance]:
    """An instance with SQLite, as users have: it knows the state of partitions and checks."""
    with dg.DagsterInstance.local_temp(overrides={"telemetry": {"enabled": False}}) as made:
        yield made


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No instance but the test's own."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
