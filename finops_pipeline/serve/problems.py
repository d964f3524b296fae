"""What is said when there is no answer: RFC 9457, in the sentence that the command would print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from finops_pipeline.config import ConfigError
from finops_pipeline.lake.damage import damage
from finops_pipeline.lake.forgotten import ForgottenError
from finops_pipeline.lake.place import LakeDamaged, StoreFailing, StoreRefused
from finops_pipeline.query.explain import ExplainError, UnknownFigure
from finops_pipeline.query.model import QueryError, told
from finops_pipeline.query.statement import UnknownOwner
from finops_pipeline.serve.service import Busy, NothingYet

MEDIA_TYPE = "application/problem+json"
STATUS: Mapping[type[Exception], int] = {
    UnknownFigure: 404, UnknownOwner: 404, ExplainError: 422, QueryError: 422,
    ForgottenError: 422, ConfigError: 503, StoreRefused: 503, StoreFailing: 503,
    LakeDamaged: 503, NothingYet: 503, Busy: 503,
}  # fmt: skip
_RETRY = {"Retry-After": "10"}
_DOCUMENT = "/api/v1/openapi.json says what there is"


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response. Text that is no Unicode is written so that it can be sent."""
    content = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    text = json.dumps(content, indent=2) + "\n"
    return Response(text, status, dict(headers or {}), MEDIA_TYPE)


def teach(app: FastAPI) -> None:
    """Have the app say every error as a problem."""
    for kind in STATUS:
        app.add_exception_handler(kind, _said)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_exception_handler(Exception, _failed)


def _said(_: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    later = isinstance(error, (Busy, StoreFailing))
    return problem(status, str(error), _RETRY if later else None)


def _refused(_: Request, error: Any) -> Response:
    """Parameters that make no question; where they stood (path, query) is cut off."""
    return problem(422, told([{**each, "loc": each["loc"][1:]} for each in error.errors()]))


def _no_such(request: Request, error: Any) -> Response:
    """No such address, or not with this method."""
    where = f"{request.method} {request.url.path}"
    said = f"{where}: {HTTPStatus(error.status_code).phrase}; {_DOCUMENT}"
    return problem(error.status_code, said, error.headers)


def _failed(_: Request, error: Exception) -> Response:
    """What nobody thought of: its text may tell anything, and is in the server's log."""
    if damaged := damage(str(error)):
        return problem(503, str(damaged))
    return problem(500, f"{type(error).__name__}: the server's log tells more")
