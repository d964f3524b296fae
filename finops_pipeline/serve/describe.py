"""The description of the API as OpenAPI: the routes are FastAPI's, what answers hold is data."""

from __future__ import annotations

from importlib import resources
from typing import Any

from fastapi import FastAPI

from finops_pipeline.exact_yaml import read_yaml
from finops_pipeline.serve.problems import MEDIA_TYPE

ABOUT = """\
What was spent, whose it is, and where each figure comes from. Each answer is the JSON that the
`finops` command of the same name prints. Everything is read-only.

Money is an exact decimal as text. Amounts are in the reporting currency unless another is asked
for. The grain of the lake is one figure a day for each source, resource, SKU and owner; days are
UTC days of ChargePeriodStart. Answers are of the newest state of the lake, or of an earlier one
with `as_of`.
"""
_SAID = {
    400: "Without a token: the `Host` is no name of this machine.",
    401: "The server has a token, and the request does not.",
    404: "There is no such figure or owner.",
    422: "The question has no answer as it was asked; `detail` says what to ask instead.",
    503: "The lake holds no cost yet, or cannot be reached now, or all engines are busy.",
}


def answers(schema: str, description: str, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route: what it answers, and the errors that it may answer with."""
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": description, "content": _content("application/json", schema)}
    }
    for status in (400, 401, *errors):
        content = _content(MEDIA_TYPE, "Problem")
        found[status] = {"description": _SAID[status], "content": content}
    return found


def described(app: FastAPI, with_token: bool) -> None:
    """Have the app tell, beside its routes, what its answers hold and whether it has a token."""
    document = app.openapi()
    components = document.setdefault("components", {})
    text = resources.files(__package__).joinpath("data/answers.yaml").read_text(encoding="utf-8")
    schemas = read_yaml(text)
    # FastAPI's own schema of what is wrong with a request; ours are problems.
    for own in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(own, None)
    components.setdefault("schemas", {}).update(schemas)
    if with_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]


def _content(media_type: str, schema: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
