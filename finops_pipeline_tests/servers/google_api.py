"""What servers that behave as Google's JSON APIs do have in common: tokens, faults, errors.

They listen on loopback. A client signs in with a service account's key, whose `token_uri` leads
here; every request must bear a token that was given out and still holds.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ACCOUNT = "finops-reader@acme-billing.iam.gserviceaccount.com"


@dataclass
class Fault:
    """An answer in the place of the right one, as often as `times`, where a path contains `where`.

    `cut` is how many bytes of the right answer's body arrive before the connection breaks.
    """

    where: str
    status: int = 200
    reason: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    times: int = 1


@dataclass
class Answer:
    """What a request is answered with."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request that a server got."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


def answer(value: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


def refusal(status: int, reason: str, message: str) -> Answer:
    """An error as Google's JSON APIs word it."""
    listed = [{"message": message, "domain": "global", "reason": reason}]
    return answer({"error": {"code": status, "message": message, "errors": listed}}, status)


class GoogleServer:
    """A server on loopback; subclasses answer requests."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.tokens: set[str] = set()
        self.revoked = False
        self.open = False  # as emulators are: whoever asks is answered
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"

    def respond(self, request: Request) -> Answer:
        """The right answer."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def key_file(self, folder: Path) -> Path:
        """A service account's key, as the console gives it out."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / "key.json"
        path.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "acme-billing",
                    "private_key_id": "1",
                    "private_key": pem.decode(),
                    "client_email": ACCOUNT,
                    "client_id": "1",
                    "token_uri": f"{self.endpoint}/token",
                }
            )
        )
        return path

    def expire(self) -> None:
        """Have no token hold any more, nor a new one be given out."""
        self.tokens.clear()
        self.revoked = True

    def asked(self, where: str) -> list[Request]:
        """The requests whose path contains a text."""
        return [r for r in self.requests if where in r.path]

    def _answer(self, request: Request) -> tuple[Answer, int | None]:
        with self._lock:
            if request.path == "/token":
                return self._token(), None
            self.requests.append(request)
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if given not in self.tokens and not self.open:
                return refusal(401, "authError", "Invalid Credentials"), None
            fault = next((f for f in self.faults if f.times and f.where in request.path), None)
            if fault is None:
                return self.respond(request), None
            fault.times -= 1
            if fault.cut is not None:
                return self.respond(request), fault.cut
            made = refusal(fault.status, fault.reason, fault.message or "fault")
            return Answer(made.body, made.status, {**made.headers, **fault.headers}), None

    def _token(self) -> Answer:
        if self.revoked:
            return answer({"error": "invalid_grant", "error_description": "account disabled"}, 400)
        token = f"token-{len(self.tokens)}"
        self.tokens.add(token)
        return answer({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                url = urlsplit(self.path)
                query = {n: v[-1] for n, v in parse_qs(url.query).items()}
                is_json = "json" in (self.headers.get("Content-Type") or "")
                given = json.loads(body) if body and is_json else None
                headers = {name.title(): value for name, value in self.headers.items()}
                made, cut = server._answer(
                    Request(self.command, unquote(url.path), query, headers, given)
                )
                self.send_response(made.status)
                for name, value in made.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(made.body)))
                self.end_headers()
                self.wfile.write(made.body if cut is None else made.body[:cut])
                if cut is not None:
                    self.wfile.flush()
                    self.close_connection = True

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler
