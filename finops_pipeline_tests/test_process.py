"""How a command ends: with its exit code, all it said, and all that was to be done at its end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def _ends(*lines: str, code: int = 3) -> subprocess.CompletedProcess[str]:
    script = "\n".join(["from finops_pipeline.process import leave", *lines, f"leave({code})"])
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_it_ends_with_its_code_and_says_all(code: int) -> None:
    done = _ends("import sys", "print('out')", "print('err', file=sys.stderr)", code=code)
    assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")


def test_what_was_registered_for_the_end_is_done_once() -> None:
    done = _ends("import atexit", "atexit.register(print, 'closed')")
    assert (done.returncode, done.stdout) == (3, "closed\n")


def test_a_thread_that_goes_on_is_waited_for() -> None:
    done = _ends(
        "import threading, time",
        "threading.Thread(target=lambda: (time.sleep(0.5), print('written'))).start()",
    )
    assert (done.returncode, done.stdout) == (3, "written\n")


def test_an_answer_that_nobody_could_read_is_no_success() -> None:
    script = "from finops_pipeline.process import leave; print('answer'); leave(0)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 120
    assert "BrokenPipeError" in done.stderr


def test_the_command_ends_so() -> None:
    script = "from finops_pipeline.cli import main; main()"
    command = [sys.executable, "-c", script, "costs", "--no-such-option"]
    assert subprocess.run(command, capture_output=True).returncode == 2
