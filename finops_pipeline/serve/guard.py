"""Who may ask: the token, and where one listens without it.

Beyond loopback nothing listens without a token (promise 12). On loopback any page in a browser can
send requests here; by a name that it makes point to this machine it could read the answers too
(DNS rebinding), so the names of loopback alone are answered, and nothing is shared across origins.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from finops_pipeline.config import ConfigError
from finops_pipeline.serve.problems import problem

TOKEN_VARIABLE = "FINOPS_API_TOKEN"
OPEN = frozenset({"/api/v1/health"})  # says nothing but that it is there

_SHORTEST = 16
_HOW = "make one with `openssl rand -hex 32`"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_of(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token in that file, else in the environment. Raises ConfigError, without the token."""
    if file is not None:
        place = f"the token file {file}"
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            told = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"{place} cannot be read: {told}") from None
    elif TOKEN_VARIABLE in environment:
        place, token = f"${TOKEN_VARIABLE}", environment[TOKEN_VARIABLE].strip()
    else:
        return None
    if len(token) < _SHORTEST:
        raise ConfigError(f"{place} has fewer than {_SHORTEST} characters; {_HOW}")
    if not all("!" <= character <= "~" for character in token):
        raise ConfigError(f"{place} has blanks or letters beyond ASCII; {_HOW}")
    return token


def check_address(host: str, token: str | None) -> None:
    """Raise ConfigError for an address beyond loopback without a token."""
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"others can reach {host!r}, and there is no token to tell who asks: put one into a "
            f"file and name it with --token-file, or set ${TOKEN_VARIABLE} ({_HOW}); or listen on "
            "127.0.0.1"
        )


def guarded(app: ASGIApp, host: str, token: str | None) -> ASGIApp:
    """The app for those who may ask it; who has a token may call this machine as they like."""
    return Names(app, host) if token is None else Token(app, token)


class Token:
    """Asks for `Authorization: Bearer <token>`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._digest = _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN and not self._knows(scope):
            refused = problem(
                401,
                "give the token of this server in the header `Authorization: Bearer <token>`",
                {"WWW-Authenticate": "Bearer"},
            )
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        # Digests are of one length, so the time tells nothing of the token, nor of its length.
        same = hmac.compare_digest(_digest(given.strip()), self._digest)
        return scheme.lower() == "bearer" and same


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Names:
    """Answers to the names of loopback only."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        names = map(re.escape, (*_LOOPBACK, host, f"[{host}]"))
        self._known = re.compile(rf"({'|'.join(names)})(:[0-9]+)?", re.IGNORECASE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        named = Headers(scope=scope).get("host", "") if scope["type"] == "http" else "localhost"
        if self._known.fullmatch(named):
            await self._app(scope, receive, send)
        else:
            refused = problem(
                400,
                f"without a token this server answers to localhost and 127.0.0.1 alone, not to "
                f"{named!r}; ask by one of these, or start it with a token",
            )
            await refused(scope, receive, send)
