"""The transactional outbox: an event is first recorded, then sent to each sink, then marked sent.

The folder is the memory of all that was ever announced, and so is kept for good:

    <folder>/events/<id>.json      the event, recorded: it will be sent
    <folder>/sent/<sink>/<id>      empty: that sink has taken it
    <folder>/claims/<sink>/<id>    in an object store only: somebody is sending it

A kill between any two steps leaves an event that is sent at the next delivery, or sent again to a
sink that did take it: at least once, and exactly once where the sink looks at the id. The caller
records events *before* it commits the figures they come from: once the figures stand, a re-run may
find nothing to do and would never record them.

What an event says is in `events.py`; the sinks are in `sinks.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloudevents.core.v1.event import CloudEvent
from filelock import FileLock

from finops_pipeline.actuate.events import from_json, to_json
from finops_pipeline.actuate.sinks import Sink, SinkError
from finops_pipeline.durable import make_folder
from finops_pipeline.lake.place import Folder, Place

# Ids and sink names become file names: nothing that could leave the folder or hide in it.
_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Longer than a sink takes for an event; after it, who claimed an event in a store has died.
_LEASE = timedelta(minutes=15)
_PATIENCE = 60.0  # seconds to wait for another machine that is sending
_SINK_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class OutboxError(Exception):
    """The outbox holds a file that is no event; the message names it and says what to do."""


class DeliveryError(Exception):
    """A sink refused an event. It stays pending, and the other sinks have had theirs."""


class Outbox:
    """The events in a folder or an object store. Any number of processes may use it at once."""

    def __init__(self, place: Path | Place, locks: Path | None = None) -> None:
        """`locks` is a folder on this machine, for a place that is none."""
        self._place = Folder(place) if isinstance(place, Path) else place
        self._locks = locks or Path(self._place.location())

    def record(self, events: Iterable[CloudEvent]) -> int:
        """Record the events durably; returns how many were new.

        The first event of an id stands: one that comes again, also with other content after a
        restatement, changes nothing. Raises ValueError for an id that cannot be a file name.
        """
        new = 0
        with self._locked("events"):
            for event in events:
                name = f"events/{_checked(event.get_id(), _EVENT_ID)}.json"
                new += self._place.create(name, to_json(event))
        return new

    @contextmanager
    def _locked(self, folder: str) -> Iterator[None]:
        make_folder(self._locks / folder)
        with FileLock(self._locks / folder / ".lock"):
            yield

    def pending(self, sink_name: str) -> list[CloudEvent]:
        """The recorded events that the sink has not had, ordered by their time, then their id.

        To a sink never seen before, that is every event there ever was.
        Raises OutboxError for a file that holds no event.
        """
        recorded = self._place.below("events")
        return sorted((_read(recorded, n) for n in self.waiting(sink_name)), key=_order)

    def waiting(self, sink_name: str) -> list[str]:
        """The names of the recorded events that the sink has not had; opens none."""
        sent = set(self._place.below(f"sent/{_checked(sink_name, _SINK_NAME)}").names())
        names = self._place.below("events").names()
        return [n for n in names if n.endswith(".json") and n.removesuffix(".json") not in sent]

    def deliver(self, sinks: Sequence[Sink]) -> int:
        """Send to each sink what it has not had; returns how many events were taken, over all.

        A sink that fails is left at the event it refused, so that its order holds; the others
        still get theirs, and DeliveryError is raised at the end. Raises ValueError when two sinks
        share a name, and OutboxError like `pending`.
        """
        names = [sink.name for sink in sinks]
        if len(set(names)) < len(names):
            raise ValueError(f"two sinks share a name: {', '.join(sorted(names))}")
        taken = 0
        failures: list[tuple[str, Exception]] = []
        for sink in sinks:
            try:
                taken += self._deliver_to(sink)
            except (SinkError, OSError) as error:
                failures.append((sink.name, error))
        if failures:
            told = "; ".join(f"sink {name!r}: {error}" for name, error in failures)
            raise DeliveryError(
                f"{told}. What was not taken is kept and sent at the next delivery."
            ) from failures[0][1]
        return taken

    def _deliver_to(self, sink: Sink) -> int:
        name = _checked(sink.name, _SINK_NAME)
        taken = 0
        # A lock for each sink: two deliveries do not send the same event twice, and a slow sink
        # holds up neither the others nor who records. Runs on other machines see the claim.
        with self._locked(f"sent/{name}"):
            for event in self.pending(sink.name):
                taken += self._send(sink, event.get_id(), event)
        return taken

    def _send(self, sink: Sink, identity: str, event: CloudEvent) -> bool:
        """Send an event unless another machine does; returns whether it was sent here."""
        claim, sent = (f"{kind}/{sink.name}/{identity}" for kind in ("claims", "sent"))
        patience = time.monotonic() + _PATIENCE
        while not self._place.claim(claim, _LEASE):
            if time.monotonic() > patience:
                raise SinkError(f"another run has been sending event {identity} for long")
            time.sleep(0.2)
        try:
            if self._place.holds(sent):  # the other was quicker
                return False
            sink.send(event)
            self._place.mark(sent)
            return True
        finally:
            self._place.release(claim)


def _checked(name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a file of the outbox; expected {pattern.pattern}")
    return name


def _order(event: CloudEvent) -> tuple[datetime, str]:
    return event.get_time() or datetime.min.replace(tzinfo=UTC), event.get_id()


def _read(recorded: Place, name: str) -> CloudEvent:
    try:
        event = from_json(recorded.read(name))
        if f"{event.get_id()}.json" != name:
            raise ValueError(f"its id is {event.get_id()!r}")
    except ValueError as error:
        raise OutboxError(
            f"{recorded.location(name)}: not the event it should be: {error}. Move it away, and "
            "run its charge day again: the event is then recorded anew."
        ) from None
    return event
