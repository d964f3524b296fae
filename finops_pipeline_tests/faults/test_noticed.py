"""The harness can fail: each broken safeguard is noticed, by the reader or by the comparison."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finops_pipeline_tests.faults import noticing
from finops_pipeline_tests.faults.broken import BROKEN

ROOT = Path(__file__).parents[2]  # where the steps of the benchmark are


@pytest.fixture(scope="module")
def noticed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was found wrong with each safeguard broken."""
    folder = tmp_path_factory.mktemp("broken") / "world"
    command = [sys.executable, "-m", noticing.__name__, str(folder)]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[str]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_nothing_is_noticed_where_nothing_is_broken(noticed: dict[str, list[str]]) -> None:
    assert noticed["nothing"] == []


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: str(broken.__name__))
def test_a_broken_safeguard_is_noticed(noticed: dict[str, list[str]], broken: object) -> None:
    found = noticed[broken.__name__]  # type: ignore[attr-defined]
    assert any(BROKEN[broken] in text for text in found), found  # type: ignore[index]
