"""A place that keeps failing is left alone, from one process to the next, and tried again later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from finops_pipeline.ingest.breaker import FAILURES, PAUSE, GuardedLocation
from finops_pipeline.ingest.location import (
    AccessRefused,
    IngestError,
    LocationUnavailable,
    RemoteReport,
)

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
REPORT = RemoteReport("a.csv", "1", 3, None, NOW)


class Flaky:
    """A place that fails as it is told to, and counts how often it is asked."""

    source_name = "acme"

    def __init__(self) -> None:
        self.asked = 0
        self.error: IngestError | None = None

    def reports(self) -> Iterator[RemoteReport]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        yield REPORT

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        self.asked += 1
        yield iter([b"abc"])
        if self.error is not None:
            raise self.error


def ask(place: Flaky, memory: Path) -> str:
    """What a process of its own is told."""
    try:
        return f"{len(list(GuardedLocation(place, memory).reports()))} reports"
    except IngestError as error:
        return str(error)


def test_a_failing_place_is_left_alone_and_tried_again(tmp_path: Path) -> None:
    place, memory = Flaky(), tmp_path / "breakers" / "acme.json"
    place.error = LocationUnavailable("down")
    with time_machine.travel(NOW, tick=False) as clock:
        told = [ask(place, memory) for _ in range(FAILURES + 2)]
        assert told[:FAILURES] == ["down"] * FAILURES
        assert "left alone until 2026-09-20T12:15Z" in told[FAILURES]
        assert place.asked == FAILURES
        clock.shift(PAUSE.total_seconds() + 1)
        assert (ask(place, memory), place.asked) == ("down", FAILURES + 1)  # tried once
        assert "left alone" in ask(place, memory)
        clock.shift(PAUSE.total_seconds() + 1)
        place.error = None
        assert ask(place, memory) == "1 reports"
    assert json.loads(memory.read_text())["state"] == "closed"


def test_only_failures_in_a_row_count_and_a_refusal_is_none(tmp_path: Path) -> None:
    place, memory = Flaky(), tmp_path / "acme.json"
    for error in (LocationUnavailable("down"), None) * FAILURES:
        place.error = error
        ask(place, memory)
    place.error = AccessRefused("no", status=403, code="Forbidden")
    told = {ask(place, memory) for _ in range(FAILURES * 2)}
    assert told == {"no `finops doctor` tells what to do."}


def test_a_stream_that_fails_counts(tmp_path: Path) -> None:
    place, memory = Flaky(), tmp_path / "acme.json"
    guarded = GuardedLocation(place, memory)
    with guarded.stream(REPORT) as pieces:
        assert b"".join(pieces) == b"abc"
    place.error = LocationUnavailable("cut off")
    for _ in range(FAILURES):
        with pytest.raises(LocationUnavailable), guarded.stream(REPORT) as pieces:
            list(pieces)
    with pytest.raises(LocationUnavailable, match="left alone"), guarded.stream(REPORT):
        pass
