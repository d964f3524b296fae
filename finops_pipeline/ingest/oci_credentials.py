"""Signing in to OCI: profile, key, session token and signer; and services called with them.

`OciService` is how every OCI service is called: by the source's own principal, with the SDK's
retries and back-off, a circuit breaker of its own, and failures as IngestError.

No message from here quotes a configuration file, a key, a token or a passphrase. The SDK and
configparser do quote what they cannot parse, so their texts are replaced, never passed on.
"""

from __future__ import annotations

import configparser
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import oci
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.exceptions import PyJWTError

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
    ReportChanged,
)

DEFAULT_TIMEOUT = (10.0, 60.0)  # Seconds to connect, seconds without a byte.
_NETWORK_ERRORS = (oci.exceptions.RequestException, oci.exceptions.ConnectTimeout, ConnectionError)
_LOOPBACK = ("127.0.0.1", "localhost")
# Off an OCI instance nothing answers, and the SDK would try for minutes to find that out.
_METADATA_RETRY = oci.retry.RetryStrategyBuilder(
    max_attempts=2, total_elapsed_time_seconds=15
).get_retry_strategy()


class OciService:
    """One OCI service, called with the credentials of a source; failures come as IngestError.

    `kind` is the SDK's client class, `place` what messages call the thing that is asked.
    `retry` is an SDK retry strategy: by default eight attempts within ten minutes, for throttling
    (429), 5xx, timeouts and broken connections, with exponential back-off and jitter.
    """

    def __init__(
        self,
        source: Source,
        kind: Any,
        place: str,
        *,
        endpoint: str | None,
        retry: Any = oci.retry.DEFAULT_RETRY_STRATEGY,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
    ) -> None:
        self.source_name = source.name
        self.place = place
        self._retry = retry
        self.client = _client(source, kind, endpoint, retry, timeout)
        self.endpoint: str = self.client.base_client.get_endpoint()

    def call(self, what: str, operation: Callable[..., Any], *args: str, **options: Any) -> Any:
        """The SDK's response to one operation of `client`; `what` says in messages what it does."""
        return self.explained(
            what,
            lambda: operation(*args, retry_strategy=oci.retry.NoneRetryStrategy(), **options),
        )

    def explained(self, what: str, call: Callable[[], Any]) -> Any:
        """What `call` gives, tried as often as the strategy says."""
        try:
            return self._retry.make_retrying_call(call)
        except oci.exceptions.ServiceError as error:
            raise self._service_error(what, error) from error
        except oci.retry.retry_checkers.CircuitBreakerError as error:
            raise LocationUnavailable(
                f"{self.source_name}: {self.place} failed so often in a row that it is left "
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
                f"{self.source_name}: the credentials of {self.place} were refused and cannot be "
                f"renewed ({type(error).__name__}, {what}). `finops doctor` looks at them."
            ) from None

    def _service_error(self, what: str, error: Any) -> IngestError:
        said = (
            f"{self.source_name}: {self.place} answered {error.status} {error.code or ''} "
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
            service_time=service_time(error.headers),
        )


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


def fingerprint(key: RSAPrivateKey) -> str:
    """The key's fingerprint as OCI shows it: the MD5 of its public half."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.md5(public, usedforsecurity=False).digest().hex(":")


def session_end(token: str) -> datetime | None:
    """When the session token runs out; None if it is none."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (PyJWTError, KeyError, TypeError, ValueError):
        return None


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


def is_loopback(endpoint: str | None) -> bool:
    """Whether an endpoint is on this machine: a test's server, never OCI."""
    return endpoint is not None and urlsplit(endpoint).hostname in _LOOPBACK


def _client(
    source: Source, kind: Any, endpoint: str | None, retry: Any, timeout: tuple[float, float]
) -> Any:
    if endpoint and urlsplit(endpoint).scheme != "https" and not is_loopback(endpoint):
        raise IngestError(
            f"{source.name}: endpoint {endpoint!r} must be https: bills and session tokens "
            "do not travel in the clear. Plain http is for loopback only."
        )
    config, signer = credentials(source)
    if not (endpoint or config.get("region")):
        raise CredentialsError(
            f"{source.name}: no region is known. Set `region` of the source to the tenancy's home "
            "region: the reports lie there."
        )
    # A breaker of its own: the SDK's default is one for the whole process, where a failing source
    # would shut out the others, and a failing Identity service the reports.
    breaker = oci.circuit_breaker.CircuitBreakerStrategy(
        name=f"{source.name} {source.location} {kind.__name__} {endpoint or config['region']}"
    )
    return kind(
        config,
        signer=signer,
        service_endpoint=endpoint,
        retry_strategy=retry,
        circuit_breaker_strategy=breaker,
        timeout=timeout,
    )


def service_time(headers: Any) -> datetime | None:
    """The service's clock, as its answers tell it."""
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def _plain(error: BaseException) -> str:
    # The SDK wraps the error of its HTTP library and adds a paragraph; the first is what happened.
    cause = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    return f"{type(cause).__name__}: {cause.args[0] if cause.args else 'no details'}"
