"""The raw archive: every report byte for byte as it was delivered.

A report's place is made of its source, delivery day, identity and name, so keeping the same
report again is harmless and two contents never share a place.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from finops_pipeline.durable import sync_folder


class Archive:
    """A folder of reports as delivered."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep(self, fetched: Path, source: str, day: str, identity: str, name: str) -> str:
        """Move a fetched file into the archive; returns its place below the archive's folder.

        The move is one rename in one file system, so a reader sees all of the report or nothing.
        """
        place = PurePosixPath(source, day, identity[:16], PurePosixPath(name).name)
        target = self.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(target)
        sync_folder(target.parent)
        return place.as_posix()

    def path(self, place: str) -> Path:
        """Where a report lies."""
        return self.root / place
