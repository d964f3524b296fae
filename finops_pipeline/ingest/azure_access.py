"""Who asks Azure, how long it is asked again, and what its refusals mean: for Blob and Query alike.

The identity is what `DefaultAzureCredential` finds: environment, workload or managed identity, the
Azure CLI. No message from here quotes a token, a key or a signature. What a person must do about a
refusal is told in `azure_roles.py`.

Sources of the rules: Microsoft, "Status and error codes" of Azure Storage, "Throttling" of Cost
Management, "AADSTS error codes" of Entra ID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceModifiedError,
    ServiceRequestError,
)
from azure.core.pipeline.policies import RetryPolicy
from azure.identity import DefaultAzureCredential

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    ReportChanged,
)

MANAGEMENT = "https://management.azure.com"
ATTEMPTS = 8  # with growing pauses: some ten minutes
LONGEST_WAIT = 600.0  # seconds; a service that asks for more is left alone until the next run
TIMEOUTS: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 60}

_LOOPBACK = ("127.0.0.1", "localhost")
_THROTTLED = 429
_ENTRA_CODE = re.compile(r"AADSTS\d+")
_RETRY_AFTER = re.compile(r"(?i)^(x-ms-ratelimit-.*-)?retry-after$")
# What ends without a person: the rest of Entra's many codes is for its own documentation.
_ENTRA_CODES = {
    "AADSTS7000222": "the client secret has run out: `az ad app credential reset` makes another",
    "AADSTS7000215": "AZURE_CLIENT_SECRET is wrong: it is the value of the secret, not its id",
    "AADSTS700016": "there is no such application in this tenant: look at AZURE_CLIENT_ID and "
    "AZURE_TENANT_ID",
    "AADSTS90002": "there is no such tenant: look at AZURE_TENANT_ID",
    "AADSTS700082": "the sign-in has run out: `az login` again",
    "AADSTS50173": "the sign-in was revoked: `az login` again",
    "AADSTS700027": "the client certificate is not (or no longer) one of the application",
}


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint is on this machine: a test's server, never Azure."""
    return urlsplit(endpoint).hostname in _LOOPBACK


def endpoint_of(source: Source, usual: str) -> str:
    """Where the source's service is asked. Raises IngestError for an endpoint in the clear."""
    endpoint = (source.endpoint or usual).rstrip("/")
    if urlsplit(endpoint).scheme != "https" and not is_loopback(endpoint):
        raise IngestError(
            f"{source.name}: endpoint {endpoint!r} must be https: bills and tokens do not travel "
            "in the clear. Plain http is for loopback only."
        )
    return endpoint


def token_credential() -> DefaultAzureCredential:
    """The identity of whoever runs this, asked for tokens only when one is needed."""
    return DefaultAzureCredential()


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a service asks to wait: the longest of all its `retry-after` headers.

    Cost Management has one for each of its limits, such as
    `x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after`.
    """
    waits = [_seconds(value) for name, value in headers.items() if _RETRY_AFTER.match(name)]
    return max(waits, default=0.0)


def _seconds(value: str) -> float:
    """A number of seconds, or the time until a date."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value) - datetime.now(UTC)
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, until.total_seconds())


class ServiceRetry(RetryPolicy[Any, Any]):
    """The retries of azure-core, for requests that only read though they are sent by POST.

    Waits as long as any `retry-after` header of the answer says, gives up at once where that is
    more than `LONGEST_WAIT`.
    """

    def __init__(self, attempts: int = ATTEMPTS, backoff: float = 0.8) -> None:
        super().__init__(
            retry_total=attempts,
            retry_connect=attempts,
            retry_read=attempts,
            retry_status=attempts,
            retry_backoff_factor=backoff,
        )
        self._method_whitelist = frozenset({"GET", "POST"})

    def get_retry_after(self, response: Any) -> float | None:
        return retry_after(response.http_response.headers) or None

    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        if retry_after(response.http_response.headers) > LONGEST_WAIT:
            return False
        return bool(super().is_retry(settings, response))


@contextmanager
def explained(source_name: str, place: str, endpoint: str, what: str) -> Iterator[None]:
    """Failures of the Azure libraries as IngestError.

    `place` is what messages call the thing that is asked, `what` says what it was asked for.
    """
    try:
        yield
    except ResourceModifiedError as error:
        raise _changed(source_name, place, what, error) from error
    except HttpResponseError as error:
        if isinstance(error, ClientAuthenticationError) and not _is_of(endpoint, error):
            raise _no_token(source_name, place, what, error) from None
        if error.response is None:  # a body that broke off too often
            raise _silent(source_name, endpoint, what, error) from None
        raise _answered(source_name, place, what, error) from None
    except (AzureError, OSError) as error:
        raise _silent(source_name, endpoint, what, error) from None


def _is_of(endpoint: str, error: HttpResponseError) -> bool:
    """Whether the service itself answered, and not the one that gives tokens."""
    response: Any = error.response
    return response is not None and str(response.request.url).startswith(endpoint)


def _silent(source_name: str, endpoint: str, what: str, error: Exception) -> LocationUnavailable:
    return LocationUnavailable(
        f"{source_name}: {endpoint} does not answer as it should ({what}): {_plain(error)}. It was "
        "tried again for a while. Check the location, DNS, proxy and firewall; `finops doctor` "
        "looks at each."
    )


def _answered(source_name: str, place: str, what: str, error: HttpResponseError) -> IngestError:
    response: Any = error.response
    status, code, message = response.status_code, _code(error), _message(error)
    request = response.headers.get("x-ms-request-id", "none")
    said = f"{source_name}: {place} answered {status} {code} ({what}): {message} [{request}]."
    if status == 412 or code == "BlobNotFound":
        return _changed(source_name, place, what, error)
    if status == _THROTTLED or status >= 500:
        wait = retry_after(response.headers)
        asked = f" It asks to wait {wait:.0f} seconds." if wait else ""
        return LocationUnavailable(f"{said} It stayed so through all retries.{asked} Run later.")
    return AccessRefused(said, status=status, code=code, service_time=_service_time(response))


def _changed(source_name: str, place: str, what: str, error: HttpResponseError) -> ReportChanged:
    return ReportChanged(
        f"{source_name}: {place} no longer has {what} as it was listed ({_code(error)}): it was "
        "rewritten or removed meanwhile. Run again: the new listing has it as it is now."
    )


def _no_token(source_name: str, place: str, what: str, error: AzureError) -> CredentialsError:
    """No identity gave a token. The text of the libraries names accounts, and is not passed on."""
    found = _ENTRA_CODE.search(str(error))
    known = _ENTRA_CODES.get(found[0]) if found else None
    if known is not None and found is not None:
        said = f"{found[0]}: {known}"
    elif found is not None:
        said = f"Entra ID answers {found[0]}, see its list of error codes"
    else:
        said = (
            "none of environment, workload identity, managed identity and Azure CLI gives a "
            "token: `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
        )
    return CredentialsError(
        f"{source_name}: no credentials for {place} ({what}): {said}. `finops doctor` looks at "
        "them."
    )


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or getattr(error.error, "code", None)
    if code is None and error.response is not None:
        response: Any = error.response
        code = response.headers.get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")


def _message(error: HttpResponseError) -> str:
    """The service's own sentence: without the lines that it adds about the signature."""
    said = getattr(error.error, "message", None) or error.message or error.reason or ""
    return str(said).splitlines()[0].strip() if said else ""


def _service_time(response: Any) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None


def _plain(error: BaseException) -> str:
    kind = "no connection" if isinstance(error, ServiceRequestError) else type(error).__name__
    return f"{kind}: {str(error).splitlines()[0][:200] if str(error) else 'no details'}"
