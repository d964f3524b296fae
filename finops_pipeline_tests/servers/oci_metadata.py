"""What an OCI compute instance has around it: the metadata service, and the one that gives tokens.

Just enough for the SDK's instance principal to sign in for real: the instance's certificate and
key, its region, and the exchange of a session key for a token.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import oci
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from finops_pipeline_tests.servers.oci_object_storage import TENANCY, new_key, pem_of


class InstanceMetadataServer:
    """Gives `token` to whoever asks, and tells `trust` which key it then stands for."""

    def __init__(self, token: str, trust: Callable[[str, RSAPublicKey], None]) -> None:
        self.token = token
        self.trust = trust
        key = new_key()
        certificate = _certificate(key)
        self.answers = {
            "/opc/v2/instance/region": b"eu-frankfurt-1",
            "/opc/v2/identity/cert.pem": certificate,
            "/opc/v2/identity/intermediate.pem": certificate,
            "/opc/v2/identity/key.pem": pem_of(key),
        }
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> InstanceMetadataServer:
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

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the SDK find this server where it looks for the two services."""
        address = f"http://127.0.0.1:{self._http.server_address[1]}"
        monkeypatch.setenv("OCI_METADATA_BASE_URL", f"{address}/opc/v2")
        real = oci.regions.endpoint_for

        def endpoint_for(service: str, *args: Any, **options: Any) -> Any:
            return address if service == "auth" else real(service, *args, **options)

        monkeypatch.setattr(oci.regions, "endpoint_for", endpoint_for)


def _handler_for(owner: InstanceMetadataServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            known = self.headers.get("authorization") == "Bearer Oracle"
            self._send(200 if known else 401, owner.answers[self.path] if known else b"")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            key = load_der_public_key(base64.b64decode(asked["publicKey"]))
            assert isinstance(key, RSAPublicKey)
            owner.trust(f"ST${owner.token}", key)
            self._send(200, json.dumps({"token": owner.token}).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _certificate(key: Any) -> bytes:
    tenancy = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"opc-tenant:{TENANCY}")
    name = x509.Name([tenancy])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
