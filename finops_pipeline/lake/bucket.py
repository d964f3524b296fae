"""A bucket of an object store: how it is opened, who comes in, and what its errors mean to people.

Who may come in is decided by the usual environment and profiles, never by finops.yaml. A
connection that breaks is tried again with growing pauses by the client itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import obstore
from deltalake.exceptions import CommitFailedError, DeltaError
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from finops_pipeline.lake.place import StoreFailing, StoreRefused

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
