"""The newest state of a table is opened seldom, and never an older one is taken for it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from finops_pipeline.lake.log import LOG
from finops_pipeline_tests.lake.table import lake, written

A = ("s", "a")


def _age(folder: Path, seconds: float) -> None:
    """Let the log of the table have been written so long ago."""
    then = time.time() - seconds
    os.utime(folder / "numbers" / LOG, (then, then))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each time that a table was opened."""
    found: list[str] = []
    real = DeltaTable.__init__

    def noted(self: DeltaTable, *given: Any, **named: Any) -> None:
        found.append(repr((given, named)))
        real(self, *given, **named)

    monkeypatch.setattr(DeltaTable, "__init__", noted)
    return found


def test_a_state_that_did_not_change_is_opened_once(tmp_path: Path, opened: list[str]) -> None:
    lake(tmp_path).replace([A], [one := written(lake(tmp_path), A, 1)])
    _age(tmp_path, 60)
    opened.clear()
    table = lake(tmp_path)
    for _ in range(3):
        assert table.files() == [one]
        assert table.version() == 1
    assert len(opened) == 1


def test_what_another_commits_is_seen_at_once(tmp_path: Path) -> None:
    reader, writer = lake(tmp_path), lake(tmp_path)
    for number in range(60):
        file = written(writer, A, number)
        writer.replace([A], [file])
        if number % 3 == 0:
            _age(tmp_path, 60 + number)  # as if each were settled, and none after the other
        assert reader.files() == [file]
        assert reader.files() == [file]


def test_two_commits_within_a_tick_of_the_clock(tmp_path: Path) -> None:
    reader, writer = lake(tmp_path), lake(tmp_path)
    log = tmp_path / "numbers" / LOG
    writer.replace([A], [written(writer, A, 1)])
    tick = time.time_ns()
    os.utime(log, ns=(tick, tick))
    reader.files()
    two = written(writer, A, 2)
    writer.replace([A], [two])
    os.utime(log, ns=(tick, tick))
    assert reader.files() == [two]


def test_a_table_that_was_removed_and_made_anew(tmp_path: Path) -> None:
    reader = lake(tmp_path)
    for number in (1, 2, 3):
        reader.replace([A], [written(reader, A, number)])
    _age(tmp_path, 60)
    assert len(reader.files()) == 1
    shutil.rmtree(tmp_path / "numbers")
    assert not reader.exists()
    assert reader.files() == []
    four = written(reader, A, 4)
    reader.replace([A], [four])
    assert reader.files() == [four]


def test_what_is_given_out_may_be_changed(tmp_path: Path) -> None:
    table = lake(tmp_path)
    table.replace([A], [one := written(table, A, 1)])
    _age(tmp_path, 60)
    table.files().clear()
    assert table.files() == [one]
