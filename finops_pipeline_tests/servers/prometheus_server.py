"""A Prometheus of its own on loopback, with the samples that a cluster's exporters would have told.

Debian's `prometheus` has both programs: `promtool` makes blocks of OpenMetrics text, which the
server then answers from as if it had scraped it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import requests

MISSING = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
SCRAPE = 60  # seconds from one sample to the next
GIB = 2**30


@dataclass
class Samples:
    """OpenMetrics text in the making: every series has a sample a minute."""

    labels: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def gauge(self, name: str, value: float, start: datetime, end: datetime, **labels: str) -> None:
        """The same value from the first to the last minute, both included."""
        for moment in _minutes(start, end):
            self._add(name, labels, value, moment)

    def counter(
        self, name: str, rate: float, start: datetime, end: datetime, **labels: str
    ) -> None:
        """A count that grows by so much a second; it was above zero before."""
        for moment in _minutes(start, end):
            self._add(name, labels, 10_000 + rate * (moment - int(start.timestamp())), moment)

    def _add(self, name: str, labels: dict[str, str], value: float, moment: int) -> None:
        told = ",".join(f'{key}="{text}"' for key, text in {**self.labels, **labels}.items())
        self.lines.append(f"{name}{{{told}}} {value!r} {moment}")


def _minutes(start: datetime, end: datetime) -> range:
    return range(int(start.timestamp()), int(end.timestamp()) + 1, SCRAPE)


@contextmanager
def prometheus_server(folder: Path, samples: Samples) -> Iterator[str]:
    """The address of a server that has these samples, for as long as the block runs."""
    text = folder / "samples.txt"
    text.write_text("\n".join([*samples.lines, "# EOF", ""]))
    blocks = folder / "data"
    make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(blocks)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    config = folder / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1m}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = {
        "config.file": str(config),
        "storage.tsdb.path": str(blocks),
        "storage.tsdb.retention.time": "100y",
        "web.listen-address": address,
        "log.level": "error",
    }
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _answering(f"http://{address}", server)
        yield f"http://{address}"
    finally:
        server.kill()
        server.wait()


def _answering(url: str, server: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if requests.get(f"{url}/-/ready", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError("prometheus does not answer")
        time.sleep(0.1)
