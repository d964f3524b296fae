"""Small tenancies that the demo's tests read: the longest gives every kind of trouble its time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from finops_pipeline.demo import Truth, make_tenancy
from finops_pipeline.demo.corrections import Style
from finops_pipeline_tests.demo.recount import Line, lines

SPLIT_ROWS = 60


@dataclass(frozen=True)
class Made:
    """A made tenancy, and all lines of its reports as an independent reader sees them."""

    folder: Path
    truth: Truth
    cost: list[Line]
    focus: list[Line]

    def lines(self, format_: str) -> list[Line]:
        return self.cost if format_ == "cost" else self.focus


def _made(folder: Path, style: Style) -> Made:
    truth = make_tenancy(
        folder, days=35, rows=12_000, seed=11, corrections=style, split_rows=SPLIT_ROWS
    )
    return Made(folder, truth, list(lines(folder, "cost")), list(lines(folder, "focus")))


@pytest.fixture(scope="session")
def adding(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tenancy whose corrections are differences."""
    return _made(tmp_path_factory.mktemp("made") / "adding", "add")


@pytest.fixture(scope="session")
def replacing(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tenancy whose corrections stand instead of what they correct."""
    return _made(tmp_path_factory.mktemp("made") / "replacing", "replace")


@pytest.fixture(params=["adding", "replacing"])
def made(request: pytest.FixtureRequest) -> Made:
    """Each of the two."""
    result: Made = request.getfixturevalue(request.param)
    return result
