"""Reports in OCI Object Storage, read with the `oci` SDK: credentials, listing, bodies.

Oracle writes a tenancy's reports to a bucket of its own: namespace `bling`, the bucket named by
the tenancy's OCID, in the tenancy's home region. Retries, back-off and the circuit breaker are
the SDK's. What to do about a refusal is told in `diagnosis.py`; whether a body is the right one
is checked in `fetch.py`.

No message from here quotes a configuration file, a key, a token or a passphrase. The SDK and
configparser do quote what they cannot parse, so their texts are replaced, never passed on.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import oci
import urllib3
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.exceptions import PyJWTError

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    PREFIXES,
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
    ReportDamaged,
    is_report,
)

DEFAULT_TIMEOUT = (10.0, 60.0)  # Seconds to connect, seconds without a byte.
_PIECE = 1 << 20
_FIELDS = "name,size,etag,md5,timeCreated,timeModified"
_NETWORK_ERRORS = (oci.exceptions.RequestException, oci.exceptions.ConnectTimeout, ConnectionError)
_LOOPBACK = ("127.0.0.1", "localhost")
# Off an OCI instance nothing answers, and the SDK would try for minutes to find that out.
_METADATA_RETRY = oci.retry.RetryStrategyBuilder(
    max_attempts=2, total_elapsed_time_seconds=15
).get_retry_strategy()


class OciLocation:
    """The bucket that an `oci://<namespace>/<bucket>` location names.

    `retry` is an SDK retry strategy: by default eight attempts within ten minutes, for throttling
    (429), 5xx, timeouts and broken connections, with exponential back-off and jitter.
    """

    def __init__(
        self,
        source: Source,
        *,
        retry: Any = oci.retry.DEFAULT_RETRY_STRATEGY,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
    ) -> None:
        self.source_name = source.name
        self.namespace, self.bucket = bucket_of(source)
        self._place = source.location
        self._prefixes = PREFIXES[source.format]
        self._retry = retry
        self._client = _client(source, retry, timeout)
        self.endpoint: str = self._client.base_client.update_endpoint_template_for_options()

    def reports(self) -> Iterator[RemoteReport]:
        """All reports of the source's format, page after page, in name order."""
        for prefix in self._prefixes:
            yield from self._below(prefix)

    def service_time(self) -> datetime | None:
        """The service's clock, from listing one object: which needs the right to list."""
        response = self._call("listing", self._client.list_objects, limit=1)
        return _service_time(response.headers)

    def first_byte(self, report: RemoteReport) -> None:
        """Read one byte, which needs the right to read. Raises as `stream` does."""
        self._call(
            report.name, self._client.get_object, report.name, range="bytes=0-0"
        ).data.close()

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The object's bytes; a body that is cut off goes on where it broke."""
        body = _Body(lambda offset: self._open(report, offset), report.size)
        try:
            yield self._pieces(body, report)
        finally:
            body.close()

    def _below(self, prefix: str) -> Iterator[RemoteReport]:
        start: str | None = None
        while True:
            page = self._call(
                f"listing {prefix!r}",
                self._client.list_objects,
                prefix=prefix,
                start=start,
                fields=_FIELDS,
                limit=1000,
            ).data
            if page.objects is None:
                raise LocationUnavailable(
                    f"{self.source_name}: {self.endpoint} answers, but not as Object Storage does "
                    f"(listing {prefix!r}). Check the endpoint, and what a proxy puts in between."
                )
            yield from (self._report(found) for found in page.objects if is_report(found.name))
            if not page.next_start_with:
                return
            if start is not None and page.next_start_with <= start:
                raise LocationUnavailable(
                    f"{self.source_name}: {self._place} lists {prefix!r} in circles: the page "
                    f"after {start!r} is to start with {page.next_start_with!r}. Look at what "
                    "answers in the place of OCI."
                )
            start = page.next_start_with

    def _report(self, found: Any) -> RemoteReport:
        # An object that is written anew keeps its timeCreated. Its content was delivered when it
        # was last written; by timeCreated a restatement would seem known before it was.
        delivered = found.time_modified or found.time_created
        if delivered is None or found.size is None or not found.etag:
            raise IngestError(
                f"{self.source_name}: {self._place} lists {found.name} without size, etag or "
                f"time, though asked for {_FIELDS}. Only OCI's own Object Storage API will do."
            )
        return RemoteReport(
            name=found.name,
            etag=found.etag,
            size=found.size,
            md5=found.md5,
            delivered_at=delivered.astimezone(UTC),
        )

    def _pieces(self, body: _Body, report: RemoteReport) -> Iterator[bytes]:
        # One strategy governs opening and reading: a broken body is retried as a broken
        # connection is, and every piece that arrives earns a new set of attempts.
        while piece := self._explained(report.name, body.next_piece):
            yield piece

    def _open(self, report: RemoteReport, offset: int) -> Any:
        response = self._client.get_object(
            self.namespace,
            self.bucket,
            report.name,
            if_match=report.etag,
            range=f"bytes={offset}-" if offset else None,
            retry_strategy=oci.retry.NoneRetryStrategy(),
        )
        if offset and response.status != 206:
            response.data.close()
            raise ReportDamaged(
                f"{self.source_name}: {report.name} broke off after {offset} of {report.size} "
                "bytes, and what answers at the endpoint cannot go on from there (expected 206, "
                f"got {response.status}). Run again, or take the proxy out of the way."
            )
        return response.data

    def _call(self, what: str, operation: Callable[..., Any], *name: str, **options: Any) -> Any:
        return self._explained(
            what,
            lambda: operation(
                self.namespace,
                self.bucket,
                *name,
                retry_strategy=oci.retry.NoneRetryStrategy(),
                **options,
            ),
        )

    def _explained(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return self._retry.make_retrying_call(call)
        except oci.exceptions.ServiceError as error:
            raise self._service_error(what, error) from error
        except oci.retry.retry_checkers.CircuitBreakerError as error:
            raise LocationUnavailable(
                f"{self.source_name}: {self._place} failed so often in a row that it is left "
                f"alone for half a minute ({what}). Run again later."
            ) from error
        except _NETWORK_ERRORS as error:
            raise LocationUnavailable(
                f"{self.source_name}: {self.endpoint} does not answer as it "
                f"should ({what}): {_plain(error)}. Check region, endpoint, proxy and firewall; "
                "`finops doctor` looks at each."
            ) from error
        except (OSError, PyJWTError, oci.exceptions.ClientError) as error:
            # After a 401 the SDK reads the token and key of a principal anew.
            raise CredentialsError(
                f"{self.source_name}: the credentials of {self._place} were refused and cannot be "
                f"renewed ({type(error).__name__}, {what}). `finops doctor` looks at them."
            ) from None

    def _service_error(self, what: str, error: Any) -> IngestError:
        said = (
            f"{self.source_name}: {self._place} answered {error.status} {error.code or ''} "
            f"({what}): {error.message} [opc-request-id {error.request_id}]."
        )
        if error.status == 412 or error.code == "ObjectNotFound":
            return ReportChanged(
                f"{said} The report was rewritten or removed after it was listed. Run again: the "
                "new listing has it as it is now."
            )
        if error.status == 429 or error.status >= 500:
            return LocationUnavailable(f"{said} It stayed so through all retries. Run again later.")
        return AccessRefused(
            said,
            status=error.status,
            code=error.code or "",
            service_time=_service_time(error.headers),
        )


class _CutOffError(ConnectionError):
    """A body ended too early. A ConnectionError, because those the SDK's strategies retry."""


class _Body:
    """The bytes of one version of an object, opened again from where a connection broke."""

    def __init__(self, open_at: Callable[[int], Any], size: int) -> None:
        self._open_at = open_at
        self._size = size
        self._offset = 0
        self._response: Any = None

    def next_piece(self) -> bytes:
        """Up to a mebibyte; empty at the end. Raises ConnectionError if the body is cut off."""
        if self._response is None:
            self._response = self._open_at(self._offset)
        try:
            # Not decoded: a `Content-Encoding: gzip` would give other bytes than those stored.
            piece: bytes = self._response.raw.read(_PIECE, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._cut_off(type(error).__name__) from error
        if not piece and self._offset < self._size:
            raise self._cut_off("end of body")
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _cut_off(self, how: str) -> _CutOffError:
        self.close()
        return _CutOffError(f"body cut off after {self._offset} of {self._size} bytes ({how})")


def bucket_of(source: Source) -> tuple[str, str]:
    """Namespace and bucket of an `oci://` location. Raises IngestError for any other form."""
    parts = source.location.removeprefix("oci://").split("/")
    if len(parts) != 2 or not all(parts):
        raise IngestError(
            f"{source.name}: location {source.location!r} must be oci://<namespace>/<bucket>. "
            "Oracle delivers to oci://bling/<OCID of the tenancy>."
        )
    return parts[0], parts[1]


def credentials(source: Source) -> tuple[dict[str, Any], Any]:
    """SDK configuration and signer for the source's `auth`. Raises CredentialsError."""
    if source.auth == "config_file":
        config = profile(source)
        return config, _signer_of(source, config)
    if source.auth == "security_token":
        config = profile(source)
        token = session_token(source, config)
        key = private_key(source, config)
        return config, oci.auth.signers.SecurityTokenSigner(token, key)
    signer = _instance_signer(source) if source.auth == "instance_principal" else _resource(source)
    return {"region": source.region or signer.region}, signer


def profile(source: Source) -> dict[str, Any]:
    """The source's profile in the SDK's configuration file. Raises CredentialsError."""
    path = f"{source.config_file}, profile {source.profile}"
    try:
        config: dict[str, Any] = oci.config.from_file(str(source.config_file), source.profile)
    except (oci.exceptions.ConfigFileNotFound, oci.exceptions.ProfileNotFound):
        raise CredentialsError(
            f"{source.name}: {path}: no such file or profile. `oci setup config` writes one; "
            "`config_file` and `profile` of the source say where it is."
        ) from None
    except oci.exceptions.InvalidKeyFilePath:
        raise CredentialsError(
            f"{source.name}: {path}: key_file names no file. Give the path of the API key's "
            "private half."
        ) from None
    except (configparser.Error, ValueError, OSError) as error:
        raise CredentialsError(
            f"{source.name}: {path}: cannot be read ({type(error).__name__}). It must be an INI "
            "file that this user may read, with the key in a file of its own (key_file)."
        ) from None
    # Logged requests would show session tokens: the key id of such a signature is the token.
    return config | {"region": source.region or config.get("region"), "log_requests": False}


def private_key(source: Source, config: dict[str, Any]) -> RSAPrivateKey:
    """The profile's private key. Raises CredentialsError, without a word of the key."""
    path = config.get("key_file")
    if not path:
        raise CredentialsError(
            f"{source.name}: profile {source.profile} of {source.config_file} has no key_file."
        )
    try:
        key = oci.signer.load_private_key_from_file(path, config.get("pass_phrase"))
    except oci.exceptions.MissingPrivateKeyPassphrase:
        fault = "is encrypted, and the profile has no pass_phrase"
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    except (oci.exceptions.InvalidPrivateKey, ValueError, TypeError, UnsupportedAlgorithm):
        fault = "is not a private key in PEM, or pass_phrase is wrong"
    else:
        if isinstance(key, RSAPrivateKey):
            return key
        fault = "is not an RSA key, the one kind that OCI takes"
    raise CredentialsError(
        f"{source.name}: the key file {path} {fault}. Mend it, or make a new key."
    )


def session_token(source: Source, config: dict[str, Any]) -> str:
    """The session token that `oci session authenticate` left. Raises CredentialsError."""
    path = config.get("security_token_file")
    try:
        token = Path(path).expanduser().read_text(encoding="ascii").strip() if path else ""
    except (OSError, ValueError):
        token = ""
    if not token:
        raise CredentialsError(
            f"{source.name}: profile {source.profile} of {source.config_file} has no readable "
            "security_token_file. `oci session authenticate` makes one."
        )
    return token


def _signer_of(source: Source, config: dict[str, Any]) -> Any:
    try:
        oci.config.validate_config(config)
    except oci.exceptions.InvalidConfig as error:
        faults = ", ".join(f"{key} is {fault}" for key, fault in sorted(error.errors.items()))
        raise CredentialsError(
            f"{source.name}: profile {source.profile} of {source.config_file}: {faults}. "
            "The console shows the right values under My profile, API keys."
        ) from None
    private_key(source, config)
    return oci.signer.Signer.from_config(config)


def _instance_signer(source: Source) -> Any:
    try:
        return oci.auth.signers.InstancePrincipalsSecurityTokenSigner(
            retry_strategy=_METADATA_RETRY, federation_client_retry_strategy=_METADATA_RETRY
        )
    except (oci.exceptions.BaseRequestException, oci.exceptions.ServiceError) as error:
        raise CredentialsError(
            f"{source.name}: auth is instance_principal, but the metadata service of OCI compute "
            f"instances gives no identity ({type(error).__name__}). Run on such an instance, or "
            "set another `auth`."
        ) from None


def _resource(source: Source) -> Any:
    try:
        return oci.auth.signers.get_resource_principals_signer()
    except (
        *(OSError, ValueError, PyJWTError, UnsupportedAlgorithm),
        *(oci.exceptions.ClientError, oci.exceptions.ServiceError),
    ) as error:
        raise CredentialsError(
            f"{source.name}: auth is resource_principal, but the OCI_RESOURCE_PRINCIPAL_* "
            f"variables make no identity ({type(error).__name__}). OCI sets them for functions "
            "and container instances; elsewhere set another `auth`."
        ) from None


def _client(source: Source, retry: Any, timeout: tuple[float, float]) -> Any:
    endpoint = urlsplit(source.endpoint or "https:")
    if endpoint.scheme != "https" and endpoint.hostname not in _LOOPBACK:
        raise IngestError(
            f"{source.name}: endpoint {source.endpoint!r} must be https: bills and session tokens "
            "do not travel in the clear. Plain http is for loopback only."
        )
    config, signer = credentials(source)
    if not (source.endpoint or config.get("region")):
        raise CredentialsError(
            f"{source.name}: no region is known. Set `region` of the source to the tenancy's home "
            "region: the reports lie there."
        )
    # A breaker of its own: the SDK's default is one for the whole process, where a failing source
    # would shut out the others.
    breaker = oci.circuit_breaker.CircuitBreakerStrategy(
        name=f"{source.name} {source.location} {source.endpoint or config['region']}"
    )
    return oci.object_storage.ObjectStorageClient(
        config,
        signer=signer,
        service_endpoint=source.endpoint,
        retry_strategy=retry,
        circuit_breaker_strategy=breaker,
        timeout=timeout,
    )


def _service_time(headers: Any) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def _plain(error: BaseException) -> str:
    # The SDK wraps the error of its HTTP library and adds a paragraph; the first is what happened.
    cause = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    return f"{type(cause).__name__}: {cause.args[0] if cause.args else 'no details'}"
