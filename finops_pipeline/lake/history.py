"""How far back a table knows: which files its kept versions need, and forgetting the older ones.

A version is needed while a time can be asked that it answers: all since the retention began, and
the one that stood when it began. What removes files is in `maintain.py`; reading an earlier state
is `LakeTable`'s own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath

from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline.lake.log import LOG, version_at

_VERSION = re.compile(r"(\d{20})\.")


class History:
    """The log of a table as it lies there: listed once."""

    def __init__(self, table: LakeTable) -> None:
        self._table = table
        self._log = table.storage.below(LOG)
        names = self._log.names()
        self._logged = sorted((int(m[1]), n) for n in names if (m := _VERSION.match(n)))
        self._commits = [(v, n) for v, n in self._logged if n == f"{v:020}.json"]
        self._checkpoints = [v for v, n in self._logged if ".checkpoint." in n]

    def oldest_needed(self, horizon: datetime | None) -> int:
        """The version that stood at the horizon; the oldest that is known where none did."""
        delta = self._table.at()
        found = None
        if delta is not None and horizon is not None:
            with self._table.storage.teaching():
                found = version_at(delta, horizon)
        return self._oldest_known() if found is None else found

    def needed_files(self, oldest: int) -> set[LakeFile]:
        """Every file of that version and of all later ones."""
        needed = set(self._table.files(as_of=oldest))
        for version, name in self._commits:
            if version > oldest:
                needed |= set(self._added(name))
        return needed

    def forgettable(self, oldest: int) -> list[str]:
        """Names in the log that no needed version is read from, the oldest first.

        All before the last checkpoint at or before that version: it holds the whole state.
        """
        last = max((v for v in self._checkpoints if v <= oldest), default=0)
        return [name for version, name in self._logged if version < last]

    def checkpoint(self) -> None:
        """Write the table's state beside the log, unless the newest version has it."""
        delta = self._table.at()
        if delta is not None and delta.version() not in self._checkpoints:
            with self._table.storage.teaching():
                delta.create_checkpoint()

    def _oldest_known(self) -> int:
        """The oldest version that can be read: the first, or that of the oldest checkpoint."""
        return 0 if self._commits[0][0] == 0 else min(self._checkpoints)

    def _added(self, commit: str) -> Iterator[LakeFile]:
        for line in self._log.read(commit).splitlines():
            if added := json.loads(line).get("add"):
                values = (added["partitionValues"][c] for c in self._table.table.partition_by)
                yield LakeFile(tuple(values), PurePosixPath(added["path"]).stem)
