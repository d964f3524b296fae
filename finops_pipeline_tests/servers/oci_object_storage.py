"""A server on loopback that answers as OCI Object Storage does, for tests through the real SDK.

It checks the signature of each request against the keys it was told to trust, refuses what is
signed more than five minutes off its own clock, lists in pages, honours If-Match and Range, and
can be told to fail in the ways networks and services do. At the same address it answers for the
Identity service, with the compartments of `server.identity`. It knows nothing of the package.

    with ObjectStorageServer() as server:
        server.put("reports/cost-csv/1.csv.gz", b"...", delivered_at=datetime(...))
        config_file = write_config(tmp_path, server)
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from finops_pipeline_tests.servers.oci_identity import BASE_PATH, Answer, Identity

TENANCY = "ocid1.tenancy.oc1..aaaaaaaatest"
USER = "ocid1.user.oc1..aaaaaaaatest"
MAX_SKEW = timedelta(minutes=5)
_SIGNED_HEADERS = {"date", "(request-target)", "host"}
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class StoredObject:
    data: bytes
    etag: str
    md5: str | None
    created: datetime
    modified: datetime | None


@dataclass(frozen=True)
class Seen:
    """A request as it arrived, and the status it got (0: the connection was broken off)."""

    operation: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of an operation, or of any.

    The operations: "list", "get" (objects), "compartments" (a list), "compartment" (one).
    """

    kind: str
    times: int
    operation: str | None = None
    status: int = 0
    code: str = ""
    after: int = 0
    seconds: float = 0.0


class ObjectStorageServer:
    """One namespace with one bucket. Everything after `with` may be called from the test."""

    def __init__(self, namespace: str = "bling", bucket: str = TENANCY) -> None:
        self.namespace = namespace
        self.bucket = bucket
        self.identity = Identity(TENANCY)
        self.clock_offset = timedelta(0)
        self.page_size = 1000
        self.ignores_ranges = False
        self.seen: list[Seen] = []
        self.before_get: Callable[[], None] | None = None
        self._objects: dict[str, StoredObject] = {}
        self._keys: dict[str, rsa.RSAPublicKey] = {}
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> ObjectStorageServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_offset

    def put(
        self,
        name: str,
        data: bytes,
        *,
        delivered_at: datetime,
        created_at: datetime | None = None,
        in_parts: bool = False,
    ) -> StoredObject:
        """Store an object; `in_parts` as multipart uploads are: without an MD5."""
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        stored = StoredObject(
            data=data,
            etag=str(uuid.uuid4()),
            md5=None if in_parts else digest,
            created=created_at or delivered_at,
            modified=delivered_at,
        )
        with self._lock:
            self._objects[name] = stored
        return stored

    def delete(self, name: str) -> None:
        with self._lock:
            del self._objects[name]

    def trust(self, key_id: str, key: rsa.RSAPublicKey) -> None:
        """Accept what is signed with that key under that id: `tenancy/user/fingerprint`, `ST$…`."""
        self._keys[key_id] = key

    def fail(
        self, status: int, code: str, *, times: int = 1_000_000, operation: str | None = None
    ) -> None:
        self._faults.append(Fault("status", times, operation, status=status, code=code))

    def reset_connection(self, *, times: int = 1, operation: str | None = None) -> None:
        self._faults.append(Fault("reset", times, operation))

    def cut_body(self, *, after: int, times: int = 1, operation: str = "get") -> None:
        """Promise the whole body, send that many bytes of it, break the connection."""
        self._faults.append(Fault("cut", times, operation, after=after))

    def end_body_early(self, *, after: int, times: int = 1) -> None:
        """Send that many bytes as if they were all: a complete, shorter answer."""
        self._faults.append(Fault("short", times, "get", after=after))

    def garble_body(self, *, times: int = 1) -> None:
        """Send other bytes of the same number."""
        self._faults.append(Fault("garble", times, "get"))

    def delay(self, seconds: float, *, times: int = 1, operation: str | None = None) -> None:
        self._faults.append(Fault("delay", times, operation, seconds=seconds))

    def answer_as_a_portal(self, *, times: int = 1, operation: str = "list") -> None:
        """Answer as a captive portal does: 200, with a page to log in."""
        self._faults.append(Fault("portal", times, operation))

    def count(self, operation: str) -> int:
        return sum(1 for request in self.seen if request.operation == operation)

    def take_fault(self, operation: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times and fault.operation in (None, operation):
                    fault.times -= 1
                    return fault
        return None

    def find(self, name: str) -> StoredObject | None:
        with self._lock:
            return self._objects.get(name)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._objects, key=lambda name: name.encode())

    def accepts(self, method: str, target: str, headers: Any) -> bool:
        """Whether the request is signed as OCI wants it (draft-cavage-http-signatures-08)."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        given = dict(_PARAMETER.findall(rest))
        key = self._keys.get(given.get("keyId", ""))
        names = given.get("headers", "").split()
        if scheme != "Signature" or key is None or not set(names) >= _SIGNED_HEADERS:
            return False
        if given.get("algorithm") != "rsa-sha256" or given.get("version") != "1":
            return False
        if abs(parsedate_to_datetime(headers["date"]) - self.now) > MAX_SKEW:
            return False
        lines = [
            f"{name}: {method.lower()} {target}"
            if name == "(request-target)"
            else f"{name}: {headers[name]}"
            for name in names
        ]
        try:
            key.verify(
                base64.b64decode(given["signature"]),
                "\n".join(lines).encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            return False
        return True


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # A client may hang up.
            super().handle_error(request, client_address)


def _handler_for(owner: ObjectStorageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        server_state = owner

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server_state: ObjectStorageServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.server_state.now, usegmt=True)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self._query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.split("/")]  # /n/<ns>/b/<bucket>/o[/<object>]
        if parts[1] == BASE_PATH:  # /20160918/compartments[/<compartment>]
            self._operation = "compartment" if len(parts) > 3 else "compartments"
        else:
            self._operation = "get" if len(parts) > 6 else "list"
        fault = self.server_state.take_fault(self._operation)
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind == "reset":
            self._break_off()
        elif fault is not None and fault.kind == "status":
            self._error(fault.status, fault.code, "as the test wants it")
        elif fault is not None and fault.kind == "portal":
            self._send(200, b"<html>Welcome! Log in.</html>", {"content-type": "text/html"})
        elif not self.server_state.accepts("GET", self.path, self.headers):
            self._error(
                401,
                "NotAuthenticated",
                "The required information to complete authentication was not provided or was "
                "incorrect.",
            )
        elif self._operation == "compartment":
            self._answer(self.server_state.identity.get(parts[3]), fault)
        elif self._operation == "compartments":
            self._answer(self.server_state.identity.list(self._query), fault)
        elif parts[2] != self.server_state.namespace:
            self._error(404, "NamespaceNotFound", "You do not have authorization, or no namespace")
        elif parts[4] != self.server_state.bucket:
            self._error(
                404,
                "BucketNotFound",
                f"Either the bucket named '{parts[4]}' does not exist in the namespace "
                f"'{parts[2]}' or you are not authorized to access it",
            )
        elif self._operation == "list":
            self._list(fault)
        else:
            self._get("/".join(parts[6:]), fault)

    def _answer(self, answer: Answer, fault: Fault | None) -> None:
        headers = {"content-type": "application/json"}
        if answer.next_page is not None:
            headers["opc-next-page"] = answer.next_page
        self._send(answer.status, json.dumps(answer.content).encode(), headers, _cut(fault))

    def _list(self, fault: Fault | None) -> None:
        query = self._query
        limit = min(int(query.get("limit", 1000)), self.server_state.page_size)
        names = [
            name
            for name in self.server_state.names()
            if name.startswith(query.get("prefix", "")) and name >= query.get("start", "")
        ]
        fields = {"name", *query.get("fields", "name").split(",")}
        objects = []
        for name in names[:limit]:
            stored = self.server_state.find(name)
            if stored is not None:
                objects.append({k: v for k, v in _summary(name, stored).items() if k in fields})
        answer: dict[str, Any] = {"objects": objects, "prefixes": []}
        if len(names) > limit:
            answer["nextStartWith"] = names[limit]
        body = json.dumps(answer).encode()
        self._send(200, body, {"content-type": "application/json"}, _cut(fault))

    def _get(self, name: str, fault: Fault | None) -> None:
        if self.server_state.before_get is not None:
            self.server_state.before_get()
        stored = self.server_state.find(name)
        if stored is None:
            self._error(404, "ObjectNotFound", f"The object '{name}' was not found")
            return
        if self.headers.get("if-match", stored.etag) != stored.etag:
            self._error(412, "IfMatchFailed", "The If-Match header did not match the object's etag")
            return
        headers = {"etag": stored.etag, "content-type": "application/gzip"}
        # As an upload with this header is given back; the body must come through undecoded.
        if name.endswith(".gz"):
            headers["content-encoding"] = "gzip"
        self._body(stored.data, headers, fault)

    def _body(self, data: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        status = 200
        if wanted and not self.server_state.ignores_ranges:
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            if first >= len(data):
                self._error(416, "InvalidRange", f"the object has {len(data)} bytes")
                return
            headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        if fault is not None and fault.kind == "garble":
            data = bytes(byte ^ 0x55 for byte in data)
        if fault is not None and fault.kind == "short":
            data = data[: fault.after]
        self._send(status, data, headers, _cut(fault))

    def _error(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"code": code, "message": message}).encode()
        self._send(status, body, {"content-type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self._note(status)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("opc-request-id", f"lhr-1:{uuid.uuid4().hex}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True

    def _break_off(self) -> None:
        self._note(0)
        # With a linger of zero, closing sends RST in the place of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _note(self, status: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self._operation, self.path, self._query, headers, status)
        self.server_state.seen.append(seen)


def _cut(fault: Fault | None) -> int | None:
    return fault.after if fault is not None and fault.kind == "cut" else None


def _summary(name: str, stored: StoredObject) -> dict[str, Any]:
    summary = {
        "name": name,
        "size": len(stored.data),
        "etag": stored.etag,
        "md5": stored.md5,
        "timeCreated": stored.created.isoformat(timespec="milliseconds"),
    }
    if stored.modified is not None:
        summary["timeModified"] = stored.modified.isoformat(timespec="milliseconds")
    return summary


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_of(key: rsa.RSAPrivateKey, passphrase: str | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def fingerprint_of(key: rsa.RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.md5(public, usedforsecurity=False).digest().hex(":")


def write_config(
    folder: Path,
    server: ObjectStorageServer,
    *,
    key: rsa.RSAPrivateKey | None = None,
    passphrase: str | None = None,
    profile: str = "DEFAULT",
    extra: str = "",
) -> Path:
    """An OCI configuration file with a fresh key, which the server then trusts. Gives its path."""
    key = key or new_key()
    key_file = folder / f"{profile}.pem"
    key_file.write_bytes(pem_of(key, passphrase))
    key_file.chmod(0o600)
    config_file = folder / "config"
    lines = [
        f"[{profile}]",
        f"user={USER}",
        f"tenancy={TENANCY}",
        f"fingerprint={fingerprint_of(key)}",
        f"key_file={key_file}",
        "region=eu-frankfurt-1",
        *([f"pass_phrase={passphrase}"] if passphrase else []),
        extra,
    ]
    with config_file.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    config_file.chmod(0o600)
    server.trust(f"{TENANCY}/{USER}/{fingerprint_of(key)}", key.public_key())
    return config_file
