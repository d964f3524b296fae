"""The outbox in an object store: an event is sent once, whoever delivers."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cloudevents.core.v1.event import CloudEvent

from finops_pipeline.actuate.outbox import DeliveryError, Outbox
from finops_pipeline.actuate.sinks import SinkError
from finops_pipeline.lake.home import Home
from finops_pipeline_tests.objects.bucket import Bucket


class Lines:
    """A sink that writes down what it is sent, again if it is sent again."""

    name = "lines"

    def __init__(self, path: Path, refuses: str = "") -> None:
        self.path = path
        self.refuses = refuses

    def send(self, event: CloudEvent) -> None:
        if event.get_id() == self.refuses:
            raise SinkError("not now")
        with self.path.open("a") as file:
            file.write(f"{event.get_id()}\n")


def event(number: int) -> CloudEvent:
    """An event; the later the number, the later it was."""
    when = datetime(2026, 1, 1, 0, number, tzinfo=UTC)
    fixed = {"id": f"e{number:02}", "source": "/t", "type": "t", "specversion": "1.0"}
    return CloudEvent({**fixed, "time": when}, {"n": number})


def outbox(bucket: Bucket, machine: Path) -> Outbox:
    """The outbox as a machine with its own work folder has it."""
    return Outbox(Home(machine, bucket.home).outbox, machine / "outbox")


def _deliver(bucket: Bucket, machine: Path, told: Path) -> None:
    box = outbox(bucket, machine)
    box.record([event(n) for n in range(12)])
    while box.pending("lines"):
        box.deliver([Lines(told)])


def test_two_machines_send_each_event_once(bucket: Bucket, tmp_path: Path) -> None:
    told = tmp_path / "told"
    context = multiprocessing.get_context("spawn")
    machines = [
        context.Process(target=_deliver, args=(bucket, tmp_path / f"m{n}", told)) for n in range(2)
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(120)
    assert [m.exitcode for m in machines] == [0, 0]
    assert told.read_text().split() == [f"e{n:02}" for n in range(12)]


def test_the_first_event_of_an_id_stands(bucket: Bucket, tmp_path: Path) -> None:
    one, two = outbox(bucket, tmp_path / "1"), outbox(bucket, tmp_path / "2")
    assert one.record([event(1)]) == 1
    changed = event(1)
    assert two.record([changed, event(2)]) == 1
    assert [e.get_id() for e in one.pending("lines")] == ["e01", "e02"]


def test_a_refused_event_is_sent_at_the_next_delivery(bucket: Bucket, tmp_path: Path) -> None:
    box, told = outbox(bucket, tmp_path), tmp_path / "told"
    box.record([event(1), event(2)])
    with pytest.raises(DeliveryError):
        box.deliver([Lines(told, refuses="e01")])
    assert not told.exists()
    assert box.deliver([Lines(told)]) == 2 and told.read_text().split() == ["e01", "e02"]
    assert outbox(bucket, tmp_path / "other").pending("lines") == []
