"""Where files of a home lie: whole files by name, in a folder or in an object store.

A name is a relative path with `/`. A file appears whole or not at all, and one that is replaced
is replaced in one step. Which files there are and what they mean is their users' to say; the
object store is in `objects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from finops_pipeline.durable import make_folder, publish, sync_folder, write_whole

T = TypeVar("T")


class Place(Protocol):
    """A folder on this machine, or a prefix of an object store."""

    def below(self, name: str) -> Place:
        """A place inside this one."""

    def location(self, name: str = "") -> str:
        """The file, or the place itself, as an engine reads it: a local path or a URI."""

    def publish(self, finished: Path, name: str, lasting: bool = False) -> None:
        """Give a finished local file its place; the local one is gone afterwards.

        A `lasting` one is found there again after a power cut. Another may be lost as if it had
        never been placed, and is asked for with `holds`.
        """

    def make(self, name: str, write: Callable[[Path], T]) -> T:
        """Let `write` make a local file, and give it its place; returns what `write` returns."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""

    def holds(self, name: str) -> bool:
        """Whether the file is there."""

    def size(self, name: str) -> int:
        """Bytes of the file. Raises FileNotFoundError."""

    def open(self, name: str) -> BinaryIO:
        """The file for reading at any position. Raises FileNotFoundError."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The file as one on this machine's disk, for a while. Raises FileNotFoundError."""

    def delta_options(self) -> dict[str, str]:
        """What the Delta library needs to know to reach this place."""

    def filesystem(self) -> Any:
        """What an engine reads the locations through; None where it reads them by itself."""


class Folder:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def below(self, name: str) -> Folder:
        """A folder inside this one."""
        return Folder(self.path / name)

    def location(self, name: str = "") -> str:
        """The path."""
        return str(self.path / name)

    def publish(self, finished: Path, name: str, lasting: bool = False) -> None:
        """Rename the file; both must be in one file system."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        publish(finished, target)
        if lasting:
            sync_folder(target.parent)

    def make(self, name: str, write: Callable[[Path], T]) -> T:
        """Let `write` write the file where it belongs: it sees to it that it appears whole."""
        return write(self.path / name)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, on the disk when this returns."""
        target = self.path / name
        make_folder(target.parent)
        write_whole(target, content)

    def holds(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.path / name).exists()

    def size(self, name: str) -> int:
        """Bytes of the file. Raises FileNotFoundError."""
        return (self.path / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        """The file for reading at any position. Raises FileNotFoundError."""
        return (self.path / name).open("rb")

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file itself, there or not."""
        yield self.path / name

    def delta_options(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def filesystem(self) -> None:
        """None: engines read files."""
