"""Who may ask: tokens, addresses, names of this machine; and what is never told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from finops_pipeline.config import ConfigError
from finops_pipeline.serve.guard import check_address, is_loopback, token_of
from finops_pipeline_tests.cli.place import FINOPS, Place
from finops_pipeline_tests.serve.server import Server, clean_environment, serving

TOKEN = "0f8c-a-token-of-32-characters-77"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(f"{TOKEN}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def guarded(shop: Place, token_file: Path) -> Iterator[Server]:
    with serving(shop.config, "--token-file", str(token_file)) as found:
        yield found


@pytest.mark.parametrize("path", ["costs", "explain/0123456789abcdef", "openapi.json", "nowhere"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Cookie": f"token={TOKEN}"},
    ],
    ids=str,
)
def test_without_the_token_nothing_is_answered(
    guarded: Server, path: str, headers: dict[str, str]
) -> None:
    answer = httpx.get(f"{guarded.url}/api/v1/{path}", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Authorization: Bearer" in answer.json()["detail"]


def test_a_token_in_the_address_counts_for_nothing(guarded: Server) -> None:
    assert guarded.get("costs?token=no&access_token=no").status_code == 401


def test_with_the_token_it_answers(guarded: Server, shop: Place) -> None:
    with guarded.client(TOKEN) as client:
        printed = shop.finops("costs", "--by", "owner", "--format", "json").stdout
        assert client.get("costs?by=owner").text == printed
        # Whoever has the token may come by any name, as through a proxy.
        assert client.get("costs", headers={"Host": "finops.example.com"}).status_code == 200
        document = client.get("openapi.json").json()
        assert document["security"] == [{"token": []}]
        scheme = {"Authorization": f"bearer {TOKEN}"}  # the scheme's case means nothing
        assert client.get("costs", headers=scheme).status_code == 200
    assert guarded.get("health").json() == {"status": "ok"}


def test_the_token_is_told_nowhere(guarded: Server) -> None:
    with guarded.client(TOKEN) as client:
        texts = [client.get(p).text for p in ("costs", "costs?by=x", "nowhere", "openapi.json")]
    log = guarded.log.read_text(encoding="utf-8")
    assert "GET /api/v1/costs" in log
    assert not [text for text in (*texts, log) if TOKEN in text]


def test_a_token_comes_by_the_environment_too(shop: Place) -> None:
    with serving(shop.config, environment={"FINOPS_API_TOKEN": TOKEN}) as found:
        assert found.get("costs").status_code == 401
        with found.client(TOKEN) as client:
            assert client.get("costs").status_code == 200
        assert TOKEN not in found.log.read_text(encoding="utf-8")


def test_other_addresses_are_served_with_a_token(shop: Place, token_file: Path) -> None:
    with serving(shop.config, "--host", "0.0.0.0", "--token-file", str(token_file)) as found:
        local = Server(found.url.replace("0.0.0.0", "127.0.0.1"), found.log)
        assert local.get("costs").status_code == 401
        with local.client(TOKEN) as client:
            assert client.get("costs").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8080", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost.evil.example:8080", 400),
        ("evil.example:127.0.0.1", 400),
        ("127.0.0.1@evil.example", 400),
        ("127.0.0.1:80:80", 400),
        ("0.0.0.0", 400),
        ("", 400),
    ],
)
def test_names_that_others_can_give_this_machine_are_refused(
    server: Server, host: str, status: int
) -> None:
    for path in ("costs", "health", "openapi.json"):
        answer = httpx.get(f"{server.url}/api/v1/{path}", headers={"Host": host})
        assert answer.status_code == status, answer.text
    if status == 400:
        assert "localhost and 127.0.0.1 alone" in answer.json()["detail"]


def test_no_page_of_another_origin_is_let_read(server: Server) -> None:
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    with server.client() as client:
        for method in ("GET", "OPTIONS"):
            answer = client.request(method, "costs", headers=origin)
            assert not [n for n in answer.headers if n.startswith("access-control")]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "finops.example.com", ""])
def test_beyond_loopback_it_does_not_start_without_a_token(shop: Place, host: str) -> None:
    done = shop.finops("serve", "--host", host)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"others can reach {host!r}" in done.stderr
    assert "--token-file" in done.stderr and "$FINOPS_API_TOKEN" in done.stderr


def test_a_token_is_no_option(shop: Place) -> None:
    assert shop.finops("serve", "--token", TOKEN).exit_code == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "fewer than 16 characters"),
        (b"short", "fewer than 16 characters"),
        (b"a token with blanks in it", "blanks"),
        ("ein-schlüssel-mit-umlaut".encode(), "beyond ASCII"),
        (b"\xff" * 40, "cannot be read: it is no text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_token_that_is_none_is_refused(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        token_of(path, {})
    assert expected in str(refused.value)
    assert not content or repr(content)[2:-1] not in str(refused.value)


def test_an_empty_variable_is_no_leave_to_go_without(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FINOPS_API_TOKEN has fewer"):
        token_of(None, {"FINOPS_API_TOKEN": ""})
    assert token_of(None, {}) is None
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="utf-8")
    assert token_of(file, {"FINOPS_API_TOKEN": "x" * 20}) == TOKEN


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "")))
    check_address("10.0.0.1", TOKEN)


def test_a_port_that_is_taken_is_named(shop: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shop.finops("serve", "--port", port)
    assert done.exit_code == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr and "--port" in done.stderr


def test_it_ends_quietly_when_it_is_interrupted(shop: Place, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(FINOPS), "serve", "--port", "0", "--config", str(shop.config)],
            stdout=said, stderr=said, env=clean_environment(), cwd=shop.folder,
        )  # fmt: skip
    for _ in range(600):
        if b"answers on" in log.read_bytes():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) == 0
    text = log.read_text(encoding="utf-8")
    assert "Traceback" not in text and "leaked" not in text


def test_other_commands_load_no_server() -> None:
    loaded = "import sys, finops_pipeline.cli; print({'fastapi', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
