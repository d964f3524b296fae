"""The Delta log of one table: its states, of which the newest is opened as seldom as may be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from finops_pipeline.lake.damage import damaged_log
from finops_pipeline.lake.forgotten import ForgottenError
from finops_pipeline.lake.place import Place

LOG = "_delta_log"

_KEPT_FOR = 600.0  # seconds: what is opened in a store holds credentials, which expire
_SETTLED = 2_000_000_000  # nanoseconds after which a folder's time tells any later change

_Stamp = tuple[int, int]


@dataclass(frozen=True)
class _Kept:
    """A state that was opened: when, and what told the state of the log before."""

    delta: DeltaTable
    since: float
    stamp: _Stamp | None


class Log:
    """The log of the table at a place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._kept: _Kept | None = None

    def exists(self) -> bool:
        """Whether the table was ever written."""
        if self._place.shared and self._kept is not None:
            return True
        with self._place.teaching():
            return bool(
                DeltaTable.is_deltatable(self._place.location(), self._place.delta_options())
            )

    def open(self) -> DeltaTable:
        """The newest state, opened now. Raises LakeDamaged."""
        root = self._place.location()
        try:
            with self._place.teaching():
                return DeltaTable(root, storage_options=self._place.delta_options())
        except DeltaError as error:
            if self._place.shared:
                raise
            raise damaged_log(root, str(error).splitlines()[0]) from error

    def newest(self) -> DeltaTable | None:
        """The newest state for reading; None when the table was never written.

        It is kept, and opened again only when the log changed.
        """
        stamp, kept = self._stamp(), self._kept
        if kept is not None and self._is_newest(kept, stamp):
            return kept.delta
        delta = self.open() if self.exists() else None
        self._kept = None if delta is None else _Kept(delta, time.monotonic(), stamp)
        return delta

    def keeps(self, delta: DeltaTable) -> bool:
        """Whether `newest` may give this very object again."""
        return self._kept is not None and self._kept.delta is delta

    def at(self, as_of: datetime | int) -> DeltaTable | None:
        """An earlier state; None when the table was not there yet. Raises ForgottenError."""
        delta = self.open() if self.exists() else None
        if delta is None:
            return None
        with self._place.teaching():
            version = version_at(delta, as_of) if isinstance(as_of, datetime) else as_of
            if version is None:
                return None
            try:
                delta.load_as_version(version)
            except DeltaError as error:
                if 0 in (entry["version"] for entry in self.open().history()):
                    raise
                raise ForgottenError(_forgotten(f"in version {version}")) from error
        return delta

    def _is_newest(self, kept: _Kept, stamp: _Stamp | None) -> bool:
        """Whether what is kept is the newest state; in a store it is brought up to date."""
        if not self._place.shared:
            return stamp is not None and stamp == kept.stamp
        if time.monotonic() - kept.since >= _KEPT_FOR:
            return False
        with self._place.teaching():
            kept.delta.update_incremental()
        return True

    def _stamp(self) -> _Stamp | None:
        """What changes with the log of a folder; None where a change now might not be seen in it.

        A second commit within a tick of the file system's clock would leave the time as it is.
        """
        if self._place.shared:
            return None
        try:
            found = Path(self._place.location(LOG)).stat()
        except FileNotFoundError:
            return None
        if abs(time.time_ns() - found.st_mtime_ns) < _SETTLED:
            return None
        return found.st_ino, found.st_mtime_ns


def version_at(delta: DeltaTable, moment: datetime) -> int | None:
    """The newest version that was committed by then; None when there was none.

    By the times that commits carry. Delta's own search goes by the times of the log's files, which
    a copy or a restore of the lake changes.
    """
    by_then = moment.timestamp() * 1000
    known = {e["version"]: e["timestamp"] for e in delta.history()}
    found = max((v for v, committed in known.items() if committed <= by_then), default=None)
    if found is None and min(known) > 0:
        raise ForgottenError(_forgotten(f"at {moment:%Y-%m-%d %H:%M:%S} UTC"))
    return found


def _forgotten(when: str) -> str:
    return (
        f"what was known {when} is no longer kept (`retention_days` of finops.yaml); ask as of a "
        "later time"
    )
