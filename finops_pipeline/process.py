"""What is set once in a process that is ours."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from typing import NoReturn

# Libraries make hundreds of thousands of lasting objects; Python looks at all of them again each
# time that 700 more objects stand than before. What a batch leaves behind in circles is little.
_OBJECTS = 100_000


def tune() -> None:
    """Have Python look for garbage seldom: it took a twentieth of the time of a run."""
    gc.set_threshold(_OBJECTS, 20, 20)


def leave(code: int) -> NoReturn:
    """End the process with this exit code, all that was registered for its end done.

    Python would then take apart each object of the libraries: a fifth of a run with nothing new.
    That is left out, as mypy leaves it out; not while a thread goes on that must end first.
    """
    going_on = {t for t in threading.enumerate() if not t.daemon} - {threading.main_thread()}
    if not going_on:
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            sys.exit(code)  # Python says what could not be written, and exits with 120
        os._exit(code)
    sys.exit(code)
