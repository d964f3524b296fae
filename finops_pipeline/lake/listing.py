"""What a table holds, listed once for each version of it: for a process that asks many questions.

Replaying a Delta log takes longer than most questions; whether there is a newer version is told
without it. Nothing here can be stale: a listing belongs to one version of one table.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from finops_pipeline.lake.delta import LakeFile, LakeTable

_KEPT = 32  # listings that are remembered

_known: OrderedDict[tuple[str, str, int], Listing] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of one version of a table, in order; compared by identity, so it can be a key."""

    files: tuple[LakeFile, ...]


_EMPTY = Listing(())


def listing(table: LakeTable, as_of: datetime | None = None) -> Listing:
    """The table as it is, or as it was then. The same object while the version is the same."""
    delta = table.at(as_of)
    if delta is None:
        return _EMPTY
    while True:
        key = (table.root, str(delta.metadata().id), delta.version())
        with _lock:
            if key in _known:
                _known.move_to_end(key)
                return _known[key]
        found = Listing(tuple(sorted(table.listed(delta))))
        if key[2] == delta.version():  # in a store, another question may have brought it up to date
            break
    with _lock:
        _known[key] = found
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found
