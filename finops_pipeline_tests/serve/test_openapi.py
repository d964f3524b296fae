"""The document that describes the API: true of every answer, and no input makes the server fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from finops_pipeline_tests.serve.server import Server
from finops_pipeline_tests.serve.test_answers import ASKED, figures_of

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "unsupported_method", "negative_data_rejection",
)  # fmt: skip
ANSWERS = {
    "costs": "Costs", "unallocated": "Unallocated", "statements": "Statements",
    "diff": "Difference", "explain": "Explanation", "health": "Health",
}  # fmt: skip


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.get("openapi.json").json()
    return found


def _holds(document: dict[str, Any], schema: str, content: Any) -> None:
    whole = {**document, "$ref": f"#/components/schemas/{schema}"}
    jsonschema.Draft202012Validator(whole).validate(content)


def test_answers_are_as_described(server: Server, document: dict[str, Any], shop: Any) -> None:
    paths = [path for _, path in ASKED] + ["health"]
    paths += [f"explain/{i}" for i in figures_of(shop.folder / "home")]
    for path in paths:
        kind = path.partition("?")[0].partition("/")[0]
        _holds(document, ANSWERS[kind], server.get(path).json())
    _holds(document, "Problem", server.get("nowhere").json())
    with pytest.raises(jsonschema.ValidationError):
        _holds(document, "Costs", server.get("unallocated").json())


def test_money_is_nowhere_a_number(document: dict[str, Any]) -> None:
    def numbers(node: Any) -> bool:
        if isinstance(node, dict):
            return node.get("type") == "number" or any(map(numbers, node.values()))
        return isinstance(node, list) and any(map(numbers, node))

    assert not numbers(document)


def test_everything_is_described(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            assert all(p.get("description") for p in operation.get("parameters", ())), path
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, f"{name} is used nowhere"


def test_no_question_makes_the_server_fail(server: Server, tmp_path: Path) -> None:
    """Some hundred requests that the document allows, or just not: `schemathesis` makes them."""
    done = subprocess.run(
        [
            str(SCHEMATHESIS), "--no-color", "run", f"{server.url}/api/v1/openapi.json",
            "--generation-deterministic", "--max-examples", "15",
            "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in server.log.read_text(encoding="utf-8")
