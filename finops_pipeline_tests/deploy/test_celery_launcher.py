"""What the launcher says of a run whose worker works, dies, comes back: a real worker and Redis."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from celery import Celery
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import WorkerStatus
from dagster._serdes import serialize_value
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from finops_pipeline.orchestration.celery_launcher import WatchfulCeleryRunLauncher
from finops_pipeline_tests.deploy.machines import ROOT, free_port
from finops_pipeline_tests.servers.redis_server import redis_server

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="apt-get install redis-server"
)

# A run that lasts until its file is there, and a worker that takes it.
_APP = """
import os, time
from celery import Celery
app = Celery("dagster")
@app.task(name="wait", track_started=True)
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.05)
"""


class Work:
    """One worker, one task that it took, and what launchers say of it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        (folder / "waiting.py").write_text(_APP, encoding="utf-8")
        urls = {
            "broker": environment["CELERY_BROKER_URL"],
            "backend": environment["CELERY_RESULT_BACKEND"],
        }
        queue = {"default_queue": "dagster"}
        self.watchful = WatchfulCeleryRunLauncher(**urls, **queue)
        self.dagsters = CeleryRunLauncher(**urls, **queue)
        self.process = self.start_worker()
        app = Celery("dagster", **urls)
        self.task = app.send_task("wait", [str(folder / "done")], queue="dagster")
        self.until(lambda: self.task.state == "STARTED")

    def start_worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "waiting", "worker", "-c", "1"]
        return subprocess.Popen(
            [*command, "-Q", "dagster", "-n", "one@here"],
            cwd=self.folder,
            env=os.environ | self.environment,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def run(self) -> dg.DagsterRun:
        return dg.DagsterRun(job_name="a", tags={DAGSTER_CELERY_TASK_ID_TAG: self.task.id})

    def says(self, launcher: CeleryRunLauncher) -> WorkerStatus:
        return launcher.check_run_worker_health(self.run).status

    def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.05)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    with redis_server(free_port()) as environment:
        made = Work(tmp_path, environment)
        yield made
        made.kill()


@needs_redis
def test_a_run_that_is_worked_on_is_running_until_it_is_done(work: Work) -> None:
    assert work.says(work.watchful) is WorkerStatus.RUNNING
    (work.folder / "done").touch()
    work.until(lambda: work.says(work.watchful) is WorkerStatus.SUCCESS)


@needs_redis
def test_a_worker_that_misses_an_answer_is_asked_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finops_pipeline.orchestration.celery_launcher.PATIENCE", 2.0)
    os.kill(work.process.pid, signal.SIGSTOP)
    waker = f"import os, time; time.sleep(3); os.kill({work.process.pid}, {int(signal.SIGCONT)})"
    with subprocess.Popen([sys.executable, "-c", waker]):
        assert work.says(work.watchful) is WorkerStatus.RUNNING


@needs_redis
def test_a_run_whose_worker_was_killed_is_lost_also_when_the_worker_is_back(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finops_pipeline.orchestration.celery_launcher.PATIENCE", 1.0)
    work.kill()
    assert work.says(work.watchful) is WorkerStatus.FAILED
    # Why there is a launcher of ours. When this fails, Dagster's own has learned it: delete ours.
    assert work.says(work.dagsters) is WorkerStatus.RUNNING

    work.process = work.start_worker()
    ping = work.watchful.celery.control.inspect(timeout=0.5)
    work.until(lambda: bool(ping.ping()))
    assert work.says(work.watchful) is WorkerStatus.FAILED


@needs_redis
def test_a_run_whose_process_was_killed_is_lost(work: Work) -> None:
    os.kill(work.task.info["pid"], signal.SIGKILL)
    work.until(lambda: work.says(work.watchful) is WorkerStatus.FAILED)


def test_the_delivered_instance_is_one_that_dagster_takes_and_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delivered = ROOT / "deploy/celery/dagster.yaml"
    config, _ = dagster_instance_config(str(delivered.parent))
    assert config["run_launcher"]["class"] == WatchfulCeleryRunLauncher.__name__
    names = variables(yaml.safe_load(delivered.read_text(encoding="utf-8")))
    assert {"FINOPS_POSTGRES_PASSWORD", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"} <= names
    for name in names:
        monkeypatch.setenv(name, "1234567890")
    ref = InstanceRef.from_dir(str(delivered.parent))
    launcher = ref.run_launcher
    assert isinstance(launcher, WatchfulCeleryRunLauncher) and launcher.broker == "1234567890"

    # What the launcher hands to the broker names the variables, not what they hold.
    sent = serialize_value(ref)
    assert "FINOPS_POSTGRES_PASSWORD" in sent and "1234567890" not in sent


def variables(value: object) -> set[str]:
    """The environment variables that a Dagster configuration asks for."""
    if isinstance(value, dict):
        if value.keys() == {"env"}:
            return {str(value["env"])}
        return set().union(*(variables(v) for v in value.values()))
    return set().union(*(variables(v) for v in value)) if isinstance(value, list) else set()
