"""Runs with a broken safeguard that die in its gap, and what the kill harness makes of them.

A program of its own, as `killing.py` is: `python -m finops_pipeline_tests.faults.noticing FOLDER`
prints one line of JSON, what was found wrong for each safeguard.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from finops_pipeline_tests.faults.broken import BROKEN, Gap
from finops_pipeline_tests.faults.killing import Harness, by_steps, compiled
from finops_pipeline_tests.faults.steps import fix_the_clock
from finops_pipeline_tests.faults.world import make_world
from finops_pipeline_tests.forking import ended, forked


def nothing(gap: Gap) -> None:
    """Break nothing."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _live() -> None:
    pass


def found_with(harness: Harness, broken: Callable[[Gap], None]) -> list[str]:
    """Die in the gap, run to the end with the same broken safeguard; what the harness says."""
    home = harness.new_copy()

    def run(gap: Gap) -> None:
        broken(gap)
        by_steps(harness.world, home, harness.at)

    harness.wrong = []
    code = ended(forked(partial(run, _die)))
    assert code == (0 if broken is nothing else -signal.SIGKILL), (broken.__name__, code)
    harness.look(home)
    harness._comes_to_its_end(home, partial(run, _live))
    return harness.wrong


def main(folder: Path) -> dict[str, list[str]]:
    """What was found wrong, for each safeguard."""
    fix_the_clock()
    world = make_world(folder)
    compiled(world)
    harness = Harness(world, random.Random(1))
    return {broken.__name__: found_with(harness, broken) for broken in (nothing, *BROKEN)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
