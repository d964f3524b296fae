"""`finops serve`: the REST API on this machine, or with a token for others."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finops_pipeline import console
from finops_pipeline.cli_options import Config, settings_of, teaching

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_ENGINES = 4  # questions that are answered at a time


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond this machine only with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Holds the token that is asked for; else $FINOPS_API_TOKEN, if set."),
    ] = None,
    config: Config = None,
) -> None:
    """Answer questions over HTTP (REST API)."""
    from finops_pipeline.serve.guard import check_address, token_of

    with teaching():
        token = token_of(token_file)
        check_address(host, token)
    # What follows takes seconds to load; a refusal needs none of it.
    from finops_pipeline.allocate.load import load_rules
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.serve.app import ROOT, make_app
    from finops_pipeline.serve.service import Service

    pipeline = Pipeline(settings_of(config))
    with teaching(), pipeline.engines(_ENGINES) as engines:
        service = Service(pipeline.home, engines, lambda: load_rules(pipeline.settings.rules))
        app = make_app(service, host, token)
        with service.warm(), _listening(host, port) as listening:
            address = f"[{host}]" if ":" in host else host
            console.say(
                f"answers on http://{address}:{listening.getsockname()[1]}{ROOT} "
                f"{'with' if token else 'without'} a token; Ctrl-C stops it"
            )
            _answer(app, listening)


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address. Raises ConfigError."""
    from finops_pipeline.config import ConfigError

    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0])
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror}; name another with --host or "
            "--port"
        ) from None


def _answer(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until a signal ends it."""
    import uvicorn
    from uvicorn.config import LOGGING_CONFIG

    handlers: dict[str, Any] = LOGGING_CONFIG["handlers"]
    said = {**handlers["access"], "stream": "ext://sys.stderr"}
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            log_config={**LOGGING_CONFIG, "handlers": {**handlers, "access": said}},
        )
    )
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
