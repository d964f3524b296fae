"""What the tests of the command share."""

from __future__ import annotations

from pathlib import Path

import pytest

from finops_pipeline_tests.cli.place import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place with a source, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("FINOPS_CONFIG", raising=False)
    made = Place(tmp_path)
    (tmp_path / "reports").mkdir()
    made.configure()
    return made
