"""Maintenance: what is kept can still be asked, what is not is gone, and a kill does no harm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from deltalake import DeltaTable

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.forgotten import ForgottenError
from finops_pipeline.lake.home import Home
from finops_pipeline.lake.maintain import Maintained, maintain
from finops_pipeline.lake.place import Place
from finops_pipeline.query import CostQuery, QueryError, ask
from finops_pipeline.query.diff import diff
from finops_pipeline_tests.lake.table import lake, rows, written
from finops_pipeline_tests.query.history import History, charge

MONTH = timedelta(days=30)


@pytest.fixture
def told(tmp_path: Path) -> History:
    """Four steps of knowledge of one charge: 1, 2, 3, 4; and a report that brings a late day."""
    made = History(tmp_path)
    for cost in ("1", "2", "3", "4"):
        made.deliver(f"r{cost}", charge("web", cost, "a"), on=5 + int(cost))
        made.step()
    return made


def live(history: History) -> Callable[[str], set[str]]:
    pipeline = history.pipeline
    source = pipeline.settings.sources[0]

    def found(name: str) -> set[str]:
        assert name == source.name
        with pipeline.engine() as engine:
            stager = pipeline.normalize(source, engine).stager
            return {stager.fingerprint(e) for e in pipeline.ledger(source).live()}

    return found


def tidy(history: History, step: int | None, **options: object) -> Maintained:
    """Maintain as if the retention had begun right after a step."""
    begun = None if step is None else MONTH
    now = history.steps[step or 0][0] + MONTH
    return maintain(history.pipeline.home, now, begun, live(history), **options)  # type: ignore[arg-type]


def files(home: Home) -> dict[str, int]:
    return {
        p.relative_to(home.path).as_posix(): p.stat().st_ino
        for p in sorted(home.path.rglob("*"))
        if p.is_file()
    }


def totals(history: History) -> list[Decimal | str | None]:
    """What is answered as of each step."""
    found: list[Decimal | str | None] = []
    with DuckDBEngine("300MB", history.folder / "spill") as engine:
        for known, _ in history.steps:
            try:
                found.append(ask(history.pipeline.home, engine, CostQuery(as_of=known)).total)
            except (ForgottenError, QueryError):
                found.append("forgotten")
    return found


def stale(history: History) -> list[object]:
    pipeline = history.pipeline
    source = pipeline.settings.sources[0]
    with pipeline.engine() as engine:
        return [
            *pipeline.normalize(source, engine).stale_days(),
            *pipeline.store(source, engine).stale_days(),
        ]


def test_without_a_retention_every_version_stays(told: History) -> None:
    before = files(told.pipeline.home)
    done = tidy(told, None)
    assert (done.files, done.bytes) == (0, 0)
    assert files(told.pipeline.home).items() >= before.items()
    assert totals(told) == [1, 2, 3, 4]


def test_what_the_retention_holds_can_be_asked_and_the_rest_is_gone(told: History) -> None:
    first = tidy(told, 1)  # writes the checkpoints that a later one may start from
    assert first.places["allocated_costs"].files == 1
    before = files(told.pipeline.home).keys()
    told.deliver("r5", charge("web", "5", "a"), on=10)
    told.step()
    done = tidy(told, 3)
    assert done.places["allocated_costs"].files == 2
    assert done.places["log"].files > 0
    assert totals(told) == ["forgotten", "forgotten", "forgotten", 4, 5]
    with DuckDBEngine("300MB", told.folder / "spill") as engine:
        found = diff(told.pipeline.home, engine, CostQuery(by=("day",)), told.steps[3][0])
        assert [(c.kind, c.change) for i in found.lines for c in i.causes] == [("restated", 1)]
    assert {p for p in before if p.startswith("archive/")} <= files(told.pipeline.home).keys()
    assert stale(told) == []


def test_nothing_is_made_again_after_it(told: History) -> None:
    tidy(told, 3)
    versions = {
        n: told.pipeline.home.table(n).version() for n in ("focus_costs", "allocated_costs")
    }
    assert stale(told) == []
    told.step()
    assert versions == {n: told.pipeline.home.table(n).version() for n in versions}
    told.deliver("late", charge("web", "10", "b"), on=12)
    told.step()
    assert totals(told)[-1] == 14


def test_a_dry_run_says_the_same_and_removes_nothing(told: History) -> None:
    before = files(told.pipeline.home)
    said = tidy(told, 2, dry_run=True)
    assert files(told.pipeline.home) == before
    assert said.files > 0
    done = tidy(told, 2)
    assert {n: (p.files, p.bytes) for n, p in done.places.items() if n != "log"} == {
        n: (p.files, p.bytes) for n, p in said.places.items() if n != "log"
    }


def test_leftovers_go_when_no_run_can_want_them(told: History) -> None:
    home = told.pipeline.home
    day = next((home.path / "lake" / "allocated_costs").rglob("*.parquet")).parent
    stray, young = day / "stray.parquet", day / ".young.parquet.part"
    spooled = home.spool / "costs-acme-1" / "x"
    spooled.mkdir(parents=True)
    (spooled / "part_0.parquet").write_bytes(b"1234")
    note = home.staged / "acme" / ("0" * 32 + ".json")
    note.write_text('{"charges": {"2025-01-02": 1}, "rejected": {}}')
    for path in (stray, young):
        path.write_bytes(b"12")
    old = time.time() - timedelta(days=8).total_seconds()
    for path in (stray, note, spooled / "part_0.parquet", spooled, spooled.parent):
        os.utime(path, (old, old))
    done = maintain(home, datetime.now(UTC), None, live(told))
    assert not stray.exists() and not note.exists() and not spooled.parent.exists()
    assert young.exists()
    assert {n: p.files for n, p in done.places.items() if p.files} == {
        "allocated_costs": 1, "staged": 1, "spool": 1,
    }  # fmt: skip


def test_killed_anywhere_it_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def made(folder: Path) -> History:
        history = History(folder)
        for cost in ("1", "2", "3"):
            history.deliver(f"r{cost}", charge("web", cost, "a"), on=5 + int(cost))
            history.step()
        tidy(history, 0)  # checkpoints: so that the log is shortened too
        history.deliver("r4", charge("web", "4", "a"), on=9)
        history.step()
        return history

    calm = made(tmp_path / "calm")
    removed = tidy(calm, 2).files
    assert removed > 5
    history = made(tmp_path / "killed")
    for _ in range(removed):
        done = 0

        def once(place: Place, name: str) -> None:
            nonlocal done
            if done:
                raise KilledError
            done += 1
            place.remove(name)

        try:
            tidy(history, 2, remove=once)
        except KilledError:
            assert totals(history)[2:] == [3, 4]
        else:
            break
    assert tidy(history, 2).files == 0
    assert totals(history) == ["forgotten", "forgotten", 3, 4]
    assert stale(history) == []


def test_delta_forgets_nothing_by_itself(tmp_path: Path) -> None:
    table = lake(tmp_path)
    long_ago = time.time() - timedelta(days=400).total_seconds()
    for number in range(205):  # Delta writes a checkpoint every hundred commits
        table.replace([("a", "x")], [written(table, ("a", "x"), number)])
        for path in (Path(table.root) / "_delta_log").iterdir():
            os.utime(path, (long_ago, long_ago))
    assert len(DeltaTable(table.root).history()) == 206
    assert rows(table, 1) == [("a", "x", 0)]


def test_a_copied_lake_knows_its_times(told: History) -> None:
    for path in told.pipeline.home.path.rglob("*.json"):
        os.utime(path)  # as a copy or a restore leaves them
    assert totals(told) == [1, 2, 3, 4]
