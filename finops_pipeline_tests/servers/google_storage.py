"""A server that behaves as the JSON API of Google Cloud Storage: buckets, pages, generations."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c

from finops_pipeline_tests.servers.google_api import (
    ACCOUNT,
    Answer,
    GoogleServer,
    Request,
    answer,
    refusal,
)

_LISTING = re.compile(r"/storage/v1/b/([^/]+)/o")
_OBJECT = re.compile(r"/download/storage/v1/b/([^/]+)/o/(.+)")
CREATED = datetime(2026, 9, 10, 3, tzinfo=UTC)


@dataclass
class Stored:
    """An object as it is now."""

    content: bytes
    generation: int
    composed: bool = False

    @property
    def created(self) -> datetime:
        """When this generation was written."""
        return CREATED + timedelta(seconds=self.generation)


class StorageServer(GoogleServer):
    """One bucket. `denied` are permissions that the caller lacks."""

    def __init__(self, bucket: str = "acme-billing-export") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, Stored] = {}
        self.denied: set[str] = set()
        self._generation = 0

    def put(self, name: str, content: bytes, composed: bool = False) -> Stored:
        """Write an object; of what is there a new generation."""
        self._generation += 1
        self.objects[name] = Stored(content, self._generation, composed)
        return self.objects[name]

    def respond(self, request: Request) -> Answer:
        """Listing and reading."""
        if found := _OBJECT.fullmatch(request.path):
            return self._refused("storage.objects.get") or self._read(found[2], request)
        if request.path == f"/storage/v1/b/{self.bucket}":
            # The client asks, but to read objects does not give the right to know.
            self.denied.add("storage.buckets.get")
            return self._refused("storage.buckets.get") or answer({})
        found = _LISTING.fullmatch(request.path)
        if found is None or found[1] != self.bucket:
            return refusal(404, "notFound", "The specified bucket does not exist.")
        return self._refused("storage.objects.list") or self._list(request)

    def _refused(self, permission: str) -> Answer | None:
        if permission not in self.denied:
            return None
        return refusal(
            403,
            "forbidden",
            f"{ACCOUNT} does not have {permission} access to the Google Cloud Storage bucket. "
            f"Permission '{permission}' denied on resource (or it may not exist).",
        )

    def _list(self, request: Request) -> Answer:
        start = request.query.get("pageToken", "")
        names = [n for n in sorted(self.objects) if n.startswith(request.query.get("prefix", ""))]
        left = [n for n in names if n > start]
        count = int(request.query.get("maxResults", "1000"))
        made: dict[str, Any] = {"kind": "storage#objects", "items": list(map(self._item, left))}
        if len(left) > count:
            made["items"] = made["items"][:count]
            made["nextPageToken"] = left[count - 1]
        return answer(made)

    def _item(self, name: str) -> dict[str, str]:
        stored = self.objects[name]
        checksum = google_crc32c.Checksum(stored.content).digest()
        digest = hashlib.md5(stored.content).digest()
        item = {
            "name": name,
            "generation": str(stored.generation),
            "size": str(len(stored.content)),
            "crc32c": base64.b64encode(checksum).decode(),
            "timeCreated": stored.created.isoformat().replace("+00:00", "Z"),
        }
        return item if stored.composed else item | {"md5Hash": base64.b64encode(digest).decode()}

    def _read(self, name: str, request: Request) -> Answer:
        stored = self.objects.get(name)
        wanted = int(request.query.get("generation", "0"))
        if stored is None or wanted not in (0, stored.generation):
            return refusal(404, "notFound", f"No such object: {self.bucket}/{name}")
        if request.query.get("ifGenerationMatch", str(stored.generation)) != str(stored.generation):
            return refusal(412, "conditionNotMet", "Precondition Failed")
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "bytes=0-"))
        assert span is not None
        start = int(span[1])
        end = min(int(span[2] or len(stored.content)), len(stored.content) - 1)
        if start >= len(stored.content):
            return refusal(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        total = f"bytes {start}-{end}/{len(stored.content)}"
        headers = {"Content-Range": total, "X-Goog-Generation": str(stored.generation)}
        return Answer(stored.content[start : end + 1], 206, headers)
