"""`finops run` in a process that is killed at a commit: all is uploaded, nothing is committed yet.

python -m finops_pipeline_tests.objects.dying CONFIG COMMITS
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from finops_pipeline.lake.delta import LakeTable
from finops_pipeline.orchestration.run import Run, Wanted
from finops_pipeline.orchestration.settings import checked_settings


def die_at(commits: int) -> None:
    """Let the commit of that number, counted from 1, kill this process instead."""
    commit = LakeTable._commit
    left = commits

    def counted(*args: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(*args, **options)

    LakeTable._commit = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    die_at(int(sys.argv[2]))
    Run(checked_settings(Path(sys.argv[1])), Wanted(), lambda _: None).run()
