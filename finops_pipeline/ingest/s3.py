"""Reports in an S3 bucket, read with boto3: listing and bodies.

Who asks, and how calls are retried, is in `aws.py`; what the files mean to each other in
`aws_export.py`; what to do about a refusal in `aws_diagnosis.py`; whether a body is the right one
is checked here as far as S3 says it (MD5) and in `fetch.py` (size).

Sources of the rules: Amazon S3 API Reference, "ListObjectsV2", "GetObject" (If-Match, Range) and
"Object" (when an ETag is the MD5 of the content).
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import botocore.exceptions as failures

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.aws import ATTEMPTS, AwsService
from finops_pipeline.ingest.location import (
    AccessRefused,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
    ReportDamaged,
    is_report,
)

_PIECE = 1 << 20
_LONGEST_PAUSE = 20.0  # seconds before a body that was cut off is opened again
_MD5 = re.compile(r"[0-9a-f]{32}")
# What S3 says of an object that is not the one listed, or not there any more.
_CHANGED = ("412", "PreconditionFailed", "NoSuchKey", "404", "416", "InvalidRange")


class S3Location:
    """The part of a bucket that an `s3://<bucket>/<prefix>` location names."""

    def __init__(self, source: Source, *, attempts: int = ATTEMPTS) -> None:
        self.source_name = source.name
        self.bucket, self.prefix = bucket_of(source)
        self._format = formats()[source.format]
        self._attempts = attempts
        self._service = AwsService(source, "s3", endpoint=source.endpoint, attempts=attempts)
        self._client = self._service.client
        self.endpoint = self._service.endpoint

    def reports(self) -> Iterator[RemoteReport]:
        """All files of the source's format below the prefix, page after page, in name order."""
        token: str | None = None
        while True:
            page = self._service.call(
                f"listing s3://{self.bucket}/{self.prefix}",
                self._client.list_objects_v2,
                Bucket=self.bucket,
                Prefix=self.prefix,
                **({"ContinuationToken": token} if token else {}),
            )
            yield from (
                _report(found)
                for found in page.get("Contents", ())
                if is_report(self._format, found["Key"])
            )
            if not page.get("IsTruncated"):
                return
            following = page.get("NextContinuationToken")
            if not following or following == token:
                raise LocationUnavailable(
                    f"{self.source_name}: s3://{self.bucket}/{self.prefix} is listed in circles: "
                    f"page {following!r} follows itself. Look at what answers at {self.endpoint}."
                )
            token = following

    def first_byte(self, report: RemoteReport) -> None:
        """Read one byte, which needs the right to read. Raises as `stream` does."""
        self._open(report, 0, last=0)["Body"].close()

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The object's bytes; a body that is cut off goes on where it broke."""
        body = _Body(lambda offset: self._open(report, offset), report.size or 0, self._attempts)
        try:
            yield self._pieces(body, report)
        finally:
            body.close()

    def _pieces(self, body: _Body, report: RemoteReport) -> Iterator[bytes]:
        content = hashlib.md5(usedforsecurity=False)
        try:
            while piece := body.next_piece():
                content.update(piece)
                yield piece
        except failures.FlexibleChecksumError as error:
            raise self._damaged(report, str(error)) from error
        except failures.BotoCoreError as error:
            raise LocationUnavailable(
                f"{self.source_name}: {report.name} breaks off again and again ({error}). Run "
                "again later; if it stays, check proxy and firewall."
            ) from error
        if body.etag_is_md5 and content.hexdigest() != report.etag.strip('"'):
            raise self._damaged(report, f"its MD5 is {content.hexdigest()}")

    def _open(self, report: RemoteReport, offset: int, last: int | None = None) -> Any:
        whole = offset == 0 and last is None
        wanted = {} if whole else {"Range": f"bytes={offset}-{'' if last is None else last}"}
        try:
            answer = self._service.call(
                report.name,
                self._client.get_object,
                Bucket=self.bucket,
                Key=report.name,
                IfMatch=report.etag,
                **wanted,
            )
        except AccessRefused as refusal:
            if refusal.code not in _CHANGED:
                raise
            raise ReportChanged(
                f"{self.source_name}: {report.name} was written or removed since it was listed "
                f"({refusal.code}). The next run lists it as it is then."
            ) from refusal
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if not whole and status != 206:
            answer["Body"].close()
            raise ReportDamaged(
                f"{self.source_name}: {report.name} broke off after {offset} of {report.size} "
                "bytes, and what answers at the endpoint cannot go on from there (expected 206, "
                f"got {status}). Run again, or take the proxy out of the way."
            )
        return answer

    def _damaged(self, report: RemoteReport, how: str) -> ReportDamaged:
        return ReportDamaged(
            f"{self.source_name}: {report.name} (etag {report.etag}) arrived damaged: {how}. "
            "Nothing was stored. Run again; if it stays, look at what sits between here and S3."
        )


class _Body:
    """The bytes of one version of an object, opened again from where a connection broke."""

    def __init__(self, open_at: Callable[[int], Any], size: int, attempts: int) -> None:
        self._open_at = open_at
        self._size = size
        self._attempts = attempts
        self._offset = 0
        self._broken = 0
        self._answer: Any = None
        self.etag_is_md5 = False

    def next_piece(self) -> bytes:
        """Up to a mebibyte; empty at the end. Every piece that arrives earns new attempts.

        Raises the client's own error when the body stays broken, and what opening it raises.
        """
        while True:
            try:
                piece = self._read()
            except failures.FlexibleChecksumError:
                raise
            except failures.BotoCoreError:
                self.close()
                self._broken += 1
                if self._broken >= self._attempts:
                    raise
                time.sleep(random.random() * min(0.05 * 2**self._broken, _LONGEST_PAUSE))
                continue
            self._broken = 0
            self._offset += len(piece)
            return piece

    def _read(self) -> bytes:
        if self._answer is None:
            self._answer = self._open_at(self._offset)
            self.etag_is_md5 = _is_md5(self._answer)
        piece: bytes = self._answer["Body"].read(_PIECE)
        if not piece and self._offset < self._size:
            raise failures.IncompleteReadError(actual_bytes=self._offset, expected_bytes=self._size)
        return piece

    def close(self) -> None:
        if self._answer is not None:
            self._answer["Body"].close()
            self._answer = None


def _is_md5(answer: Any) -> bool:
    """Whether an object's ETag is the MD5 of its content.

    It is not for an upload in parts (it has a hyphen then), nor where KMS or the customer's own
    key encrypts.
    """
    plain = answer.get("ServerSideEncryption") in (None, "AES256")
    own_key = "SSECustomerAlgorithm" in answer
    return plain and not own_key and bool(_MD5.fullmatch(answer["ETag"].strip('"')))


def _report(found: Any) -> RemoteReport:
    return RemoteReport(
        name=found["Key"],
        etag=found["ETag"],
        size=found["Size"],
        md5=None,  # whether the ETag is one is told with the body only
        delivered_at=found["LastModified"].astimezone(UTC),
    )


def bucket_of(source: Source) -> tuple[str, str]:
    """Bucket and prefix of an `s3://` location; the prefix is empty or ends with a slash."""
    bucket, _, prefix = source.location.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""
