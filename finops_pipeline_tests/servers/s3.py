"""An S3-speaking server on loopback in a process of its own: moto, one request at a time.

One at a time makes its conditional writes true: moto looks whether an object is there and writes
it in two steps. It knows one access key, and can be told to fail for a while. What it holds is
read through boto3, which the package does not use for data. It knows nothing of the package.

    with s3_server() as server:
        server.client.create_bucket(Bucket="bills")
        subprocess.run(..., env=os.environ | server.environment)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from urllib.request import urlopen

import boto3

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"

_REFUSED = (
    b"<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not "
    b"exist in our records.</Message></Error>"
)
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class S3:
    """The server as seen from outside."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it, and nothing of this machine's own settings."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def client(self) -> Any:
        """boto3's own way in."""
        session = boto3.Session(
            aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        return session.client("s3", endpoint_url=self.endpoint)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, tuple[str, str]]:
        """Every object's ETag and time of writing by name."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {
            item["Key"]: (item["ETag"], item["LastModified"].isoformat())
            for page in pages
            for item in page.get("Contents", ())
        }

    def fail(self, requests: int, method: str = "") -> None:
        """Answer the next requests (of one method) with 503."""
        urlopen(f"{self.endpoint}/-/fail?requests={requests}&method={method}").read()

    def served(self) -> dict[str, int]:
        """Requests answered so far, by method; `503` counts those that were refused as told."""
        found: dict[str, int] = json.loads(urlopen(f"{self.endpoint}/-/served").read())
        return found


@contextmanager
def s3_server() -> Iterator[S3]:
    """A server that runs as long as the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        yield S3(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


class _Guarded:
    """moto's application behind a lock, a key check and told failures."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._failing = 0
        self._method = ""
        self._served: dict[str, int] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
            if path == "/-/fail":
                told = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
                self._failing, self._method = int(told["requests"][0]), told["method"][0]
                return _answer(start, "200 OK", b"")
            if path == "/-/served":
                return _answer(start, "200 OK", json.dumps(self._served).encode())
            if self._failing and self._method in ("", method):
                self._failing -= 1
                self._served["503"] = self._served.get("503", 0) + 1
                return _answer(start, "503 Service Unavailable", _BUSY)
            self._served[method] = self._served.get(method, 0) + 1
            if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
                return _answer(start, "403 Forbidden", _REFUSED)
            return list(self._application(environ, start))


def _answer(start: Callable[..., Any], status: str, body: bytes) -> list[bytes]:
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _serve() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.server import MotoRequestHandler
    from werkzeug.serving import make_server

    application = _Guarded(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler
    )
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
