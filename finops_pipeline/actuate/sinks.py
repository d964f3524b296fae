"""Where events go: the `Sink` protocol, and the file that is always there.

A sink only says an event; which events it has still to say is for `outbox.py` to know. Anything
with a name and a `send` is a sink.
"""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import BinaryIO, Protocol

from cloudevents.core.v1.event import CloudEvent
from filelock import FileLock

from finops_pipeline.actuate.events import to_json
from finops_pipeline.durable import make_folder, sync_folder


class SinkError(Exception):
    """The sink did not take the event; the message says why, and holds no secret."""


class Sink(Protocol):
    """A receiver of events.

    `name` is lower-case words joined by hyphens, and stays the same for good: it is how the outbox
    knows what this sink has had. `send` returns once the event is safely taken, in bounded time,
    and raises SinkError or OSError when it is not; their text is shown and logged, so no secret may
    be in it (an HTTP library likes to quote the whole address). After a kill the same event may
    come again: a sink passes on the event's id, by which the receiver can tell.
    """

    @property
    def name(self) -> str: ...

    def send(self, event: CloudEvent) -> None: ...


class FileSink:
    """Appends each event to a file of JSON lines, exactly once, whatever is killed or repeated.

    The file itself is the memory: before an event is appended, its id is looked for in the mapped
    file, which costs one pass over it and no memory that grows. Several processes may share a file.
    """

    def __init__(self, path: Path, name: str = "file") -> None:
        self.path = path
        self._name = name

    @property
    def name(self) -> str:
        """The name under which the outbox remembers what this file has had."""
        return self._name

    def send(self, event: CloudEvent) -> None:
        """Append the event as one line, on disk when this returns; nothing if it is there already.

        Raises OSError when the file cannot be written; what was half written goes with the next.
        """
        make_folder(self.path.parent)
        with FileLock(f"{self.path}.lock"):
            with self.path.open("a+b") as file:
                _finish_last_line(file)
                if not _holds(file, event.get_id()):
                    file.write(to_json(event) + b"\n")
                # Synced even when nothing was appended: the line found may be one that a killed
                # process wrote and did not live to sync.
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path.parent)


def _finish_last_line(file: BinaryIO) -> None:
    """Cut off what a killed writer left of a line; end a whole one whose line end is missing."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.rfind(b"\n") + 1
        tail = content[start:]
    if not tail:
        return
    # No true beginning of a JSON object is itself JSON: what can be read is complete, and may have
    # been marked as sent (an editor drops the last line end), so it must not be lost.
    if _event_id(tail) is None:
        file.truncate(start)
    else:
        file.write(b"\n")
        file.flush()


def _holds(file: BinaryIO, event_id: str) -> bool:
    """Whether a line of the file is the event of that id."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    quoted = json.dumps(event_id).encode()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = content.find(quoted)
        while found >= 0:
            # The words may also stand in another event's data: only the line itself can tell.
            start, end = content.rfind(b"\n", 0, found) + 1, content.find(b"\n", found)
            if _event_id(content[start:end]) == event_id:
                return True
            found = content.find(quoted, end)
    return False


def _event_id(line: bytes) -> str | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    identity = event.get("id") if isinstance(event, dict) else None
    return identity if isinstance(identity, str) else None
