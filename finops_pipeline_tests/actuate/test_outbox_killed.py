"""Real processes, killed with SIGKILL at every line and at random times, or racing each other.

Whatever happened, one more run leaves the file that an undisturbed run leaves, byte for byte.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cloudevents.core.v1.event import CloudEvent

import finops_pipeline.actuate
from finops_pipeline.actuate.budgets import Crossing
from finops_pipeline.actuate.events import threshold_crossed, to_json
from finops_pipeline.actuate.outbox import Outbox
from finops_pipeline.actuate.sinks import FileSink
from finops_pipeline_tests.forking import ended, forked

CODE = str(Path(finops_pipeline.actuate.__file__).parent)


def made_event(number: int) -> CloudEvent:
    day = date(2025, 1, 1) + timedelta(days=number)
    return threshold_crossed(
        Crossing(
            budget="platform",
            month=day.replace(day=1),
            charge_day=day,
            threshold=Decimal(number + 1),
            amount=Decimal(1000),
            spent=Decimal(number * 10 + 10),
            percent=Decimal(number + 1),
            currency="USD",
        )
    )


def announce(home: Path, batches: int, size: int, sinks: tuple[Any, ...] = ()) -> None:
    """Record and deliver, batch by batch, as one run after the other does."""
    outbox = Outbox(home / "outbox")
    for batch in range(batches):
        outbox.record([made_event(batch * size + n) for n in range(size)])
        outbox.deliver([*sinks, FileSink(home / "events.jsonl")])


def undisturbed(count: int) -> bytes:
    return b"".join(to_json(made_event(number)) + b"\n" for number in range(count))


def dies_at_line(number: int) -> None:
    """Kill this process when it comes to the n-th line of our code that it runs."""
    left = number

    def trace(frame: FrameType, what: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        if what == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def test_killed_at_every_line(tmp_path: Path) -> None:
    killed = 0
    while True:
        home = tmp_path / str(killed)
        home.mkdir()

        def work(number: int = killed + 1, home: Path = home) -> None:
            dies_at_line(number)
            announce(home, batches=2, size=1)

        code = ended(forked(work))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
        announce(home, batches=2, size=1)
        assert (home / "events.jsonl").read_bytes() == undisturbed(2), killed
    assert killed > 100
    assert (home / "events.jsonl").read_bytes() == undisturbed(2)


def test_killed_at_random_times_again_and_again(tmp_path: Path) -> None:
    started = time.monotonic()
    announce(tmp_path / "undisturbed", batches=10, size=3)
    whole = time.monotonic() - started
    chance = random.Random(20250131)
    killed = 0
    home = tmp_path / "home0"
    while killed < 40:
        child = forked(lambda home=home: announce(home, batches=10, size=3))
        time.sleep(chance.uniform(0, whole / 3))
        os.kill(child, signal.SIGKILL)
        killed += ended(child) == -signal.SIGKILL
        # Every fourth time the run is let through, and a new one is begun.
        if killed % 4 == 0:
            announce(home, batches=10, size=3)
            assert (home / "events.jsonl").read_bytes() == undisturbed(30)
            home = tmp_path / f"home{killed}"


class ForgetfulSink:
    """A receiver that does not look at ids: it keeps whatever comes, and dies after the n-th."""

    name = "forgetful"

    def __init__(self, path: Path, dies_after: int = 0) -> None:
        self._path = path
        self._left = dies_after

    def send(self, event: CloudEvent) -> None:
        with self._path.open("a") as file:
            file.write(f"{event.get_id()}\n")
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_sink_that_does_not_look_gets_it_at_least_once(tmp_path: Path) -> None:
    path = tmp_path / "forgetful.txt"
    for dies_after in (1, 2, 2):
        sink = ForgetfulSink(path, dies_after)
        child = forked(lambda sink=sink: announce(tmp_path, 1, 4, (sink,)))
        assert ended(child) == -signal.SIGKILL
    announce(tmp_path, 1, 4, (ForgetfulSink(path),))
    got = Counter(path.read_text().split())
    # Sent, not marked, sent again: 1 | 1 2 | 2 3 | 3 4.
    assert [got[made_event(n).get_id()] for n in range(4)] == [2, 2, 2, 1]
    assert (tmp_path / "events.jsonl").read_bytes() == undisturbed(4)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_at_once_send_each_event_once(tmp_path: Path, processes: int) -> None:
    for attempt in range(4):
        home = tmp_path / str(attempt)
        home.mkdir()
        sink = ForgetfulSink(home / "forgetful.txt")
        children = [
            forked(lambda home=home, sink=sink: announce(home, 4, 2, (sink,)))
            for _ in range(processes)
        ]
        assert [ended(child) for child in children] == [0] * processes
        assert sorted((home / "events.jsonl").read_bytes().splitlines()) == sorted(
            undisturbed(8).splitlines()
        )
        assert len((home / "forgetful.txt").read_text().split()) == 8


def test_two_outboxes_may_share_a_file(tmp_path: Path) -> None:
    def work(folder: str) -> None:
        outbox = Outbox(tmp_path / folder)
        outbox.record([made_event(n) for n in range(8)])
        outbox.deliver([FileSink(tmp_path / "events.jsonl")])

    children = [forked(lambda folder=folder: work(folder)) for folder in ("one", "two")]
    assert [ended(child) for child in children] == [0, 0]
    assert (tmp_path / "events.jsonl").read_bytes() == undisturbed(8)
