"""Asking AWS: who asks, how calls are retried, and what its refusals are called here.

Every AWS service is asked through boto3 in this way: objects (`s3.py`), Cost Explorer
(`aws_cost_explorer.py`), Organizations (`aws_organizations.py`). What to do about a refusal is told
in `aws_diagnosis.py`.

Sources of the rules: AWS SDKs and Tools Reference Guide, "Retry behavior" (standard and adaptive
mode) and "Credential provider chain"; HTTP semantics (RFC 9110, 10.2.3) for Retry-After.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.credentials
import botocore.exceptions as failures
import botocore.session
from botocore.config import Config

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
)

ATTEMPTS = 8  # with pauses up to 20 s each, about a minute
DEFAULT_TIMEOUT = (10, 60)  # seconds to connect, and to the next bytes
_LONGEST_PAUSE = 120  # seconds that a Retry-After is obeyed for
_NO_PROFILE = "DEFAULT"  # what a source has that names none: then the chain of AWS decides
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

# What AWS calls a signature that it does not take; the rest of 401 and 403 is about rights.
_BAD_CREDENTIALS = {
    "AuthFailure": "the access key is not known",
    "ExpiredToken": "the session has run out",
    "ExpiredTokenException": "the session has run out",
    "IncompleteSignature": "the secret key does not fit the access key",
    "InvalidAccessKeyId": "the access key is not known",
    "InvalidClientTokenId": "the access key is not known",
    "InvalidSignatureException": "the secret key does not fit the access key, or the clock is off",
    "InvalidToken": "the session token is not known",
    "RequestExpired": "the clock of this machine is off, or the session has run out",
    "RequestTimeTooSkewed": "the clock of this machine is off by more than 15 minutes",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "TokenRefreshRequired": "the session has run out",
    "UnrecognizedClientException": "the access key is not known",
}


class AwsService:
    """One service of AWS, asked with the credentials that the source names."""

    def __init__(
        self,
        source: Source,
        service: str,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.source_name = source.name
        self.service = service
        if endpoint and urlsplit(endpoint).scheme != "https" and not is_loopback(endpoint):
            raise IngestError(
                f"{source.name}: endpoint {endpoint!r} must be https: bills do not travel in the "
                "clear. Plain http is for loopback only."
            )
        session = self._explained("sign-in", lambda: _session(source))
        self.client = self._explained(
            "sign-in",
            lambda: session.client(
                service,
                region_name=region or source.region or session.region_name or "us-east-1",
                endpoint_url=endpoint,
                config=_config(attempts),
            ),
        )
        self.endpoint: str = self.client.meta.endpoint_url
        self.client.meta.events.register_first("needs-retry", _heed_retry_after(attempts))

    def call(self, what: str, operation: Callable[..., Any], **options: Any) -> Any:
        """The operation's answer. Raises AccessRefused, CredentialsError or LocationUnavailable."""
        return self._explained(what, lambda: operation(**options))

    def _explained(self, what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except failures.ClientError as error:
            raise self.refusal(what, error) from error
        except (
            failures.NoCredentialsError,
            failures.PartialCredentialsError,
            failures.CredentialRetrievalError,
            failures.ProfileNotFound,
            failures.ConfigParseError,
            failures.TokenRetrievalError,
            failures.SSOError,
        ) as error:
            raise CredentialsError(
                f"{self.source_name}: {what}: AWS credentials cannot be had ({error}). Set "
                "`profile` to one of ~/.aws/config, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or run where a role is attached; for a session of "
                "IAM Identity Center run `aws sso login`."
            ) from error
        except (failures.BotoCoreError, OSError) as error:
            raise LocationUnavailable(
                f"{self.source_name}: {what}: AWS {self.service} does not answer as it should, "
                f"through all retries ({type(error).__name__}: {error}). Run again later; if it "
                "stays, check region, endpoint, proxy and firewall."
            ) from error

    def refusal(self, what: str, error: failures.ClientError) -> IngestError:
        """What the service said no to, in the words of the pipeline."""
        said = error.response.get("Error", {})
        meta = error.response.get("ResponseMetadata", {})
        status, code = int(meta.get("HTTPStatusCode", 0)), str(said.get("Code", ""))
        if code in _BAD_CREDENTIALS:
            return CredentialsError(
                f"{self.source_name}: {what}: AWS {self.service} does not accept the credentials: "
                f"{_BAD_CREDENTIALS[code]} ({status} {code}). Sign in again or renew the key; "
                "`finops doctor` tells which identity is used."
            )
        answer = (
            f"{self.source_name}: {what}: AWS {self.service} at {self.endpoint} answered "
            f"{status} {code}: {said.get('Message', '')}"
        )
        if status >= 500 or status == 429 or "Throttl" in code or code == "LimitExceededException":
            return LocationUnavailable(
                f"{answer} It stayed so through all retries; run again later."
            )
        return AccessRefused(answer, status=status, code=code, service_time=_time(meta))


def is_loopback(endpoint: str | None) -> bool:
    """Whether an endpoint is on this machine: a test's server, never AWS."""
    return endpoint is not None and urlsplit(endpoint).hostname in _LOOPBACK


def beside(source: Source) -> str | None:
    """The endpoint of another service than the source's own: on loopback one server plays all.

    An endpoint that is given for one service (a private endpoint, say) cannot serve another.
    """
    return source.endpoint if is_loopback(source.endpoint) else None


def home_region(source: Source) -> str:
    """The region where the services of a whole account answer; China has its own."""
    return "cn-northwest-1" if (source.region or "").startswith("cn-") else "us-east-1"


def identity(source: Source, attempts: int = ATTEMPTS) -> str:
    """The ARN that AWS knows the source's credentials by; asking takes no right."""
    service = AwsService(source, "sts", endpoint=beside(source), attempts=attempts)
    arn: str = service.call("identity", service.client.get_caller_identity)["Arn"]
    return arn


def _session(source: Source) -> boto3.Session:
    profile = None if source.profile == _NO_PROFILE else source.profile
    session = boto3.Session(profile_name=profile, region_name=source.region)
    if source.role is None:
        return session
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        client_creator=lambda service, **options: session.client(
            service,
            **options,
            region_name=session.region_name or "us-east-1",
            endpoint_url=beside(source),
        ),
        source_credentials=_required(session),
        role_arn=source.role,
        extra_args={"RoleSessionName": f"finops-{source.name}"[:64]},
    )
    taken = botocore.session.Session(profile=profile)
    # boto3 has no other way to credentials that renew themselves.
    taken._credentials = botocore.credentials.DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    return boto3.Session(botocore_session=taken, region_name=session.region_name)


def _required(session: boto3.Session) -> Any:
    found = session.get_credentials()
    if found is None:
        raise failures.NoCredentialsError
    return found


def _config(attempts: int) -> Config:
    connect, read = DEFAULT_TIMEOUT
    return Config(
        retries={"mode": "adaptive", "total_max_attempts": attempts},
        connect_timeout=connect,
        read_timeout=read,
        s3={"addressing_style": "auto"},
    )


def _heed_retry_after(attempts: int) -> Callable[..., None]:
    """A hook that waits as long as Retry-After says; whether to ask again boto3 decides.

    boto3 itself knows `x-amz-retry-after` only, which a proxy or another maker's server does not
    send.
    """

    def wait(response: Any, attempts_made: int) -> None:
        if response is None or attempts_made >= attempts:
            return
        http = response[0]
        if http.status_code == 429 or http.status_code >= 500:
            pause(http.headers.get("Retry-After"))

    return lambda response=None, attempts=0, **_: wait(response, attempts)


def pause(retry_after: str | None) -> None:
    """Wait as a Retry-After header says: seconds, or a date. Two minutes at most."""
    if retry_after is None:
        return
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return
        seconds = (until.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    time.sleep(min(max(seconds, 0), _LONGEST_PAUSE))


def _time(meta: Any) -> datetime | None:
    told = meta.get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(told).astimezone(UTC) if told else None
    except ValueError:
        return None
