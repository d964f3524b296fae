"""A real `finops serve` in a process of its own, on a free port of loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from finops_pipeline_tests.cli.place import FINOPS

_ANSWERS = re.compile(r"answers on (http://\S+)/api/v1 ")


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    url: str
    log: Path

    def client(self, token: str | None = None) -> httpx.Client:
        """A client of it."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=60)

    def get(self, path: str) -> httpx.Response:
        """One answer."""
        with self.client() as client:
            return client.get(path)


@contextmanager
def serving(
    config: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server over the home of a finops.yaml, as long as the block runs."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [str(FINOPS), "serve", "--port", "0", "--config", str(config), *arguments]
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=config.parent,
                env={**clean_environment(), **(environment or {})},
                stdout=said,
                stderr=said,
            )
        try:
            yield Server(_answering(process, log), log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a command elsewhere."""
    led = ("DAGSTER_HOME", "FINOPS_CONFIG", "FINOPS_API_TOKEN")
    return {k: v for k, v in os.environ.items() if k not in led}


def _answering(process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        said = log.read_text(encoding="utf-8")
        if found := _ANSWERS.search(said):
            return found[1]
        assert process.poll() is None, said
        time.sleep(0.05)
    raise AssertionError(f"it does not answer: {log.read_text(encoding='utf-8')}")
