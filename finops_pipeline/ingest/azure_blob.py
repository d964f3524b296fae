"""Reports in Azure Blob Storage, read with the `azure-storage-blob` SDK: listing and bodies.

Who asks and what a refusal means is in `azure_access.py`; how an export's files hang together is
in `azure_export.py`; whether a body is the right one is checked in `fetch.py`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ServiceResponseError
from azure.storage.blob import ContainerClient, ExponentialRetry

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.azure_access import (
    ATTEMPTS,
    LONGEST_WAIT,
    TIMEOUTS,
    endpoint_of,
    explained,
    retry_after,
    token_credential,
)
from finops_pipeline.ingest.location import (
    CredentialsError,
    IngestError,
    RemoteReport,
    is_report,
)

_PIECE = 4 << 20
_THROTTLED = 429


class AzureBlobLocation:
    """The container and prefix that an `az://<account>/<container>/<prefix>` location names."""

    def __init__(self, source: Source, *, retry: ExponentialRetry | None = None) -> None:
        self.source_name = source.name
        self.account, self.container, self.prefix = container_of(source)
        self.endpoint = endpoint_of(source, f"https://{self.account}.blob.core.windows.net")
        self._format = formats()[source.format]
        self._place = f"container {self.container!r} of storage account {self.account!r}"
        self.credential = _credential(source, self.account)
        if hasattr(self.credential, "get_token") and not self.endpoint.startswith("https:"):
            raise CredentialsError(
                f"{source.name}: {self.endpoint}: a token goes by https only; for an emulator set "
                "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN."
            )
        self._client = ContainerClient(
            self.endpoint,
            self.container,
            credential=self.credential,
            retry_policy=retry or BlobRetry(),
            raw_response_hook=_throttling,
            max_single_get_size=_PIECE,
            max_chunk_get_size=_PIECE,
            **TIMEOUTS,
        )

    def reports(self) -> Iterator[RemoteReport]:
        """All reports and manifests below the prefix, page after page, in name order."""
        with self._explained("listing"):
            for found in self._client.list_blobs(name_starts_with=self.prefix or None):
                if is_report(self._format, found.name):
                    yield self._report(found)

    def first_page(self) -> None:
        """List one blob, which needs the right to list. Raises as `reports` does."""
        with self._explained("listing"):
            pages = self._client.list_blobs(
                name_starts_with=self.prefix or None, results_per_page=1
            ).by_page()
            next(pages, None)

    def first_byte(self, report: RemoteReport) -> None:
        """Read one byte, which needs the right to read. Raises as `stream` does."""
        with self._explained(report.name):
            self._client.download_blob(report.name, offset=0, length=1).readall()

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The blob's bytes; a body that is cut off is asked for again from where it broke."""
        yield self._pieces(report)

    def _pieces(self, report: RemoteReport) -> Iterator[bytes]:
        with self._explained(report.name):
            body = self._client.download_blob(
                report.name,
                etag=f'"{report.etag}"',
                match_condition=MatchConditions.IfNotModified,
                decompress=False,  # a `Content-Encoding: gzip` would give other bytes
            )
            yield from body.chunks()

    def _report(self, found: Any) -> RemoteReport:
        if found.last_modified is None or found.size is None or not found.etag:
            raise IngestError(
                f"{self.source_name}: {self._place} lists {found.name} without size, etag or "
                "time. Only the API of Azure Blob Storage will do: check the endpoint."
            )
        md5 = found.content_settings.content_md5
        return RemoteReport(
            name=found.name,
            etag=found.etag.strip('"'),
            size=found.size,
            md5=base64.b64encode(bytes(md5)).decode("ascii") if md5 else None,
            delivered_at=found.last_modified.astimezone(UTC),
        )

    def _explained(self, what: str) -> Any:
        return explained(self.source_name, self._place, self.endpoint, what)


class BlobRetry(ExponentialRetry):
    """The SDK's own retries with growing pauses and jitter, which also heed `Retry-After`."""

    def __init__(self, attempts: int = ATTEMPTS, pause: int = 1, jitter: int = 1) -> None:
        super().__init__(
            initial_backoff=pause,
            increment_base=3 if pause else 0,
            retry_total=attempts,
            retry_connect=attempts,
            retry_read=attempts,
            retry_status=attempts,
            random_jitter_range=jitter,
        )

    def sleep(self, settings: dict[str, Any], transport: Any) -> None:
        last = settings["history"][-1]
        response = last.http_response or getattr(last.error, "response", None)
        asked = retry_after(response.headers) if response is not None else 0.0
        if asked:
            transport.sleep(min(asked, LONGEST_WAIT))
        else:
            super().sleep(settings, transport)  # type: ignore[no-untyped-call]


class _ThrottledError(ServiceResponseError):
    """429, which the SDK would not try again: as an error of reading, which it does."""

    def __init__(self, response: Any) -> None:
        super().__init__("429, throttled")
        self.response = response


def _throttling(response: Any) -> None:
    if response.http_response.status_code == _THROTTLED:
        raise _ThrottledError(response.http_response)


def container_of(source: Source) -> tuple[str, str, str]:
    """Storage account, container and prefix of an `az://` location.

    The prefix is empty or ends with a slash: it is a folder.
    """
    account, container, *rest = source.location.removeprefix("az://").split("/", 2)
    prefix = "".join(rest).strip("/")
    return account, container, f"{prefix}/" if prefix else ""


def has_key(account: str) -> bool:
    """Whether the environment has a key or a signature for this account."""
    return _told(account) is not None


def _credential(source: Source, account: str) -> Any:
    """What the environment gives for this account, else the identity of whoever runs this."""
    told = _told(account)
    if told == "":
        raise CredentialsError(
            f"{source.name}: AZURE_STORAGE_CONNECTION_STRING has neither AccountKey nor "
            "SharedAccessSignature. `az storage account show-connection-string` gives a whole one; "
            "or unset it, and the identity of `az login` or of the machine is used."
        )
    return token_credential() if told is None else told


def _told(account: str) -> Any:
    """The key or signature for an account; empty for a connection string that has none.

    The variables are those of the Azure CLI. Those of another account are of no use, and left.
    """
    if connection := os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):
        parts = dict(part.split("=", 1) for part in connection.split(";") if "=" in part)
        named = {key.lower(): value for key, value in parts.items()}
        if named.get("accountname", account) == account:
            signature = named.get("sharedaccesssignature", "").lstrip("?")
            return _key(account, named.get("accountkey")) or signature
    if os.environ.get("AZURE_STORAGE_ACCOUNT", account) == account:
        signature = os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").lstrip("?")
        return signature or _key(account, os.environ.get("AZURE_STORAGE_KEY"))
    return None


def _key(account: str, key: str | None) -> dict[str, str] | None:
    return {"account_name": account, "account_key": key} if key else None
