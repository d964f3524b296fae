"""Azure's Cost Management Query and a managed identity on loopback, which can fail as told.

As Microsoft documents them: "Query - Usage" (API 2025-03-01), "Throttling", "How to use managed
identities for App Service" (the endpoint that gives tokens). It knows nothing of the package.

    with CostManagement() as server:
        server.add("subscriptions/…", "2026-08-03", "0.1", resource, "Virtual Machines")
        os.environ |= server.environment
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HEADER = "identity-header-secret"
OBJECT = "0f9e8d7c-1111-2222-3333-444455556666"  # who asks, as Entra ID knows it
TENANT = "99999999-aaaa-bbbb-cccc-dddddddddddd"
_QUERY = "/providers/Microsoft.CostManagement/query"
_COLUMNS = ("Cost", "UsageDate", "ResourceId", "ServiceName", "Currency")
_TYPES = ("Number", "Number", "String", "String", "String")


@dataclass
class Fault:
    """An answer that is told instead of the right one, or the bytes after which it breaks off."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None


class CostManagement:
    """A scope's costs by day, and how they were asked for."""

    page = 1000

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[str, str, str, str, str]]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.tokens_given = 0
        self.faults: list[Fault] = []
        self.identity_fault: Fault | None = None
        self.refused_tokens: set[str] = set()
        self.extra_column: str | None = None
        self.groups: list[tuple[str, str, str]] = []  # identifier, name, parent
        self.groups_fault: Fault | None = None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> CostManagement:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process run as the managed identity of this server."""
        return {"IDENTITY_ENDPOINT": f"{self.endpoint}/token", "IDENTITY_HEADER": HEADER}

    def add(self, scope: str, day: str, cost: str, resource: str, service: str) -> None:
        """A cost of a day, as the text of a JSON number."""
        self.rows.setdefault(scope, []).append((day, cost, resource, service, "USD"))

    def throttle(self, times: int = 1, **limits: str) -> None:
        """Answer the next requests with 429, and what each limit asks to wait."""
        headers = {
            f"x-ms-ratelimit-microsoft.costmanagement-{name.replace('_', '-')}-retry-after": value
            for name, value in limits.items()
        }
        body = _error("429", "Too many requests. Please retry.")
        self.faults += [Fault(429, headers, body)] * times

    def fail(self, status: int, code: str, message: str, times: int = 1) -> None:
        """Answer the next requests so."""
        self.faults += [Fault(status, {}, _error(code, message))] * times

    def cut(self, *after: int) -> None:
        """Break the next answers off after so many bytes."""
        self.faults += [Fault(cut=count) for count in after]

    # What answers.

    def answer(self, path: str, query: dict[str, list[str]], asked: dict[str, Any]) -> bytes:
        """A page, or ValueError for what the service would not take."""
        if query.get("api-version") != ["2025-03-01"]:
            raise ValueError("InvalidApiVersion")
        told = asked["dataset"]
        if len(told["aggregation"]) > 2 or len(told["grouping"]) > 2:
            raise ValueError("BadRequest: at most two")
        start, end = (asked["timePeriod"][key][:10] for key in ("from", "to"))
        scope = path.removeprefix("/").removesuffix(_QUERY)
        token = (
            json.loads(base64.b64decode(query["$skiptoken"][0])) if "$skiptoken" in query else {}
        )
        if token and token["body"] != asked:
            raise ValueError("BadRequest: another question than that of the first page")
        offset = token.get("offset", 0)
        found = [r for r in self.rows.get(scope, ()) if start <= r[0] <= end]
        rows = ",".join(self._row(r) for r in found[offset : offset + self.page])
        link = None
        if offset + self.page < len(found):
            following = {"offset": offset + self.page, "body": asked}
            skip = base64.b64encode(json.dumps(following).encode()).decode()
            link = f"{self.endpoint}{path}?api-version=2025-03-01&$skiptoken={skip}"
        columns = [{"name": n, "type": t} for n, t in zip(_COLUMNS, _TYPES, strict=True)]
        if self.extra_column:
            columns.append({"name": self.extra_column, "type": "String"})
        return (
            f'{{"id":"{scope}","type":"Microsoft.CostManagement/query","properties":'
            f'{{"nextLink":{json.dumps(link)},"columns":{json.dumps(columns)},"rows":[{rows}]}}}}'
        ).encode()

    def _row(self, row: tuple[str, str, str, str, str]) -> str:
        day, cost, *words = row
        texts = [json.dumps(word) for word in words]
        if self.extra_column:
            texts.append('"new"')
        return f"[{','.join([cost, day.replace('-', ''), *texts])}]"

    def descendants(self, path: str, query: dict[str, list[str]]) -> bytes:
        """A page of two management groups or subscriptions."""
        offset = int(query.get("$skiptoken", ["0"])[0])
        found = self.groups[offset : offset + 2]
        link = f"{self.endpoint}{path}?api-version=2020-05-01&$skiptoken={offset + 2}"
        value = [
            {"id": id_, "name": id_.rpartition("/")[2],
             "properties": {"displayName": name, "parent": {"id": parent}}}
            for id_, name, parent in found
        ]  # fmt: skip
        more = offset + 2 < len(self.groups)
        return json.dumps({"value": value, "nextLink": link if more else None}).encode()

    def token(self) -> bytes:
        """A token as the managed identity's endpoint gives it."""
        self.tokens_given += 1
        claims = {"oid": OBJECT, "tid": TENANT, "n": self.tokens_given}
        parts = [{"alg": "none"}, claims, {}]
        encoded = [
            base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts
        ]
        told = {
            "access_token": ".".join(encoded), "expires_on": "4102444800",
            "resource": "https://management.azure.com", "token_type": "Bearer",
        }  # fmt: skip
        return json.dumps(told).encode()


def _error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def _handler(server: CostManagement) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path.endswith("/descendants"):
                page = server.descendants(url.path, parse_qs(url.query))
                self._send(server.groups_fault or Fault(200, {}, page))
            elif self.headers.get("X-IDENTITY-HEADER") != HEADER:
                self._send(Fault(401, {}, _error("Unauthorized", "no such identity")))
            else:
                self._send(server.identity_fault or Fault(200, {}, server.token()))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, asked))
            fault = server.faults.pop(0) if server.faults else Fault()
            if fault.status != 200:
                self._send(fault)
                return
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or token in server.refused_tokens:
                self._send(Fault(401, {}, _error("ExpiredAuthenticationToken", "It has expired.")))
                return
            url = urlsplit(self.path)
            try:
                body = server.answer(url.path, parse_qs(url.query), asked)
            except (ValueError, KeyError) as error:
                self._send(Fault(400, {}, _error("BadRequest", str(error))))
                return
            self._send(Fault(200, {}, body, fault.cut))

        def _send(self, told: Fault) -> None:
            self.send_response_only(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body[: told.cut])
            if told.cut is not None:
                self.close_connection = True

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
