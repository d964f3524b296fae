"""AWS on loopback: moto for S3, STS and Organizations, and a Cost Explorer of our own before it.

What moto lacks is added here: failures of all kinds that a test asks for, streams that are cut,
rights that are taken away, and `GetCostAndUsage` with pages. It knows nothing of the package.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
ACCOUNT = "123456789012"
USER = f"arn:aws:iam::{ACCOUNT}:user/finops"


@dataclass
class Request:
    """A request as it arrived: the service, the operation, and for S3 the key."""

    service: str
    operation: str
    key: str
    headers: dict[str, str]
    body: bytes


@dataclass
class _Fault:
    operation: str
    times: int
    status: str
    code: str
    message: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    cut_after: int | None = None
    lie: bytes | None = None


class Aws:
    """The server as seen from outside, and what a test tells it to do."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.cost_explorer: Callable[[str, dict[str, Any]], Any] = _no_data
        self.page_size = 1000  # of listings
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=MotoRequestHandler
        )
        self.endpoint = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it, and nothing of this machine's own settings."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """boto3's own way in."""
        session = boto3.Session(
            aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        return session.client(service, endpoint_url=self.endpoint)

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bills-{uuid.uuid4().hex[:12]}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        """Write objects."""
        for key, content in files.items():
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)

    def forget(self) -> None:
        """Back to a server that works and has been asked nothing."""
        self._faults.clear()
        self.requests.clear()
        self.page_size = 1000
        self.cost_explorer = _no_data

    def asked(self, operation: str) -> list[Request]:
        """The requests of an operation."""
        return [r for r in self.requests if r.operation == operation]

    def fail(
        self, operation: str, times: int, status: str, code: str, message: str = "", **headers: str
    ) -> None:
        """Answer the next requests of an operation with an error."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self._faults.append(_Fault(operation, times, status, code, message, named))

    def deny(self, operation: str, action: str, resource: str) -> None:
        """Take a right away, in the words of IAM."""
        message = (
            f"User: {USER} is not authorized to perform: {action} on resource: {resource} because "
            "no identity-based policy allows the action"
        )
        code = (
            "AccessDenied"
            if action.startswith(("s3:", "kms:", "sts:"))
            else "AccessDeniedException"
        )
        self._faults.append(_Fault(operation, 1 << 30, "403 Forbidden", code, message))

    def cut(self, operation: str, times: int, after: int) -> None:
        """Break the next bodies of an operation off after so many bytes."""
        self._faults.append(_Fault(operation, times, "", "", "", cut_after=after))

    def lie(self, operation: str, content: bytes) -> None:
        """Give other bytes of the same length than those that are kept."""
        self._faults.append(_Fault(operation, 1 << 30, "", "", "", lie=content))

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            request = _request(environ)
            self.requests.append(request)
            fault = next(
                (f for f in self._faults if f.operation == request.operation and f.times), None
            )
            if fault is not None:
                fault.times -= 1
            if fault is not None and fault.status:
                return _error(start, request.service, fault)
            if request.service == "ce":
                return self._cost_explorer(start, request)
            if request.operation == "ListObjectsV2":
                environ["QUERY_STRING"] += f"&max-keys={self.page_size}"
            whole = list(self._moto(environ, start))
            if fault is None:
                return whole
            return [fault.lie or b"".join(whole)[: fault.cut_after]]

    def _cost_explorer(self, start: Callable[..., Any], request: Request) -> Iterable[bytes]:
        answer = self.cost_explorer(request.operation, json.loads(request.body))
        return _send(start, "200 OK", json.dumps(answer).encode(), [])


@contextmanager
def aws_server() -> Iterator[Aws]:
    """A server that runs as long as the block."""
    server = Aws()
    try:
        yield server
    finally:
        server.close()


def _no_data(operation: str, request: dict[str, Any]) -> Any:
    return {"ResultsByTime": []}


def _request(environ: dict[str, Any]) -> Request:
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = _Again(body)
    headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k[:5] == "HTTP_"}
    service = scope[1] if scope else ""
    return Request(service, _operation(environ, service, body), environ["PATH_INFO"], headers, body)


class _Again:
    """A body that was read and is to be read again."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _operation(environ: dict[str, Any], service: str, body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if service == "sts":
        return parse_qs(body.decode())["Action"][0]
    if "list-type" in environ["QUERY_STRING"]:
        return "ListObjectsV2"
    return {"GET": "GetObject", "PUT": "PutObject"}.get(environ["REQUEST_METHOD"], "other")


def _error(start: Callable[..., Any], service: str, fault: _Fault) -> Iterable[bytes]:
    if service in ("s3", "sts"):
        error = f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
        whole = error if service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
        return _send(start, fault.status, whole.encode(), fault.headers)
    said = {"__type": fault.code, "message": fault.message}
    return _send(start, fault.status, json.dumps(said).encode(), fault.headers)


def _send(
    start: Callable[..., Any], status: str, body: bytes, headers: list[tuple[str, str]]
) -> Iterable[bytes]:
    start(status, [("Content-Length", str(len(body))), *headers])
    return [body]
