"""One command run as a fresh process, and what its whole process tree cost. Linux only.

This module is imported by the process that starts all others, and keeps it small: a child's peak
memory never reads lower than its parent's at the moment of the start.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

_PARTS = 20
_SAMPLE = 50  # milliseconds between two looks at memory
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NOT_INHERITED = ("DAGSTER_HOME", "FINOPS_CONFIG", "PYTHONPATH")
REPOSITORY = Path(__file__).resolve().parents[1]


class CommandFailed(Exception):
    """A measured command failed; the message has the end of what it said."""


@dataclass(frozen=True)
class Cost:
    """What a process tree cost: seconds and bytes. `disk_*` is what reached the block device.

    `curve` is the most memory held in each twentieth of the time, in order.
    """

    user: float
    system: float
    wall: float
    peak: int
    read: int
    written: int
    disk_read: int
    disk_written: int
    curve: tuple[int, ...]

    def as_json(self) -> dict[str, float]:
        """The cost as JSON holds it, with the sum of the CPU seconds."""
        return {"cpu": self.user + self.system, **asdict(self)}


def run(command: Sequence[str | Path], folder: Path, log: Path) -> Cost:
    """Run a command in a folder; its output goes to `log` (`.out` and `.err`).

    Raises CommandFailed when it exits with anything but 0.
    """
    out, err = log.with_suffix(".out"), log.with_suffix(".err")
    with out.open("wb") as stdout, err.open("wb") as stderr:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder, env=_environment(), stdout=stdout, stderr=stderr,
        )  # fmt: skip
        held = _watch(process.pid)
        wall = time.perf_counter() - begin
    # Ended, not yet waited for: its counters can still be read, those of its children included.
    counted = _counters(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = (out.read_text("utf-8", "replace") + err.read_text("utf-8", "replace"))[-3000:]
        raise CommandFailed(f"{' '.join(map(str, command))}: exit {process.returncode}\n{said}")
    return Cost(
        user=usage.ru_utime,
        system=usage.ru_stime,
        wall=wall,
        peak=max(*held, usage.ru_maxrss * 1024),
        read=counted["rchar"],
        written=counted["wchar"],
        disk_read=counted["read_bytes"],
        disk_written=counted["write_bytes"],
        curve=_curve(held),
    )


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


def _curve(held: list[int]) -> tuple[int, ...]:
    """Samples as the most of each twentieth; a short run repeats what it has."""
    bounds = [round(i * len(held) / _PARTS) for i in range(_PARTS + 1)]
    return tuple(max(held[a : max(a + 1, b)] or held[-1:]) for a, b in pairwise(bounds))


def _watch(pid: int) -> list[int]:
    """Wait for the end of a process; returns the memory that its tree was seen to hold."""
    held = [0]
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        while not poll.poll(_SAMPLE):
            held.append(_resident(pid, None))
    finally:
        os.close(ended)
    return held


def _resident(pid: int, parents: list[str] | None) -> int:
    """The memory of a process and all below it, as far as it can be seen now."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        # A child that has not started its own program yet still shows its parent's memory.
        own = 0 if pages == parents else int(pages[1]) * _PAGE
        children = [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except (OSError, IndexError):  # ended while it was looked at
        return 0
    return own + sum(_resident(child, pages) for child in children)


def _counters(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}
