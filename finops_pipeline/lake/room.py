"""A disk that is full: known by the system's words, and told in one way.

Python, Arrow, DuckDB, Delta's library and SQLite each raise an error of their own kind; what they
share is the text that the system gives for it.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

_TOO_LARGE = os.strerror(errno.EFBIG)
_WORDS = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    _TOO_LARGE,
    "database or disk is full",  # SQLite's, under Dagster's instance
)
_SHOWN = 300  # characters of what was said


class NoRoom(Exception):
    """Nothing more can be written: the message names the place and says what to do."""


def no_room(said: str, place: Path) -> NoRoom | None:
    """The error to tell if these are the words of a full disk, or of a file that may not grow.

    `place` is where was written; it need not be there.
    """
    if not any(word in said for word in _WORDS):
        return None
    limit = ", and see the limit on the size of a file (ulimit -f)" if _TOO_LARGE in said else ""
    there = next(p for p in (place.absolute(), *place.absolute().parents) if p.exists())
    return NoRoom(
        f"{place}: there is no room to write ({shutil.disk_usage(there).free:,} bytes are free): "
        f"{' '.join(said.split())[:_SHOWN]}. Nothing half-written is visible, and what was "
        f"finished stays. Make room there{limit}; then run again: it goes on where this run "
        "stopped."
    )
