"""Events that a run recorded and did not live to send: the next run sends them, once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from finops_pipeline.actuate.sinks import FileSink, SinkError
from finops_pipeline_tests.cli.place import Place, row

DIES = """
import os, signal, sys
from finops_pipeline.actuate.sinks import FileSink
from finops_pipeline.cli import app
FileSink.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
app(["run", "--config", sys.argv[1]])
"""


def events(place: Place) -> set[str]:
    """The thresholds that were told, each once."""
    path = place.folder / "home" / "events.jsonl"
    told = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    thresholds = [json.loads(line)["data"]["threshold"] for line in told]
    assert len(thresholds) == len(set(thresholds))
    return set(thresholds)


def test_a_run_that_dies_before_it_sends(place: Place) -> None:
    place.deliver("a", row("1.5"))
    ran = subprocess.run([sys.executable, "-c", DIES, str(place.config)], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert events(place) == set()

    for _ in range(2):
        assert place.finops("run").exit_code == 0
        assert events(place) == {"50", "80", "100"}
    assert "nothing new" in place.finops("run").stderr


def test_a_sink_that_refused_is_asked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.deliver("a", row("1.5"))
    with monkeypatch.context() as broken:
        broken.setattr(FileSink, "send", _refuse)
        for _ in range(2):
            ran = place.finops("run")
            assert ran.exit_code == 1 and "the pager is off" in ran.stderr, ran.stderr
    assert place.finops("run").exit_code == 0
    assert events(place) == {"50", "80", "100"}


def _refuse(*_: object) -> None:
    raise SinkError("the pager is off")
