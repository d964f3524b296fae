"""Azure Blob Storage's emulator on loopback, and a gate before it that fails as told.

Azurite is Microsoft's own emulator; `make azurite` installs it. What it holds is written through
the SDK's client here. The gate passes requests on byte for byte; SAS and keys sign path and
query, not the host, so they hold through it. It knows nothing of the package.

    with azurite() as server:
        server.put("bills", "a/b.csv", b"...")
        with gate(server.endpoint) as before: before.fail(503, times=2)
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.storage.blob import BlobServiceClient, ContentSettings, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ACCOUNT = "devstoreaccount1"  # Azurite's only account, with a key that its documentation prints
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PROGRAM = Path(__file__).parents[2] / ".azurite/node_modules/.bin/azurite-blob"


def is_installed() -> bool:
    """Whether `make azurite` was run."""
    return PROGRAM.exists()


@dataclass(frozen=True)
class Azurite:
    """The emulator as seen from outside."""

    endpoint: str

    @property
    def client(self) -> BlobServiceClient:
        """The SDK's own way in, with all rights."""
        return BlobServiceClient(
            self.endpoint, credential={"account_name": ACCOUNT, "account_key": KEY}
        )

    def put(self, container: str, name: str, content: bytes, md5: bytes | None = None) -> None:
        """Write a blob, and its container before it."""
        holder = self.client.get_container_client(container)
        if not holder.exists():
            holder.create_container()
        settings = ContentSettings(content_md5=bytearray(md5)) if md5 else None
        holder.upload_blob(name, content, overwrite=True, content_settings=settings)

    def remove(self, container: str, name: str) -> None:
        """Delete a blob."""
        self.client.get_container_client(container).delete_blob(name)

    def sas(self, container: str, rights: str = "rl", ends_in: timedelta = timedelta(1)) -> str:
        """A shared access signature for a container."""
        return generate_container_sas(
            ACCOUNT, container, account_key=KEY, permission=rights,
            start=datetime.now(UTC) - timedelta(days=2), expiry=datetime.now(UTC) + ends_in,
        )  # fmt: skip


@contextmanager
def azurite() -> Iterator[Azurite]:
    """An emulator that runs as long as the block and keeps nothing."""
    port = _free_port()
    process = subprocess.Popen(
        [PROGRAM, "--blobPort", str(port), "--inMemoryPersistence", "--silent",
         "--skipApiVersionCheck", "--disableTelemetry"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _answering(port, process)
        yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}")
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answering(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


@dataclass
class Gate:
    """What the gate does with the next requests, and what it saw."""

    endpoint: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    page: int | None = None  # blobs that a listing gives at once

    def fail(self, status: int, times: int = 1, code: str = "", **headers: str) -> None:
        """Answer the next requests so, as Blob Storage words it."""
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Told.</Message></Error>"
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        told |= {"x-ms-error-code": code} if code else {}
        self.answers += [(status, told, body.encode())] * times

    def cut(self, *after: int | None) -> None:
        """Break the next bodies of blobs off after so many bytes; None lets one through."""
        self.cuts += after


@contextmanager
def gate(behind: str, certificate: Path | None = None) -> Iterator[Gate]:
    """A gate before the server at that address, as long as the block; https by a certificate."""
    told = Gate()
    port = urlsplit(behind).port
    assert port is not None
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(told, port))
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    scheme = "http" if certificate is None else "https"
    told.endpoint = f"{scheme}://127.0.0.1:{server.server_port}{urlsplit(behind).path}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def new_certificate(path: Path) -> Path:
    """A key and a certificate for loopback, which a client must be told to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    alternatives = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def _handler(told: Gate, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers.get("x-ms-range", "")))
            if told.answers:
                self._send(*told.answers.pop(0))
                return
            upstream = HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            paged = told.page is not None and "comp=list" in self.path
            path = f"{self.path}&maxresults={told.page}" if paged else self.path
            upstream.request("GET", path, headers=headers | {"Host": f"127.0.0.1:{port}"})
            answer = upstream.getresponse()
            body = answer.read()
            upstream.close()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
            is_blob = answer.status in (200, 206) and "comp=list" not in self.path
            cut = told.cuts.pop(0) if told.cuts and is_blob else None
            self._send(answer.status, kept, body, cut)

        def _send(
            self, status: int, headers: dict[str, Any], body: bytes, cut: int | None = None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.close_connection = True

        def handle(self) -> None:
            with suppress(ConnectionError):  # a client that has seen enough
                super().handle()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
