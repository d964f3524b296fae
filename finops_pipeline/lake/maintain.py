"""Removing what nothing needs any more from a home: old versions, and what runs left unfinished.

Never touched: the raw archive, the outbox and its events, and any row that a kept version of a
table holds. Files are removed one by one, each step harmless on its own: whoever is killed, or runs
it again, ends at the same place. The caller holds off runs meanwhile (a run may commit a file that
was written long ago); where the home is in an object store it can do so on its own machine only.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import PurePosixPath

from finops_pipeline.contracts.tables import tables
from finops_pipeline.lake.history import History
from finops_pipeline.lake.home import Home
from finops_pipeline.lake.log import LOG
from finops_pipeline.lake.place import Folder, Found, Place

SAFE_AGE = timedelta(days=7)  # of what no version holds: no run takes as long
_STAGED = ("focus_costs", "rejected_rows")


@dataclass
class Removed:
    """What of one place was removed, or would be: files and bytes there before, and removed."""

    files_before: int = 0
    bytes_before: int = 0
    files: int = 0
    bytes: int = 0

    def count(self, size: int, removed: bool) -> None:
        """Count a file that is there."""
        self.files_before += 1
        self.bytes_before += size
        self.files += removed
        self.bytes += size if removed else 0


@dataclass
class Maintained:
    """What became of a home, by place: a table's name, `log`, `staged` or `spool`."""

    dry_run: bool
    places: dict[str, Removed] = field(default_factory=dict)

    def at(self, place: str) -> Removed:
        """The figures of a place."""
        return self.places.setdefault(place, Removed())

    @property
    def files(self) -> int:
        """Files that were removed."""
        return sum(p.files for p in self.places.values())

    @property
    def bytes(self) -> int:
        """Bytes that were removed."""
        return sum(p.bytes for p in self.places.values())


def maintain(
    home: Home,
    now: datetime,
    retention: timedelta | None,
    live: Callable[[str], set[str]],
    dry_run: bool = False,
    remove: Callable[[Place, str], None] = lambda place, name: place.remove(name),
) -> Maintained:
    """Remove what nothing needs. Without a retention every version that was ever known is kept.

    `live` gives the fingerprints of a source's reports as they would be staged today: their staged
    files are kept even where no version of a table holds them, since they would be made again.
    """
    done = Maintained(dry_run)
    sweep = _Sweep(done, now, (lambda place, name: None) if dry_run else remove)
    live = cache(live)
    sweep.notes(home, live)
    for name in tables():
        table = home.table(name)
        if not table.exists():
            continue
        history = History(table)
        oldest = history.oldest_needed(now - retention if retention else None)
        needed = history.needed_files(oldest)
        for found in table.storage.found():
            if not found.name.startswith(f"{LOG}/"):
                file = table.named(found.name)
                kept = file is not None and (
                    file in needed
                    or (name in _STAGED and file.fingerprint in live(file.partition[0]))
                )
                sweep.file(name, table.storage, found, not kept and sweep.old(found))
        if not dry_run:
            history.checkpoint()
        log = table.storage.below(LOG)
        forgotten = set(History(table).forgettable(oldest))
        for found in log.found():
            sweep.file("log", log, found, found.name in forgotten)
    sweep.spool(home)
    return done


class _Sweep:
    """Counting and removing."""

    def __init__(
        self, done: Maintained, now: datetime, remove: Callable[[Place, str], None]
    ) -> None:
        self.done = done
        self.now = now
        self.remove = remove

    def old(self, found: Found) -> bool:
        """Whether a file has lain there for longer than any run takes."""
        return found.written < self.now - SAFE_AGE

    def file(self, name: str, place: Place, found: Found, unneeded: bool) -> None:
        """Count a file, and remove it where it is not needed."""
        self.done.at(name).count(found.size, unneeded)
        if unneeded:
            self.remove(place, found.name)

    def notes(self, home: Home, live: Callable[[str], set[str]]) -> None:
        """Notes on this machine of what would not be staged so today."""
        staged = Folder(home.staged)
        for found in staged.found():
            note = PurePosixPath(found.name)
            wanted = note.suffix == ".json" and note.stem in live(note.parent.name)
            self.file("staged", staged, found, not wanted and self.old(found))

    def spool(self, home: Home) -> None:
        """Files in the making on this machine that nobody makes any more."""
        spool = Folder(home.spool)
        made: dict[str, list[Found]] = defaultdict(list)
        for found in spool.found():
            made[PurePosixPath(found.name).parts[0]].append(found)
        for path in sorted(home.spool.iterdir()) if home.spool.is_dir() else ():
            since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if since < self.now - SAFE_AGE and all(self.old(f) for f in made[path.name]):
                for found in made[path.name]:
                    self.file("spool", spool, found, True)
                if path.is_dir() and not self.done.dry_run:
                    shutil.rmtree(path, ignore_errors=True)
