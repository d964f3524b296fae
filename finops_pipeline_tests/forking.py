"""Work in a process of its own, which a test may kill; what this one has imported, it has too."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def forked(work: Callable[[], None]) -> int:
    """Start the work in a process of its own; its process id. Exit code 1 when the work raises."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Wait; the exit code, or the signal that killed it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
