"""A disk that is full: told clearly, nothing half-made is seen, and with room the run goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path

import pytest

from finops_pipeline.ingest.run import Ingest
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline_tests.faults.reader import differences, state_of, unbalanced
from finops_pipeline_tests.faults.steps import STEPS
from finops_pipeline_tests.faults.world import NOW, World, make_world

SIZE = 8 << 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The reports, and in `home` what an undisturbed run makes of them; the clock stands still.

    What it had after each of its steps is in `home-1` and so on.
    """
    made = make_world(tmp_path_factory.mktemp("full") / "world")
    with pytest.MonkeyPatch.context() as patched:
        at_noon = partialmethod(Ingest.__init__, clock=lambda: NOW)
        patched.setattr(Ingest, "__init__", at_noon)
        for done, step in enumerate(STEPS, 1):
            step(Pipeline(made.settings(made.folder / "home")))
            shutil.copytree(made.folder / "home", made.folder / f"home-{done}")
        assert unbalanced(made.folder / "home") == []
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system may not be mounted here; test_a_file_that_may_not_grow runs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def after(world: World, home: Path, steps: int) -> None:
    """Let a home be as it is after the first steps of a run."""
    if steps:
        shutil.copytree(world.folder / f"home-{steps}", home)


def finops(place: Path, largest: int | None = None) -> subprocess.CompletedProcess[str]:
    """`finops run` in a Python of its own, perhaps with a limit on the size of a file."""

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    command = [sys.executable, "-m", "finops_pipeline.cli", "run", "--config", "finops.yaml"]
    return subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=False, preexec_fn=limit
    )


def assert_told(ran: subprocess.CompletedProcess[str], home: Path, words: str) -> None:
    """One problem that names the place and says what to do."""
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr and "nothing new" not in ran.stderr, ran.stderr
    (problem,) = [line for line in ran.stderr.splitlines() if line.startswith("problem: ")]
    assert f"{home.resolve()}: there is no room to write" in problem and words in problem, problem
    assert "Make room there" in problem and "run again" in problem


def assert_goes_on(world: World, home: Path) -> None:
    """With room, the rest of the steps ends as the undisturbed run did, to the byte."""
    for step in STEPS:
        step(Pipeline(world.settings(home)))
    whole = world.folder / "home"
    assert differences(state_of(home), state_of(whole), home, whole) == []


# How many steps had room, and how many bytes the next finds.
@pytest.mark.parametrize(
    ("done", "left"), [(0, 12_000), (0, 48_000), (1, 40_000), (2, 4_096), (5, 0)]
)
def test_a_full_disk(world: World, disk: Path, done: int, left: int) -> None:
    home = disk / "home"
    world.configure(disk)
    after(world, home, done)
    room = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - left))

    ran = finops(disk)

    assert_told(ran, home, "No space left on device")
    lying = [p for p in home.rglob("*") if p.is_file() and p.stat().st_size]
    unfinished = (".part", ".unfinished", ".clean.csv", ".duckdb")
    assert [p for p in lying if p.name.endswith(unfinished) or "spool" in p.parts] == []
    files = [
        d for days in state_of(home).tables.values() for f in days.values() for d in f.values()
    ]
    assert "is not there" not in files

    (disk / "ballast").unlink()
    assert_goes_on(world, home)


@pytest.mark.parametrize(("done", "largest"), [(0, 4_096), (1, 20_000)])
def test_a_file_that_may_not_grow(world: World, tmp_path: Path, done: int, largest: int) -> None:
    world.configure(tmp_path)
    home = tmp_path / "home"
    after(world, home, done)

    ran = finops(tmp_path, largest)

    assert_told(ran, home, "ulimit -f")
    assert_goes_on(world, home)
