"""A lake table: partitions replaced whole, in one commit, whoever else commits at the time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline_tests.lake.table import lake, rows, written

A, B = ("s", "a"), ("s", "b")


def test_nothing_is_there_before_the_first_commit(tmp_path: Path) -> None:
    table = lake(tmp_path)
    written(table, A, 1)
    assert not table.exists()
    assert table.version() == -1
    assert table.files() == []


def test_replace_touches_its_partitions_only(tmp_path: Path) -> None:
    table = lake(tmp_path)
    one, two = written(table, A, 1), written(table, B, 2)
    assert table.replace([A, B], [one, two])
    three = written(table, A, 3)
    assert table.replace([A], [three])
    assert rows(table) == [("s", "a", 3), ("s", "b", 2)]
    assert table.files() == [three, two]
    # A prefix stands for every partition below it.
    assert table.replace([("s",)], [two])
    assert rows(table) == [("s", "b", 2)]
    assert table.replace([B], [])
    assert rows(table) == []


def test_replace_in_one_commit(tmp_path: Path) -> None:
    table = lake(tmp_path)
    table.replace([A, B], [written(table, A, 1), written(table, B, 2)])
    before = table.version()
    table.replace([A, B], [written(table, A, 3), written(table, B, 4)])
    assert table.version() == before + 1
    assert rows(table, before) == [("s", "a", 1), ("s", "b", 2)]


def test_the_same_again_is_no_version(tmp_path: Path) -> None:
    table = lake(tmp_path)
    files = [written(table, A, 1), written(table, A, 2)]
    assert table.replace([A], files)
    version = table.version()
    assert not table.replace([A], reversed(files))
    assert not table.append(files)
    assert not table.replace([("s", "never")], [])
    assert table.version() == version


def test_append_removes_nothing(tmp_path: Path) -> None:
    table = lake(tmp_path)
    table.append([written(table, A, 1)])
    assert table.append([written(table, A, 2)])
    assert rows(table) == [("s", "a", 1), ("s", "a", 2)]


def test_files_by_prefix_and_by_value(tmp_path: Path) -> None:
    table = lake(tmp_path)
    kept = [written(table, p, i) for i, p in enumerate([A, B, ("t", "a")])]
    table.append(kept)
    assert table.files("s") == kept[:2]
    assert table.files("s", "b") == [kept[1]]
    assert table.files(owner=["a", "c"]) == [kept[0], kept[2]]
    assert table.files("t", owner=["b"]) == []


@pytest.mark.parametrize(
    "owner",
    ["a b", "ü", "a/b", "a%b", "a%20b", "R&D?#=", "..", ".", "  ", "q\"'", "a:b", "back\\slash",
     "日本", "+plus", "line\nbreak", "x" * 120],
)  # fmt: skip
def test_odd_partition_values_come_back(tmp_path: Path, owner: str) -> None:
    table = lake(tmp_path)
    table.replace([("s", owner)], [written(table, ("s", owner), 1)])
    assert rows(table) == [("s", owner, 1)]
    second = written(table, ("s", owner), 2)
    table.replace([("s", owner)], [second])
    assert table.files("s", owner) == [second]
    assert rows(table) == [("s", owner, 2)]
    assert Path(table.location(second)).is_relative_to(table.root)


def test_as_of_a_time_and_a_version(tmp_path: Path) -> None:
    table = lake(tmp_path)
    before = datetime.now(UTC)
    time.sleep(0.01)
    one = written(table, A, 1)
    table.replace([A], [one])
    time.sleep(0.01)
    between, version = datetime.now(UTC), table.version()
    time.sleep(0.01)
    two = written(table, A, 2)
    table.replace([A], [two])
    assert table.files(as_of=before) == []
    assert table.files(as_of=between) == [one]
    assert table.files(as_of=version) == [one]
    assert table.files(as_of=datetime.now(UTC)) == table.files() == [two]


def test_a_note_is_kept_in_the_log(tmp_path: Path) -> None:
    table = lake(tmp_path)
    table.replace([A], [written(table, A, 1)], {"finops.reports": '["r1"]'})
    assert DeltaTable(table.root).history(1)[0]["finops.reports"] == '["r1"]'


def overtaken(table: LakeTable, other: Callable[[], object], monkeypatch: Any) -> None:
    """Let another writer commit just before this table's next commit."""
    commit = LakeTable._commit
    waiting = [other]

    def late(self: LakeTable, *arguments: Any) -> None:
        if self is table and waiting:
            waiting.pop()()
        commit(self, *arguments)

    monkeypatch.setattr(LakeTable, "_commit", late)


@pytest.mark.parametrize("before", [[], [("s", "x")], [A], [A, B]])
def test_of_two_writers_of_one_partition_one_stands(
    tmp_path: Path, before: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, other = lake(tmp_path), lake(tmp_path)
    table.replace(before, [written(table, p, i) for i, p in enumerate(before)])
    theirs = written(other, A, 11)
    overtaken(table, lambda: other.replace([A], [theirs]), monkeypatch)
    ours = written(table, A, 10)
    table.replace([A], [ours])
    assert table.files(*A) == [ours]
    assert len(rows(table)) == len({A, *before})


@pytest.mark.parametrize("before", [[], [A, B]])
def test_of_two_writers_of_two_partitions_both_land(
    tmp_path: Path, before: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, other = lake(tmp_path), lake(tmp_path)
    table.replace(before, [written(table, p, i) for i, p in enumerate(before)])
    overtaken(table, lambda: other.replace([B], [written(other, B, 11)]), monkeypatch)
    table.replace([A], [written(table, A, 10)])
    assert rows(table) == [("s", "a", 10), ("s", "b", 11)]


def _write_often(folder: Path, owner: str, numbers: range, ready: Any) -> None:
    table = lake(folder)
    ready.wait()
    for number in numbers:
        table.replace([("s", owner)], [written(table, ("s", owner), number)])


@pytest.mark.parametrize("owners", [("a", "b", "c"), ("a", "a", "a")])
def test_processes_at_once(tmp_path: Path, owners: tuple[str, ...]) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(owners))
    processes = [
        context.Process(
            target=_write_often, args=(tmp_path, owner, range(i * 100, i * 100 + 8), ready)
        )
        for i, owner in enumerate(owners)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(owners)
    found = rows(lake(tmp_path))
    if len(set(owners)) == 1:
        assert len(found) == 1 and found[0][2] in (7, 107, 207)
    else:
        assert found == [("s", "a", 7), ("s", "b", 107), ("s", "c", 207)]


def _die_before_commit(folder: Path) -> None:
    LakeTable._commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign]
    lake(folder).replace([A], [written(lake(folder), A, 2)])


def test_killed_between_file_and_commit_the_old_state_stands(tmp_path: Path) -> None:
    table = lake(tmp_path)
    table.replace([A], [written(table, A, 1)])
    version = table.version()
    process = multiprocessing.get_context("spawn").Process(
        target=_die_before_commit, args=(tmp_path,)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert table.version() == version
    assert rows(table) == [("s", "a", 1)]
    table.replace([A], [written(table, A, 2)])
    assert rows(table) == [("s", "a", 2)]


def test_files_that_may_hold_more_than_zero(tmp_path: Path) -> None:
    table = lake(tmp_path)
    files = {}
    for owner, numbers in {"none": [0, 0], "some": [0, 7], "less": [-3, -1], "null": []}.items():
        row = [{"source": "s", "owner": owner, "number": n} for n in numbers]
        schema = arrow_schema(table.table)
        files[owner] = table.write(LakeFile(("s", owner), owner), pa.Table.from_pylist(row, schema))
    table.replace([("s",)], files.values())
    # The log says nothing of files that an engine wrote: each may hold anything.
    files["silent"] = written(table, ("s", "silent"), 0)
    files["other"] = written(table, ("t", "other"), 5)
    table.append([files["silent"], files["other"]])

    found = lake(tmp_path).above_zero(["number"], "s")

    assert found == sorted(files[owner] for owner in ("null", "silent", "some"))
    assert lake(tmp_path).above_zero(["number"], "u") == []


def test_where_the_log_says_nothing_every_file_may(tmp_path: Path) -> None:
    table = lake(tmp_path)
    assert table.above_zero(["number"]) == []
    table.replace([A], [one := written(table, A, 0)])
    assert table.above_zero(["number"]) == [one]
