"""A place in an object store: a prefix of an S3, Google or Azure bucket, through obstore.

Uploads are whole objects, so a reader sees all of one or nothing; a connection that breaks is
tried again with growing pauses by the client itself. Who may come in is decided by the usual
environment and profiles, never by finops.yaml. Only loaded where a home lies in a store.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
import obstore
from deltalake.exceptions import CommitFailedError, DeltaError
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from finops_pipeline.durable import make_folder
from finops_pipeline.lake.place import StoreFailing, StoreRefused

T = TypeVar("T")

_UPLOADS = 8  # at a time
_REMEMBERED = 100_000  # uploads
_KNOWN_FOR = 900  # seconds; later the store is asked, since files that no commit took are removed
_RETRIES: Any = {"max_retries": 10, "retry_timeout": timedelta(seconds=60)}
# What a store answers to whom it does not know or does not let in, and to a wrong bucket's name.
_REFUSALS = re.compile(
    r"NoSuchBucket|InvalidBucketName|InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|"
    r"InvalidToken|ExpiredToken|AuthorizationHeaderMalformed|ContainerNotFound|"
    r"AuthenticationFailed|AuthorizationFailure|AuthorizationPermissionMismatch|"
    r"40[13] (?:Unauthorized|Forbidden)|PermanentRedirect"
)
_STATUS = re.compile(r"\b[45]\d\d [A-Z][A-Za-z]+(?: [A-Z][A-Za-z]+)*")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class Bucket:
    """A bucket, or a prefix of one: what the places in it share."""

    def __init__(self, url: str, spool: Path) -> None:
        self.url = url.rstrip("/")
        self.spool = spool
        self._session = _aws_session(self.url) if self.url.startswith("s3://") else None
        with self.teaching():
            self.store = self._open()
        self.uploaded: dict[str, tuple[int, float]] = {}  # bytes, and when this process put them

    def _open(self) -> Any:
        options: Any = {"allow_http": _plain_http()}
        if self._session is None:
            return from_url(self.url, client_options=options, retry_config=_RETRIES)
        from obstore.auth.boto3 import Boto3CredentialProvider

        return from_url(
            self.url,
            config=cast(Any, _aws_config(self._session)),
            client_options=options,
            retry_config=_RETRIES,
            credential_provider=Boto3CredentialProvider(self._session),
        )

    def delta_options(self) -> dict[str, str]:
        """Where and as whom the Delta library comes in: by the same chain, asked each time."""
        options = {"allow_http": "true"} if _plain_http() else {}
        if self._session is None:
            return options
        found = self._session.get_credentials().get_frozen_credentials()
        options |= {f"aws_{k}": v for k, v in _aws_config(self._session).items()}
        options |= {
            "aws_access_key_id": found.access_key,
            "aws_secret_access_key": found.secret_key,
        }
        return options | ({"aws_session_token": found.token} if found.token else {})

    def check(self) -> None:
        """Ask for one name. Raises StoreRefused or StoreFailing, which say what to do."""
        with self.teaching():
            next(iter(obstore.list(self.store, chunk_size=1)), None)

    @contextmanager
    def teaching(self) -> Iterator[None]:
        """The errors of the libraries as ours, without what they quote of requests and answers."""
        try:
            yield
        except (CommitFailedError, AlreadyExistsError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                raise self._told(error) from None
            raise FileNotFoundError(f"{self.url}: no such object") from None
        except (BaseError, DeltaError, OSError) as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> StoreRefused | StoreFailing:
        text = str(error)
        status = _STATUS.search(text)
        said = " ".join([*(_CODE.findall(text)[:1]), *([status[0]] if status else [])])
        refusal = _REFUSALS.search(text)
        if refusal or isinstance(error, PermissionError):
            return StoreRefused(
                f"{self.url}: the store refuses: {said or 'no access'}. Is the bucket's name in "
                "`home:` right, does the bucket exist, and may these credentials list, read, write "
                "and delete in it? They come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, "
                "AWS_REGION, AWS_ENDPOINT_URL …) or the machine's own role; see docs/settings.md"
            )
        return StoreFailing(
            f"{self.url}: the store does not answer as it should: "
            f"{said or type(error).__name__ + ', no answer'}. It was tried again for a while. "
            "Nothing is lost: run again when it is reachable (AWS_ENDPOINT_URL says where it is)"
        )


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
        with self._bucket.teaching():
            obstore.delete(self._bucket.store, self._key(name))

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
        with self._bucket.teaching():
            found = [
                item["path"]
                for batch in obstore.list(self._bucket.store, prefix=self._prefix or None)
                for item in batch
            ]
        return sorted(path.removeprefix(self._prefix).lstrip("/") for path in found)

    def read(self, name: str) -> bytes:
        """All of a small file. Raises FileNotFoundError."""
        with self._bucket.teaching():
            return bytes(obstore.get(self._bucket.store, self._key(name)).bytes())

    def source(self, name: str) -> BinaryIO:
        """The object for reading at any position, by ranges. Raises FileNotFoundError."""
        return cast(BinaryIO, _Ranges(self._bucket, self._key(name), self.size(name)))

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


class _Ranges(io.RawIOBase):
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
        return cast(BinaryIO, _Ranges(self._bucket, self._key(path), self._found(path)["size"]))

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


def _plain_http() -> bool:
    return (_endpoint() or "").startswith("http://")


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _aws_session(url: str) -> Any:
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session()
        found = session.get_credentials()
    except BotoCoreError as error:
        raise StoreRefused(f"{url}: {error}") from None
    if found is None:
        raise StoreRefused(
            f"{url}: no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or run where the machine has a role of its own"
        )
    return session


def _aws_config(session: Any) -> dict[str, str]:
    region = session.region_name or "us-east-1"
    endpoint = _endpoint()
    return {"region": region} | ({"endpoint": endpoint} if endpoint else {})
