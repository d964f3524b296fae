"""Reports in Google Cloud Storage, read with the `google-cloud-storage` client.

An object's generation is its change token: every read asks for just that generation. Objects
composed of parts have no MD5, so the CRC32C is held for all.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import google_crc32c
from google.api_core import exceptions as answers
from google.cloud import storage

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.gcp_service import GcpService, Waits, changed, credentials_of
from finops_pipeline.ingest.location import IngestError, RemoteReport, ReportDamaged, is_report

_PIECE = 8 << 20  # bytes that are asked for at a time, and had again after a broken connection
_new_checksum: Any = google_crc32c.Checksum
_FIELDS = "items(name,generation,size,md5Hash,crc32c,timeCreated),nextPageToken"


class GcsLocation:
    """The objects below a `gs://<bucket>/<prefix>` location."""

    def __init__(self, source: Source, *, waits: Waits | None = None, page: int = 1000) -> None:
        self.source_name = source.name
        bucket, _, prefix = source.location.removeprefix("gs://").partition("/")
        self.prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        self._format = formats()[source.format]
        self._page = page
        self._service = GcpService(source, f"gs://{bucket}", waits or Waits())
        self.credentials, project = credentials_of(source, f"gs://{bucket}")
        options = {"api_endpoint": source.endpoint} if source.endpoint else None
        # No project is needed to read objects; without any the client would look for one.
        self._client = storage.Client(
            project=project or "none", credentials=self.credentials, client_options=options
        )
        self.bucket = self._client.bucket(bucket)
        self._checksums: dict[tuple[str, str], str] = {}

    def reports(self) -> Iterator[RemoteReport]:
        """All reports of the source's format, page after page, in name order."""
        listed = self._client.list_blobs(
            self.bucket,
            prefix=self.prefix or None,
            fields=_FIELDS,
            page_size=self._page,
            retry=self._service.retry,
        )
        for page in self._service.pages("listing", listed):
            yield from (self._report(b) for b in page if is_report(self._format, b.name))

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The object's bytes as stored; a body that is cut off is asked for again."""
        yield self._pieces(report)

    def first_byte(self, report: RemoteReport) -> None:
        """Read one byte, which needs the right to read. Raises as `stream` does."""
        self._read(report, 0, 0)

    def _report(self, blob: Any) -> RemoteReport:
        if blob.time_created is None or blob.size is None or blob.generation is None:
            raise IngestError(
                f"{self.source_name}: {self._service.place} lists {blob.name} without size, "
                f"generation or time, though asked for {_FIELDS}. Only the JSON API of Cloud "
                "Storage will do."
            )
        report = RemoteReport(
            name=blob.name,
            etag=str(blob.generation),
            size=blob.size,
            md5=blob.md5_hash,
            delivered_at=blob.time_created.astimezone(UTC),
        )
        if blob.crc32c:
            self._checksums[report.name, report.etag] = blob.crc32c
        return report

    def _pieces(self, report: RemoteReport) -> Iterator[bytes]:
        checksum = _new_checksum()
        for start in range(0, report.size or 0, _PIECE):
            piece = self._read(report, start, start + _PIECE - 1)
            checksum.update(piece)
            yield piece
        expected = self._checksums.get((report.name, report.etag))
        found = base64.b64encode(checksum.digest()).decode("ascii")
        if expected is not None and found != expected:
            raise ReportDamaged(
                f"{self.source_name}: {report.name} arrived damaged: expected CRC32C {expected} as "
                f"listed, got {found}. Nothing was stored. Run again later; if it stays, look at "
                "what sits between here and the bucket."
            )

    def _read(self, report: RemoteReport, start: int, end: int) -> bytes:
        blob = self.bucket.blob(report.name, generation=int(report.etag))

        def read() -> bytes:
            data: bytes = blob.download_as_bytes(
                start=start,
                end=end,
                raw_download=True,  # a `Content-Encoding: gzip` would give other bytes
                if_generation_match=int(report.etag),
                checksum=None,
                retry=self._service.retry,
            )
            return data

        def found() -> bytes:
            try:
                return read()
            except (answers.NotFound, answers.PreconditionFailed):
                raise changed(self.source_name, report.name, report.etag) from None

        return self._service.explained(report.name, found)
