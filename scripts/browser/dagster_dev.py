"""A `dagster dev` of its own in a folder, spoken to through GraphQL as the browser does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCATION = {
    "repositoryLocationName": "finops_pipeline.definitions",
    "repositoryName": "__repository__",
}
_STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
_START_SENSOR = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
_SENSORS = (
    "query($s: RepositorySelector!) { repositoryOrError(repositorySelector: $s) "
    "{ ... on Repository { sensors { name sensorState { id status } } } } }"
)
_RUNS = (
    "query($f: RunsFilter) { runsOrError(filter: $f, limit: 500) "
    "{ ... on Runs { results { runId status startTime endTime tags { key value } } } } }"
)
_BACKFILLS = (
    "query { partitionBackfillsOrError(limit: 20) "
    "{ ... on PartitionBackfills { results { id status timestamp } } } }"
)


class DagsterDev:
    """A running `dagster dev`, its URL and its answers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of a GraphQL answer. Raises RuntimeError for an error."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        if answer.get("errors"):
            raise RuntimeError(answer["errors"])
        data: dict[str, Any] = answer["data"]
        return data

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """All runs with these tags, a `__` in a tag's name standing for its slash."""
        wanted = [{"key": k.replace("__", "/"), "value": v} for k, v in tags.items()]
        return list(self.ask(_RUNS, {"f": {"tags": wanted}})["runsOrError"]["results"])

    def backfills(self) -> list[dict[str, Any]]:
        """All backfills, newest first."""
        return list(self.ask(_BACKFILLS)["partitionBackfillsOrError"]["results"])

    def switch_sensors(self, on: bool) -> None:
        """Start or stop every sensor."""
        found = self.ask(_SENSORS, {"s": LOCATION})["repositoryOrError"]["sensors"]
        for sensor in found:
            if on:
                self.ask(_START_SENSOR, {"s": {**LOCATION, "sensorName": sensor["name"]}})
            else:
                self.ask(_STOP_SENSOR, {"id": sensor["sensorState"]["id"]})

    def cpu_seconds(self) -> float:
        """CPU time so far of the process and all it started, those that ended included."""
        ticks = 0
        for pid in _family(self.process.pid):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
                ticks += sum(int(n) for n in text.rpartition(")")[2].split()[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")


def _family(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def dagster_dev(
    folder: Path, log: Path, programs: Path, timeout: float = 90
) -> Iterator[DagsterDev]:
    """Start `dagster dev` in a folder, wait until it answers, stop it at the end.

    `programs` is the folder of the `dagster` command. Started from Python with a signal mask of
    its own, because a shell's background job would ignore the SIGINT that stops it.
    """
    port = free_port()
    command = [str(programs / "dagster"), "dev", "--host", "127.0.0.1", "--port", str(port)]
    environment = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=out, env=environment, start_new_session=True
        )
        try:
            yield _answering(DagsterDev(process, port), log, timeout)
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            # Its code server may outlive it: it is told to end, and not waited for.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _answering(dagster: DagsterDev, log: Path, timeout: float) -> DagsterDev:
    end = time.monotonic() + timeout
    while time.monotonic() < end and dagster.process.poll() is None:
        with contextlib.suppress(OSError, RuntimeError, urllib.error.URLError, KeyError):
            if "sensors" in dagster.ask(_SENSORS, {"s": LOCATION})["repositoryOrError"]:
                return dagster
        time.sleep(0.5)
    raise RuntimeError(f"dagster dev did not come up; see {log}")
