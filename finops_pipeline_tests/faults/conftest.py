"""What the fault tests share: a place to run the command in."""

from __future__ import annotations

from pathlib import Path

import pytest

from finops_pipeline_tests.cli.place import Place


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings and no Dagster instance but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "FINOPS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place with a source and a budget, which is the working directory."""
    made = Place(tmp_path)
    (tmp_path / "reports").mkdir()
    made.configure(budgets=[{"name": "all", "amount": "1"}])
    return made
