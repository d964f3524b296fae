"""The raw archive: every report byte for byte as it was delivered.

A report's place is made of its source, delivery day, identity and name, so keeping the same
report again is harmless and two contents never share a place.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from finops_pipeline.lake.place import Place


class Archive:
    """Reports as delivered, in a folder or in an object store."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def keep(self, fetched: Path, source: str, day: str, identity: str, name: str) -> str:
        """Move a fetched file into the archive; returns its place below the archive.

        A reader sees all of the report or nothing.
        """
        place = PurePosixPath(source, day, identity[:16], PurePosixPath(name).name).as_posix()
        self._place.publish({place: fetched}, lasting=True)
        return place

    def local(self, place: str) -> AbstractContextManager[Path]:
        """A report as a file on this machine, for reading, for a while. Raises FileNotFoundError.

        In a folder it is the archived file itself, which may be missing only when it is opened.
        """
        return self._place.local(place)
