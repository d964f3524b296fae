"""The JSON Schema that editors use says what the rules are, no more and no less than it can."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from finops_pipeline.allocate.schema import schema
from finops_pipeline.exact_yaml import read_yaml
from finops_pipeline_tests.allocate.test_rules import DEMO, FULL, SAME
from finops_pipeline_tests.allocate.test_rules_refused import REFUSALS
from finops_pipeline_tests.allocate.worked_examples import blocks

COMMITTED = Path(__file__).parents[2] / "docs" / "rules.schema.json"
# What takes more than the shape of one entry to see: names, order, text, patterns.
SHAPES = (
    "other driver", "two drivers", "driver of nothing", "driver without a value", "missing",
    "unknown key", "not a mapping", "negative weight", "same of fixed weights",
    "number for text", "weight that is not a number",
)  # fmt: skip


def as_json(text: str) -> Any:
    """YAML as an editor reads it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, Decimal):
            return float(value)
        return value.isoformat() if isinstance(value, datetime.date) else value

    return plain(read_yaml(text))


def validator() -> jsonschema.Draft202012Validator:
    """What holds rules against the committed schema."""
    made = json.loads(COMMITTED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_the_committed_schema_is_current() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == schema()


@pytest.mark.parametrize("text", [DEMO.read_text(encoding="utf-8"), FULL, SAME, *blocks().values()])
def test_it_takes_what_is_right(text: str) -> None:
    validator().validate(as_json(text))


@pytest.mark.parametrize("name", SHAPES)
def test_it_refuses_what_has_another_shape(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(as_json(REFUSALS[name][0]))


def test_it_describes_every_key() -> None:
    told = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert {"from", "to", "name", "parent"} == set(told["$defs"]["Owner"]["properties"])
    assert set(told["properties"]) == {
        "owners",
        "tags",
        "places",
        "scopes",
        "clusters",
        "pools",
        "weights",
    }
    assert all(d.get("description") for d in told["$defs"].values())
