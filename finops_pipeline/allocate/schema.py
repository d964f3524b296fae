"""The JSON Schema of `rules.yaml`, for editors: `finops rules schema`.

Made from the models, so it cannot say another thing than what is read; `docs/rules.schema.json` is
held against it by a test. What only the whole file tells (unknown names, cycles) is not in it.
"""

from __future__ import annotations

import json

from finops_pipeline.allocate.rules import Rules


def schema() -> str:
    """The schema as JSON text."""
    made = Rules.model_json_schema(by_alias=True)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rules.yaml of finops_pipeline",
    }
    return json.dumps({**made, **head}, indent=2, ensure_ascii=False) + "\n"
