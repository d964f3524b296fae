"""Where files of a home lie: whole files by name, in a folder or in an object store.

A name is a relative path with `/`. A file appears whole or not at all, and one that is replaced
is replaced in one step. Which files there are and what they mean is their users' to say; the
object store is in `objects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from finops_pipeline.durable import make_folder, publish, sync_folder, write_whole

T = TypeVar("T")


class StoreRefused(Exception):
    """The home's store lets nobody in: a wrong bucket or credentials. The message says the cure."""


class StoreFailing(Exception):
    """The home's store cannot be reached, or fails again and again. The message says what to do."""


class LakeDamaged(Exception):
    """A file of the lake is not what its log says. The message names it and says what to do."""


@dataclass(frozen=True)
class Found:
    """A file as it lies there: its name, its bytes, and when it was written."""

    name: str
    size: int
    written: datetime


class Place(Protocol):
    """A folder on this machine, or a prefix of an object store.

    `shared` says whether other machines may write there at the same time.
    """

    shared: bool

    def below(self, name: str) -> Place:
        """A place inside this one."""

    def location(self, name: str = "") -> str:
        """The file, or the place itself, as an engine reads it: a local path or a URI."""

    def publish(self, finished: Mapping[str, Path], lasting: bool = False) -> None:
        """Give finished local files their places by name; the local ones are gone afterwards.

        `lasting` ones are found there again after a power cut. Others may be lost as if they had
        never been placed, and are asked for with `holds`.
        """

    def make(self, name: str, write: Callable[[Path], T]) -> T:
        """Let `write` make a local file, and give it its place; returns what `write` returns."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless one is there; returns whether it was written."""

    def mark(self, name: str) -> None:
        """Write an empty file that lasts."""

    def claim(self, name: str, lease: timedelta) -> bool:
        """Whether this process, of all that share the place, may now do what is named so.

        The claim is given back with `release`; older than `lease`, another may take it.
        """

    def release(self, name: str) -> None:
        """Give a claim back."""

    def holds(self, name: str) -> bool:
        """Whether the file is there."""

    def names(self) -> list[str]:
        """The names of the files below this place, in order."""

    def found(self) -> list[Found]:
        """All that lies below this place, in order: unfinished files too."""

    def remove(self, name: str) -> None:
        """Remove the file, if it is there."""

    def read(self, name: str) -> bytes:
        """All of a small file. Raises FileNotFoundError."""

    def size(self, name: str) -> int:
        """Bytes of the file. Raises FileNotFoundError."""

    def source(self, name: str) -> Any:
        """What PyArrow reads the file from, at any position. Raises FileNotFoundError."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The file as one on this machine's disk, for a while. Raises FileNotFoundError."""

    def delta_options(self) -> dict[str, str]:
        """What the Delta library needs to know to reach this place."""

    def teaching(self) -> AbstractContextManager[None]:
        """The Delta library's errors about this place as StoreRefused and StoreFailing."""

    def filesystem(self) -> Any:
        """What an engine reads the locations through; None where it reads them by itself."""


class Folder:
    """A folder on this machine."""

    shared = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def below(self, name: str) -> Folder:
        """A folder inside this one."""
        return Folder(self.path / name)

    def location(self, name: str = "") -> str:
        """The path."""
        return str(self.path) if not name else f"{self.path}/{name}"

    def publish(self, finished: Mapping[str, Path], lasting: bool = False) -> None:
        """Rename the files; old and new place must be in one file system."""
        for name, path in finished.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            publish(path, target)
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

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless one is there; the caller holds a lock."""
        if self.holds(name):
            return False
        self.write(name, content)
        return True

    def mark(self, name: str) -> None:
        """Make an empty file, its name on the disk when this returns."""
        target = self.path / name
        make_folder(target.parent)
        target.touch()
        sync_folder(target.parent)

    def claim(self, name: str, lease: timedelta) -> bool:
        """Yes: a lock on this machine's disk is all that is needed, and the caller holds it."""
        return True

    def release(self, name: str) -> None:
        """Nothing: the lock is the caller's."""

    def names(self) -> list[str]:
        """The names of the files below this folder, in order; hidden ones are not told."""
        found = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
        return sorted(p.as_posix() for p in found if not p.name.startswith("."))

    def found(self) -> list[Found]:
        """All that lies below this folder, in order: hidden ones too."""
        paths = ((p.relative_to(self.path).as_posix(), p) for p in self.path.rglob("*"))
        told = [(name, p.stat()) for name, p in sorted(paths) if p.is_file()]
        return [Found(n, s.st_size, datetime.fromtimestamp(s.st_mtime, UTC)) for n, s in told]

    def remove(self, name: str) -> None:
        """Remove the file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """All of a small file. Raises FileNotFoundError."""
        return (self.path / name).read_bytes()

    def holds(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.path / name).exists()

    def size(self, name: str) -> int:
        """Bytes of the file. Raises FileNotFoundError."""
        return (self.path / name).stat().st_size

    def source(self, name: str) -> str:
        """The path."""
        return str(self.path / name)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file itself, there or not."""
        yield self.path / name

    def delta_options(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def teaching(self) -> AbstractContextManager[None]:
        """As they are: they name the file."""
        return nullcontext()

    def filesystem(self) -> None:
        """None: engines read files."""
