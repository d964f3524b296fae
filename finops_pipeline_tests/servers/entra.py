"""An authority that gives applications their tokens, on loopback, as Entra ID does.

It speaks as a directory of one's own (`adfs`), since for any other the libraries first ask
Microsoft whether the host is one of theirs. It knows nothing of the package.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

SECRET = "an-application's-secret"


@dataclass
class Entra:
    """The authority as seen from outside, and what it was asked for."""

    endpoint: str = ""
    error: str | None = None  # what it answers instead of a token
    asked: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@contextmanager
def entra(certificate: Path) -> Iterator[Entra]:
    """An authority as long as the block; clients must trust its certificate."""
    told = Entra()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(told))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    told.endpoint = f"https://127.0.0.1:{server.server_port}"
    told.environment = {
        "AZURE_AUTHORITY_HOST": told.endpoint,
        "AZURE_TENANT_ID": "adfs",
        "AZURE_CLIENT_ID": "11112222-3333-4444-5555-666677778888",
        "AZURE_CLIENT_SECRET": SECRET,
        "REQUESTS_CA_BUNDLE": str(certificate),
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(told: Entra) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(
                200,
                {
                    "issuer": f"{told.endpoint}/adfs",
                    "authorization_endpoint": f"{told.endpoint}/adfs/oauth2/authorize",
                    "token_endpoint": f"{told.endpoint}/adfs/oauth2/token",
                },
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = parse_qs(body)
            told.asked += asked.get("scope", [])
            if told.error is not None:
                self._send(401, {"error": "invalid_client", "error_description": told.error})
                return
            assert asked["client_secret"] == [SECRET]
            self._send(200, {"access_token": "token", "token_type": "Bearer", "expires_in": 3600})

        def _send(self, status: int, told_: dict[str, Any]) -> None:
            body = json.dumps(told_).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            with suppress(ConnectionError, ssl.SSLError):
                super().handle()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
