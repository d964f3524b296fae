"""A mapping can be made wherever it is needed: also below all the calls of an orchestrator."""

from __future__ import annotations

import subprocess
import sys

import pytest

from finops_pipeline.contracts.formats import formats

_SCRIPT = """
import sys, threading
from finops_pipeline.contracts.raw import raw_format, read_header
from finops_pipeline.normalize.mapping import mapping

def below(calls, make):
    return below(calls - 1, make) if calls else make()

def make():
    raw = raw_format(sys.argv[1])
    header = read_header(raw, tuple(raw.columns))
    made = mapping(raw.name, header, "acme", "USD", True).fingerprint
    print(len(made))

thread = threading.Thread(target=below, args=(1_000, make))  # as in a server
thread.start()
thread.join()
"""


@pytest.mark.parametrize("name", sorted(formats()))
def test_below_a_thousand_calls(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, name], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("64\n", 0), done.stderr
