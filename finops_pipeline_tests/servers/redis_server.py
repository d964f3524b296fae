"""A Redis server of its own on loopback, with a password, that keeps nothing on disk."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

PASSWORD = "broker-secret-1"


@contextmanager
def redis_server(port: int) -> Iterator[dict[str, str]]:
    """A server that runs as long as the block; gives the environment that leads to it."""
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "requirepass": PASSWORD}
    command = ["redis-server", *(part for k, v in options.items() for part in (f"--{k}", v))]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _answering(port, server)
        url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        yield {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    finally:
        server.kill()
        server.wait()


def _answering(port: int, server: subprocess.Popen[bytes], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    client = redis.Redis(port=port, password=PASSWORD)
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)
