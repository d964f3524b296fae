"""Google Cloud's services called with the credentials of a source, retried, their faults explained.

Who asks: the key or configuration file that the source names (`credentials_file`), else the
Application Default Credentials. No message from here quotes a key, a token or such a file.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.auth
import requests
import urllib3
from google.api_core import exceptions as answers
from google.api_core.retry import Retry
from google.auth import credentials as auth_credentials
from google.auth import exceptions as auth

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    ReportChanged,
)

T = TypeVar("T")

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_EMULATORS = ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")  # as Google's clients know them
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_BUSY = (408, 429, 500, 502, 503, 504)
_BUSY_REASONS = ("rateLimitExceeded", "backendError", "internalError")
_CUT_OFF = (
    ConnectionError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
    auth.TransportError,
)
_LONGEST_WAIT = 300.0  # seconds that a service's Retry-After is obeyed


@dataclass(frozen=True)
class Waits:
    """How patiently a service is asked: seconds before the second try and at most, and in all.

    Between tries it is waited for a random part of a time that doubles, and for the Retry-After of
    the answer before that.
    """

    first: float = 1.0
    longest: float = 60.0
    altogether: float = 600.0


class GcpService:
    """How one place is asked. `place` is what messages call it."""

    def __init__(self, source: Source, place: str, waits: Waits) -> None:
        self.source_name = source.name
        self.place = place
        self.retry = Retry(
            predicate=_is_passing,
            initial=waits.first,
            maximum=waits.longest,
            timeout=waits.altogether,
            on_error=_obey,
        )

    def explained(self, what: str, call: Callable[[], T]) -> T:
        """What `call` gives; its failures as IngestError. `what` says what it does."""
        try:
            return call()
        except answers.RetryError as error:
            raise self._unavailable(what, error.cause or error) from error
        except auth.TransportError as error:
            raise self._unavailable(what, error) from error
        except (auth.RefreshError, auth.DefaultCredentialsError) as error:
            raise CredentialsError(
                f"{self.source_name}: the credentials for {self.place} have expired or were "
                f"withdrawn ({what}: {type(error).__name__}). {RENEW}"
            ) from None
        except answers.GoogleAPICallError as error:
            raise self._refused(what, error) from error
        except _CUT_OFF as error:
            raise self._unavailable(what, error) from error

    def pages(self, what: str, iterator: Any) -> Iterator[Any]:
        """The pages of a client's iterator."""
        pages = iterator.pages
        while (page := self.explained(what, lambda: next(pages, None))) is not None:
            yield page

    def _unavailable(self, what: str, error: BaseException) -> LocationUnavailable:
        return LocationUnavailable(
            f"{self.source_name}: {self.place} does not answer as it should ({what}): "
            f"{_said(error)}. It stayed so through all retries. Run again later; if it stays, look "
            "at proxy and firewall."
        )

    def _refused(self, what: str, error: Any) -> IngestError:
        status = int(error.code or 0)
        said = f"{self.source_name}: {self.place} answered {status} ({what}): {_said(error)}."
        if status == 401:
            return CredentialsError(f"{said} The credentials were not accepted. {RENEW}")
        if status in _BUSY:
            return LocationUnavailable(f"{said} It stayed so through all retries. Run again later.")
        return AccessRefused(said, status=status, code=reason_of(error))


RENEW = (
    "Renew them: `gcloud auth application-default login`, or name a valid key or workload identity "
    "configuration with `credentials_file` of the source. `finops doctor` looks at them."
)


def credentials_of(source: Source, place: str) -> tuple[Any, str | None]:
    """The source's credentials, and the project that they belong to if they say so.

    A plain `http:` endpoint is an emulator's, as is one that Google's own variables name. It gets
    credentials only if they are named, and a plain one on this machine only.

    Raises CredentialsError.
    """
    endpoint = urlsplit(source.endpoint or "https:")
    plain = endpoint.scheme == "http"
    if source.credentials_file is None and (plain or any(map(os.environ.get, _EMULATORS))):
        anonymous: Any = auth_credentials.AnonymousCredentials
        return anonymous(), None
    if plain and endpoint.hostname not in _LOOPBACK:
        raise CredentialsError(
            f"{source.name}: credentials are not sent to {source.endpoint} unencrypted. Use "
            "https:, or leave `credentials_file` out for an emulator."
        )
    try:
        if source.credentials_file is None:
            found = google.auth.default(scopes=SCOPES)
        else:
            found = _from_file(source.credentials_file)
    except auth.DefaultCredentialsError:
        where = source.credentials_file or "the Application Default Credentials"
        raise CredentialsError(
            f"{source.name}: no credentials for {place} in {where}. {RENEW}"
        ) from None
    return found[0], found[1]


def _from_file(path: Path) -> tuple[Any, str | None]:
    load: Any = google.auth.load_credentials_from_file
    with warnings.catch_warnings():
        # It warns of files that others give: this one is named by who runs the pipeline.
        warnings.simplefilter("ignore", DeprecationWarning)
        found: tuple[Any, str | None] = load(str(path), scopes=SCOPES)
    return found


def member_of(credentials: Any) -> str:
    """Who asks, as IAM calls it; a placeholder where the credentials do not say."""
    email = getattr(credentials, "service_account_email", None)
    if email and email != "default":
        return f"serviceAccount:{email}"
    account = getattr(credentials, "account", None)
    return f"user:{account}" if account else "user:<who runs finops>"


def reason_of(error: Any) -> str:
    """The service's own word for a refusal, such as `accessDenied`; empty where it has none."""
    return str(_first(error).get("reason", ""))


def changed(source_name: str, name: str, etag: str) -> ReportChanged:
    """What is raised for a report that is no longer the one listed."""
    return ReportChanged(
        f"{source_name}: {name} was rewritten or removed after it was listed (expected {etag}). "
        "Run again: the new listing has it as it is now."
    )


def _is_passing(error: BaseException) -> bool:
    """Whether asking again may help: throttling, a fault of the service, a broken connection."""
    if isinstance(error, _CUT_OFF):
        return True
    # What the client for bodies raises has no code of its own.
    response = getattr(error, "response", None)
    status = getattr(error, "code", None) or getattr(response, "status_code", None)
    return status in _BUSY or reason_of(error) in _BUSY_REASONS


def _obey(error: BaseException) -> None:
    """Wait as long as the service asks for."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    if (asked := _seconds(headers.get("Retry-After"))) > 0:
        time.sleep(min(asked, _LONGEST_WAIT))


def _seconds(text: str | None) -> float:
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _first(error: Any) -> dict[str, Any]:
    """The first of the errors that a service lists; empty where it lists none."""
    listed = [e for e in getattr(error, "errors", None) or () if isinstance(e, dict)]
    return listed[0] if listed else {}


def _said(error: BaseException) -> str:
    """An error's own words, on one line."""
    text = (
        _first(error).get("message")
        or getattr(error, "message", None)
        or str(error)
        or type(error).__name__
    )
    return " ".join(str(text).split())[:500]
