"""Whole runs that are killed with SIGKILL at any instant, and the runs after them.

A program of its own: it imports and compiles everything once, and forks a process for each run.
Neither Delta's nor DuckDB's threads outlive a fork, so it uses neither itself. Runs go step by step
without Dagster, through Dagster as `finops run` does it, or by the command in a new Python.

    python -m finops_pipeline_tests.faults.killing FOLDER STEPS DAGSTER COMMAND [SEED]

FOLDER is new; the numbers say how many kills of each kind. It prints one line of JSON: how many
kills hit which step, and what was found wrong, which must be nothing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from mmap import mmap
from pathlib import Path

import dagster  # noqa: F401  forked processes have it
import pyarrow as pa

from finops_pipeline.contracts.check import _broken_values_sql
from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.reading import open_report
from finops_pipeline.normalize.books import books_sql
from finops_pipeline.normalize.deduplicate import superseded_sql
from finops_pipeline.normalize.mapping import mapping
from finops_pipeline.orchestration import assets, company
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.orchestration.run import Run, Wanted
from finops_pipeline.store.allocated import (
    FIGURES,
    allocated_sql,
    daily_sql,
    direct_sql,
    figures_sql,
    subjects_sql,
    sums_sql,
)
from finops_pipeline.store.rollups import totals_sql
from finops_pipeline_tests.faults.reader import (
    State,
    differences,
    files_of,
    half_states,
    state_of,
    unbalanced,
)
from finops_pipeline_tests.faults.steps import STEPS, fix_the_clock, maintenance
from finops_pipeline_tests.faults.world import SOURCE, World, make_world
from finops_pipeline_tests.forking import ended, forked

IN_A_ROW = (1, 2, 3, 3)  # how often a run may be killed before one is let through
Whole = Callable[[Path, Callable[[str], None]], None]  # a whole run of a home


def compiled(world: World) -> None:
    """Compile what runs need, so that each forked run has it."""
    needed = [
        superseded_sql("replace"), books_sql(), daily_sql(), allocated_sql(), direct_sql(),
        subjects_sql(), sums_sql("focus_costs", "charges"), totals_sql(),
        sums_sql("allocated_costs", "allocated"), figures_sql(),
    ]  # fmt: skip
    for table, name in (("focus_costs", "contracted"), ("allocated_costs", FIGURES)):
        needed.append(_broken_values_sql(DuckDBEngine.compile, tables()[table], name))
    for path in world.reports.rglob("*.csv.gz"):
        header = open_report(path, raw_format("oci_cost_csv")).header
        for foreign in (True, False):
            made = mapping("oci_cost_csv", header, SOURCE, "USD", foreign)
            needed += [*(step.whole for step in made.steps), made.rejected]
    for sql in needed:
        assert sql.text


def by_steps(world: World, home: Path, at: Callable[[str], None], old: bool = False) -> None:
    """Run step by step. Raises StepBroken."""
    pipeline = Pipeline(world.settings(home, world.old if old else None))
    for step in STEPS:
        at(step.__name__)
        step(pipeline)
    at("the end")


def by_dagster(world: World, home: Path, at: Callable[[str], None]) -> None:
    """Run as `finops run` does. Raises RuntimeError for any problem but rejected rows."""
    told = Run(world.settings(home), Wanted(), lambda text: at(f"Dagster: {text}")).run()
    if problems := [p for p in told.problems if "rows rejected" not in p]:
        raise RuntimeError("\n".join(problems))
    at(maintenance.__name__)
    maintenance(Pipeline(world.settings(home)))


@dataclass
class Harness:
    """A world with its old and its new state, and what was found."""

    world: World
    chance: random.Random
    hits: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _said: mmap = field(default_factory=lambda: mmap(-1, 256))
    _homes: int = 0

    def __post_init__(self) -> None:
        """Make the states between which every reader must be."""
        run = partial(by_steps, self.world)
        self.old_home, self.new_home = (self.world.folder / n for n in ("was", "will-be"))
        self._finish(partial(run, self.old_home, self.at, True))
        self.old = state_of(self.old_home)
        shutil.copytree(self.old_home, self.new_home)
        began = time.monotonic()
        self._finish(partial(run, self.new_home, self.at))
        self.took = time.monotonic() - began
        self.new = state_of(self.new_home)
        self._as_it_must_be()

    def _as_it_must_be(self) -> None:
        """Two different whole states, each of which balances: else nothing could be noticed.

        And maintenance has removed what only the old one needed.
        """
        for home in (self.old_home, self.new_home):
            if found := unbalanced(home):
                raise AssertionError(found)
        for table, days in self.old.tables.items():
            for day, files in days.items():
                if table in ("focus_costs", "allocated_costs", "budget_status"):
                    assert self.new.tables[table][day] != files, (table, day)
        root = self.new_home / "lake" / "allocated_costs"
        lying = {p.relative_to(root).as_posix() for p in root.glob("*/**/*.parquet")}
        assert {p for p in lying if "_delta_log" not in p} == files_of(root).keys()

    def at(self, what: str) -> None:
        """Note, in memory that outlives the process, what is being done."""
        self._said[:] = what.encode()[:256].ljust(256, b"\0")

    def _now(self) -> str:
        return self._said[:].rstrip(b"\0").decode()

    def _finish(self, work: Callable[[], None]) -> None:
        if code := ended(forked(work)):
            raise AssertionError(f"an undisturbed run ended with {code}")

    def new_copy(self) -> Path:
        """A home in the old state."""
        self._homes += 1
        home = self.world.folder / f"home-{self._homes}"
        shutil.copytree(self.old_home, home)
        return home

    def kills(self, wanted: int, whole: Whole) -> None:
        """Kill that many forked runs, and let each home come to its end."""
        killed = 0
        while killed < wanted:
            home = self.new_copy()
            in_a_row = min(self.chance.choice(IN_A_ROW), wanted - killed)
            hit = sum(self._killed(partial(whole, home, self.at), home) for _ in range(in_a_row))
            killed += hit
            self._comes_to_its_end(home, partial(whole, home, self.at))

    def _killed(self, work: Callable[[], None], home: Path) -> bool:
        self.at("the beginning")
        child = forked(work)
        time.sleep(self.chance.uniform(0.02, 1) * self.took)
        os.kill(child, signal.SIGKILL)
        code = ended(child)
        if code == -signal.SIGKILL:
            self.hits[_words(self._now())] += 1
        elif code:
            self.wrong.append(f"{home.name}: a run ended with {code} before it was killed")
        self.look(home)
        return code == -signal.SIGKILL

    def look(self, home: Path) -> None:
        """Look at a home as a reader does who does not know that a run was killed."""
        found = half_states(state_of(home), self.old, self.new)
        self.wrong += [f"{home.name}: after {self._now()}: {text}" for text in found]

    def _comes_to_its_end(self, home: Path, work: Callable[[], None]) -> None:
        if code := ended(forked(work)):
            self.wrong.append(f"{home.name}: the run after the kill ended with {code}")
        self.compare(home)

    def compare(self, home: Path) -> None:
        """Hold a home against that of the undisturbed run; one that is right is removed."""
        found = differences(state_of(home), self.new, home, self.new_home)
        self.wrong += [f"{home.name}: {text}" for text in found]
        print(f"{home.name}: {sum(self.hits.values())} kills, {len(found)} found", file=sys.stderr)
        if not found:
            shutil.rmtree(home)

    def command_kills(self, wanted: int) -> None:
        """Kill the real command in a Python of its own.

        Its clock is the true one, which a ledger shows: so a run of it, undisturbed, is what the
        others are held against.
        """
        killed = 0
        began = time.monotonic()
        first = self._place()
        self._command(first, None)
        took = time.monotonic() - began
        expected = _without_times(state_of(first / "home"))
        self.wrong += unbalanced(first / "home")
        while killed < wanted:
            place = self._place()
            killed += self._command(place, self.chance.uniform(0.1, 1) * took)
            seen = _without_times(state_of(place / "home"))
            self.wrong += half_states(seen, _without_times(self.old), expected)
            self._command(place, None)
            found = _without_times(state_of(place / "home"))
            wrong = differences(found, expected, place / "home", first / "home")
            self.wrong += [f"{place.name}: {text}" for text in wrong]

    def _place(self) -> Path:
        """A folder with a configuration and a home in the old state."""
        self._homes += 1
        place = self.world.folder / f"place-{self._homes}"
        place.mkdir()
        self.world.configure(place)
        shutil.copytree(self.old_home, place / "home")
        return place

    def _command(self, place: Path, after: float | None) -> bool:
        """Run the command, killed after some seconds or to its end; whether it was killed."""
        config = str(place / "finops.yaml")
        command = [sys.executable, "-m", "finops_pipeline.cli", "run", "--config", config]
        with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as run:
            try:
                _, told = run.communicate(timeout=after or 600)
            except subprocess.TimeoutExpired:
                run.kill()
                _, told = run.communicate()
                last = [*told.splitlines(), "the beginning"][-2 if told else -1]
                self.hits[f"the command: {_words(last)}"] += 1
        if run.returncode not in (0, 1, -signal.SIGKILL) or "Traceback" in told:
            self.wrong.append(f"{place.name}: the command ended with {run.returncode}: {told}")
        return run.returncode == -signal.SIGKILL


def _words(text: str) -> str:
    """What was being done, without its numbers and days."""
    return " ".join(word for word in text.split() if not any(c.isdigit() for c in word))


def _without_times(state: State) -> State:
    return State({n: d for n, d in state.tables.items() if n != "reports"}, state.beside)


def main(folder: Path, steps: int, dagster_runs: int, commands: int, seed: int) -> Harness:
    """Kill as often as wanted; what was hit and found."""
    fix_the_clock()
    pa.set_cpu_count(1)
    for module in (assets, company):
        module.RETRIES = None  # type: ignore[assignment]
    world = make_world(folder)
    compiled(world)
    harness = Harness(world, random.Random(seed))
    harness.kills(steps, partial(by_steps, world))
    if dagster_runs:
        began = time.monotonic()
        home = harness.new_copy()
        harness._finish(partial(by_dagster, world, home, harness.at))
        harness.took = time.monotonic() - began
        harness.compare(home)
        harness.kills(dagster_runs, partial(by_dagster, world))
    harness.command_kills(commands)
    return harness


if __name__ == "__main__":
    given, *numbers = sys.argv[1:]
    counts = [*map(int, numbers), 20250131][:4]
    done = main(Path(given), *counts)
    told = {"kills": sum(done.hits.values()), "hits": dict(sorted(done.hits.items()))}
    print(json.dumps({**told, "wrong": done.wrong}))
