"""A place in an object store: a prefix of an S3, Google or Azure bucket, through obstore.

Uploads are whole objects, so a reader sees all of one or nothing. How a bucket is opened is in
`bucket.py`, how engines read its objects in `object_files.py`. Only loaded where a home lies in a
store.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any, BinaryIO, TypeVar, cast

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from finops_pipeline.durable import make_folder
from finops_pipeline.lake.bucket import Bucket
from finops_pipeline.lake.object_files import ObjectFiles, Ranges
from finops_pipeline.lake.place import Found

T = TypeVar("T")

_UPLOADS = 8  # at a time
_REMEMBERED = 100_000  # uploads
_KNOWN_FOR = 900  # seconds; later the store is asked, since files that no commit took are removed


class ObjectPlace:
    """A prefix of a bucket. The methods are those of `Place`."""

    shared = True

    def __init__(self, bucket: Bucket, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = prefix

    def below(self, name: str) -> ObjectPlace:
        """A place inside this one."""
        return ObjectPlace(self._bucket, self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".strip("/")

    def location(self, name: str = "") -> str:
        """The URI."""
        return f"{self._bucket.url}/{self._key(name)}"

    def publish(self, finished: Mapping[str, Path], lasting: bool = False) -> None:
        """Upload the files, several at a time; the local ones are gone afterwards."""
        with ThreadPoolExecutor(_UPLOADS) as threads:
            list(threads.map(self._upload, finished.values(), finished))

    def _upload(self, finished: Path, name: str) -> None:
        size = finished.stat().st_size
        with self._bucket.teaching():
            obstore.put(self._bucket.store, self._key(name), finished)
        self._remember(name, size)
        finished.unlink()

    def make(self, name: str, write: Callable[[Path], T]) -> T:
        """Let `write` make the file in the spool, and upload it."""
        make_folder(self._bucket.spool)
        folder = Path(mkdtemp(prefix="made-", dir=self._bucket.spool))
        unfinished = folder / PurePosixPath(name).name
        try:
            result = write(unfinished)
            self._upload(unfinished, name)
        finally:
            unfinished.unlink(missing_ok=True)
            folder.rmdir()
        return result

    def write(self, name: str, content: bytes) -> None:
        """Upload a small file."""
        with self._bucket.teaching():
            obstore.put(self._bucket.store, self._key(name), content)
        self._remember(name, len(content))

    def mark(self, name: str) -> None:
        """Upload an empty object."""
        self.write(name, b"")

    def create(self, name: str, content: bytes) -> bool:
        """Upload a small file unless one is there: the store decides, whoever else tries."""
        try:
            with self._bucket.teaching():
                obstore.put(self._bucket.store, self._key(name), content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def claim(self, name: str, lease: timedelta) -> bool:
        """Whether this process may do what is named so: the first may, or who finds it left.

        A claim older than `lease` is of a process that died; one of those who see it may take it.
        """
        content = os.urandom(16)  # a put that was repeated by the client is told from another's
        try:
            if self.create(name, content) or self.read(name) == content:
                return True
            found = self._head(name)
        except FileNotFoundError:  # given back between the two looks
            return False
        if datetime.now(UTC) - found["last_modified"] < lease:
            return False
        mode: Any = {k: found[k] for k in ("e_tag", "version") if found.get(k)}
        try:
            with self._bucket.teaching():
                obstore.put(
                    self._bucket.store, self._key(name), content, mode=mode, use_multipart=False
                )
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def release(self, name: str) -> None:
        """Remove the claim."""
        self.remove(name)

    def holds(self, name: str) -> bool:
        """Whether the object is there."""
        if self._uploaded(name) is not None:
            return True
        try:
            self._head(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes of the object. Raises FileNotFoundError."""
        known = self._uploaded(name)
        return int(self._head(name)["size"]) if known is None else known

    def _remember(self, name: str, size: int) -> None:
        if len(self._bucket.uploaded) > _REMEMBERED:
            self._bucket.uploaded.clear()
        self._bucket.uploaded[self._key(name)] = size, time.monotonic()

    def _uploaded(self, name: str) -> int | None:
        """Bytes of what this process put there a while ago, which saves asking for each file."""
        size, when = self._bucket.uploaded.get(self._key(name), (0, -math.inf))
        return size if time.monotonic() - when < _KNOWN_FOR else None

    def _head(self, name: str) -> Any:
        with self._bucket.teaching():
            return obstore.head(self._bucket.store, self._key(name))

    def names(self) -> list[str]:
        """The names below this place, in order."""
        return [f.name for f in self.found()]

    def found(self) -> list[Found]:
        """All objects below this place, in order."""
        with self._bucket.teaching():
            items = [
                item
                for batch in obstore.list(self._bucket.store, prefix=self._prefix or None)
                for item in batch
            ]
        below = ((i["path"].removeprefix(self._prefix).lstrip("/"), i) for i in items)
        found = [Found(name, i["size"], i["last_modified"]) for name, i in below]
        return sorted(found, key=lambda f: f.name)

    def remove(self, name: str) -> None:
        """Remove the object, if it is there."""
        with self._bucket.teaching():
            obstore.delete(self._bucket.store, self._key(name))
        self._bucket.uploaded.pop(self._key(name), None)

    def read(self, name: str) -> bytes:
        """All of a small file. Raises FileNotFoundError."""
        with self._bucket.teaching():
            return bytes(obstore.get(self._bucket.store, self._key(name)).bytes())

    def source(self, name: str) -> BinaryIO:
        """The object for reading at any position, by ranges. Raises FileNotFoundError."""
        return cast(BinaryIO, Ranges(self._bucket, self._key(name), self.size(name)))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A copy in the spool, removed afterwards. Raises FileNotFoundError."""
        make_folder(self._bucket.spool)
        folder = Path(mkdtemp(prefix="copy-", dir=self._bucket.spool))
        copy = folder / PurePosixPath(name).name
        try:
            with copy.open("wb") as file, self._bucket.teaching():
                for piece in obstore.get(self._bucket.store, self._key(name)).stream():
                    file.write(piece)
            yield copy
        finally:
            copy.unlink(missing_ok=True)
            folder.rmdir()

    def delta_options(self) -> dict[str, str]:
        """What the Delta library needs to know to reach this place."""
        return self._bucket.delta_options()

    def teaching(self) -> Any:
        """The Delta library's errors as ours."""
        return self._bucket.teaching()

    def filesystem(self) -> Any:
        """What DuckDB reads the locations through."""
        return ObjectFiles(self._bucket)
