"""A circuit breaker for each source: a place that keeps failing is left alone for a while.

The clients retry on their own; this is for a service that is down, so that sensors and runs do not
add to its load and come to an end at once. What it remembers is a small file, so that it holds
from one process to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pybreaker

from finops_pipeline.durable import make_folder, write_whole
from finops_pipeline.ingest.location import (
    IngestError,
    Location,
    LocationUnavailable,
    RemoteReport,
    priced_requests,
)

FAILURES = 5  # in a row
PAUSE = timedelta(minutes=15)


class _File(pybreaker.CircuitBreakerStorage):
    """The breaker's state as a JSON file; none is a closed breaker."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self._path = path
        self._successes = 0

    def _get(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def _set(self, **changed: Any) -> None:
        before = self._get()
        if (after := before | changed) != before:
            make_folder(self._path.parent)
            write_whole(self._path, json.dumps(after, sort_keys=True).encode())

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return str(self._get().get("state", pybreaker.STATE_CLOSED))

    @state.setter
    def state(self, state: str) -> None:
        if state != self.state:
            self._set(state=state)

    @property
    def counter(self) -> int:
        """Failures in a row."""
        return int(self._get().get("failures", 0))

    def increment_counter(self) -> None:
        """Another failure."""
        self._set(failures=self.counter + 1)

    def reset_counter(self) -> None:
        """A success."""
        if self.counter:
            self._set(failures=0)

    @property
    def success_counter(self) -> int:
        """Successes on trial: the first closes the breaker, so they need no file."""
        return self._successes

    def increment_success_counter(self) -> None:
        """A success on trial."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """A trial begins, or is over."""
        self._successes = 0

    @property
    def opened_at(self) -> datetime | None:
        """When the breaker opened, in UTC."""
        moment = self._get().get("opened_at")
        return None if moment is None else datetime.fromisoformat(moment)

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        self._set(opened_at=moment.isoformat())


class GuardedLocation:
    """A place behind its breaker. While that is open, LocationUnavailable says until when."""

    def __init__(self, place: Location, memory: Path) -> None:
        self._place = place
        self._memory = _File(memory)
        self._path = memory
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=FAILURES,
            reset_timeout=PAUSE.total_seconds(),
            exclude=[lambda error: not isinstance(error, LocationUnavailable)],
            state_storage=self._memory,
            throw_new_error_on_trip=False,
        )

    @property
    def source_name(self) -> str:
        """The name of the source that the reports belong to."""
        return self._place.source_name

    @property
    def requests(self) -> int:
        """The requests that the place has made and that cost money."""
        return priced_requests(self._place)

    def reports(self) -> Iterator[RemoteReport]:
        """All reports of the place."""
        with self._guarded():
            found = list(self._place.reports())
        yield from found

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The bytes of a report."""
        with self._guarded(), self._place.stream(report) as pieces:
            yield pieces

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with self._breaker.calling():
                yield
        except pybreaker.CircuitBreakerError:
            raise self._left_alone() from None

    def _left_alone(self) -> IngestError:
        opened = self._memory.opened_at
        until = "" if opened is None else f" until {opened + PAUSE:%Y-%m-%dT%H:%MZ}"
        return LocationUnavailable(
            f"{self.source_name}: the last {FAILURES} calls of its location failed, so it is left "
            f"alone{until}. `finops doctor` tells what is wrong; to try at once, remove "
            f"{self._path}."
        )
