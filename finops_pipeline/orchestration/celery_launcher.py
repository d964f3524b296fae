"""Runs on Celery workers, as Dagster launches them, and a look at whether their worker still lives.

`CeleryRunLauncher` believes what Celery's result backend says of a run's task (Dagster 1.13).
Celery writes there when a run's process dies, but nobody does when a whole worker or its machine
does: the task stays `STARTED` for ever, and the run with it. So the worker is asked here, by
Celery's own remote control; Dagster's run monitoring and run retries do the rest. Named in
`deploy/celery/dagster.yaml`; needs `finops-pipeline[celery]`.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

# A worker answers from its main process, busy or not; one that misses an answer may be asked again.
QUESTIONS = 3
PATIENCE = 5.0  # seconds for each answer


class WatchfulCeleryRunLauncher(CeleryRunLauncher):
    """Dagster's launcher, which holds a run for lost when its worker does not know it any more.

    Configured as `CeleryRunLauncher` is. The backend must outlive the workers: Redis, not `rpc://`.
    """

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """How the worker of a started run fares; FAILED when it is gone or was started anew."""
        reported = super().check_run_worker_health(run)
        if reported.status != WorkerStatus.RUNNING:
            return reported
        task = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG])
        note = task.info  # of a started task: the worker that took it
        worker = note.get("hostname") if isinstance(note, dict) else None
        if worker is None or self._has(worker, task.id):
            return reported
        now = super().check_run_worker_health(run)
        if now.status != WorkerStatus.RUNNING:  # it ended while its worker was asked
            return now
        lost = f"Celery worker {worker} took this run and is gone, or was started anew since."
        return CheckRunHealthResult(WorkerStatus.FAILED, lost)

    def _has(self, worker: str, task: str) -> bool:
        inspect = self.celery.control.inspect(destination=[worker], timeout=PATIENCE)
        for _ in range(QUESTIONS):
            answers = inspect.query_task(task) or {}
            if worker in answers:
                return task in answers[worker]
        return False
