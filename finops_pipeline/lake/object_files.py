"""The objects of a bucket as files that DuckDB and PyArrow read by ranges."""

from __future__ import annotations

import io
import os
import threading
from datetime import datetime
from typing import Any, BinaryIO, cast

import fsspec
import obstore

from finops_pipeline.lake.bucket import Bucket


class Ranges(io.RawIOBase):
    """An object read by ranges.

    Threads may share it, each with a position of its own: DuckDB seeks and then reads, and
    another thread may come in between.
    """

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        super().__init__()
        self._bucket, self._key, self._size = bucket, key, size
        self._at = threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(getattr(self._at, "position", 0))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}[whence]
        self._at.position = start + offset
        return self.tell()

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        end = self._size if size is None or size < 0 else min(self._size, start + size)
        if end <= start:
            return b""
        with self._bucket.teaching():
            found = obstore.get_range(self._bucket.store, self._key, start=start, end=end)
        self._at.position = end
        return bytes(found)


class ObjectFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The files of a bucket as DuckDB asks for them: named one by one, read only.

    DuckDB's own extension for object stores is downloaded at run time, which fails where there is
    no internet. obstore's own file system cannot be used: threads that share one of its files get
    each other's bytes.
    """

    cachable = False

    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self._bucket = bucket
        self.protocol = bucket.url.partition("://")[0]
        self._heads: dict[str, Any] = {}  # an object of the lake is never another one

    def _key(self, path: str) -> str:
        _, _, inside = self._bucket.url.partition("://")
        return path.removeprefix(f"{self.protocol}://").removeprefix(inside).strip("/")

    def _found(self, path: str) -> Any:
        key = self._key(path)
        if key not in self._heads:
            with self._bucket.teaching():
                self._heads[key] = obstore.head(self._bucket.store, key)
        return self._heads[key]

    def open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        """An object; the first time one request for its size."""
        return cast(BinaryIO, Ranges(self._bucket, self._key(path), self._found(path)["size"]))

    def size(self, path: str) -> int:
        """Bytes of the object."""
        return int(self._found(path)["size"])

    def modified(self, path: str) -> datetime:
        """When the object was written."""
        written: datetime = self._found(path)["last_modified"]
        return written

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: a name in the lake is never a pattern."""
        return [path]

    def exists(self, path: str, **_: Any) -> bool:
        """True: what is named is in the Delta log."""
        return True
