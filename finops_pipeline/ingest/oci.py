"""Reports in OCI Object Storage, read with the `oci` SDK: listing and bodies.

Oracle writes a tenancy's reports to a bucket of its own: namespace `bling`, the bucket named by
the tenancy's OCID, in the tenancy's home region. Who asks, and how calls are retried, is in
`oci_credentials.py`; the tenancy's compartments are in `oci_identity.py`. What to do about a
refusal is told in `diagnosis.py`; whether a body is the right one is checked in `fetch.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import oci
import urllib3

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.location import (
    IngestError,
    LocationUnavailable,
    RemoteReport,
    ReportDamaged,
    is_report,
)
from finops_pipeline.ingest.oci_credentials import DEFAULT_TIMEOUT, OciService, service_time

_PIECE = 1 << 20
_FIELDS = "name,size,etag,md5,timeCreated,timeModified"


class OciLocation:
    """The bucket that an `oci://<namespace>/<bucket>` location names."""

    def __init__(
        self,
        source: Source,
        *,
        retry: Any = oci.retry.DEFAULT_RETRY_STRATEGY,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
    ) -> None:
        self.source_name = source.name
        self.namespace, self.bucket = bucket_of(source)
        self._format = formats()[source.format]
        self._prefixes = self._format.folders
        self._service = OciService(
            source,
            oci.object_storage.ObjectStorageClient,
            source.location,
            endpoint=source.endpoint,
            retry=retry,
            timeout=timeout,
        )
        self._client = self._service.client
        self._place = self._service.place
        self.endpoint = self._service.endpoint

    def reports(self) -> Iterator[RemoteReport]:
        """All reports of the source's format, page after page, in name order."""
        for prefix in self._prefixes:
            yield from self._below(prefix)

    def service_time(self) -> datetime | None:
        """The service's clock, from listing one object: which needs the right to list."""
        response = self._call("listing", self._client.list_objects, limit=1)
        return service_time(response.headers)

    def first_byte(self, report: RemoteReport) -> None:
        """Read one byte, which needs the right to read. Raises as `stream` does."""
        self._call(
            report.name, self._client.get_object, report.name, range="bytes=0-0"
        ).data.close()

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The object's bytes; a body that is cut off goes on where it broke."""
        body = _Body(lambda offset: self._open(report, offset), report.size or 0)
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
            yield from (
                self._report(found) for found in page.objects if is_report(self._format, found.name)
            )
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
        while piece := self._service.explained(report.name, body.next_piece):
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
        return self._service.call(what, operation, self.namespace, self.bucket, *name, **options)


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
