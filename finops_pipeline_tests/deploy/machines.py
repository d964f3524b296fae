"""Dagster on several machines, all of them here: each process as docs/scale.md starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from celery.result import AsyncResult
from dagster_celery.make_app import make_app

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts" / "browser"))

from dagster_dev import LOCATION, DagsterDev, free_port  # noqa: E402

WORKSPACE = ("-w", "workspace.yaml")
_SENSORS = (
    "query($s: RepositorySelector!) { repositoryOrError(repositorySelector: $s) "
    "{ ... on Repository { sensors { name } } } }"
)


@dataclass
class Machines:
    """The processes of one deployment, and what they are told by their environment."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def configure(self, poll_interval_seconds: int) -> None:
        """The instance that is delivered, but looking after its runs more often."""
        instance = yaml.safe_load((ROOT / "deploy/celery/dagster.yaml").read_text("utf-8"))
        instance["run_monitoring"]["poll_interval_seconds"] = poll_interval_seconds
        home = self.folder / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text(yaml.safe_dump(instance), encoding="utf-8")
        (self.folder / "workspace.yaml").write_bytes((ROOT / "workspace.yaml").read_bytes())

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that is a group of its own; what it says goes to NAME.log."""
        programs = str(Path(sys.executable).parent)
        more = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "FINOPS_CONFIG": str(self.folder / "finops.yaml"),
            "DAGSTER_EVENT_BATCH_SIZE": "500",
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | self.environment | more,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def start_worker(self, name: str) -> None:
        """Start a worker, known to Celery by its name."""
        self.start(name, str(ROOT / "deploy/celery/worker.sh"), "--hostname", f"{name}@here")

    def start_webserver(self) -> DagsterDev:
        """Start the webserver and wait until it knows the assets."""
        port = free_port()
        process = self.start(
            "webserver", "dagster-webserver", *WORKSPACE, "-h", "127.0.0.1", "-p", str(port)
        )
        dagster = DagsterDev(process, port)
        end = time.monotonic() + 90
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError, RuntimeError, KeyError):
                dagster.ask(_SENSORS, {"s": LOCATION})["repositoryOrError"]["sensors"]
                return dagster
            time.sleep(0.5)
        raise RuntimeError(f"dagster-webserver did not come up; see {self.folder}/webserver.log")

    def worker_of(self, task: str) -> str | None:
        """Which worker took a run's task, as Celery's result backend has it."""
        app = make_app(
            {
                "broker": self.environment["CELERY_BROKER_URL"],
                "backend": self.environment["CELERY_RESULT_BACKEND"],
            }
        )
        note = AsyncResult(task, app=app).info
        return note["hostname"].partition("@")[0] if isinstance(note, dict) else None

    def kill(self, name: str) -> None:
        """The machine is gone: SIGKILL for the process and all that it started."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def machines(folder: Path, environment: dict[str, str]) -> Iterator[Machines]:
    """A deployment whose processes end with the block."""
    made = Machines(folder, environment)
    try:
        yield made
    finally:
        for name in list(made.processes):
            made.processes[name].terminate()
        for name in list(made.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                made.processes[name].wait(15)
            with contextlib.suppress(ProcessLookupError):
                made.kill(name)
