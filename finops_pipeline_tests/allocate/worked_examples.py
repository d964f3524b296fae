"""The worked examples of `docs/allocation.md`: the rules and the table below each heading."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from finops_pipeline.allocate.rules import Rules
from finops_pipeline.exact_yaml import read_yaml

GUIDE = Path(__file__).parents[2] / "docs" / "allocation.md"


@dataclass(frozen=True)
class Example:
    """What stands below one heading."""

    rules: Rules
    rows: list[dict[str, str]]


def worked_examples() -> dict[str, Example]:
    """The examples by heading."""
    text = GUIDE.read_text(encoding="utf-8")
    parts = re.split(r"^##+ ", text, flags=re.MULTILINE)
    examples = [part for part in parts if part.startswith("Example: ")]
    return {p.splitlines()[0].removeprefix("Example: "): _example(p) for p in examples}


def _example(part: str) -> Example:
    _, block, _ = re.split(r"^```(?:yaml)?\n", part, flags=re.MULTILINE)
    lines = [line for line in part.splitlines() if line.startswith("|")]
    header, _, *rows = [
        [cell.strip().strip("`") for cell in re.split(r" ?\| ?", line)[1:-1]] for line in lines
    ]
    return Example(
        Rules.model_validate(read_yaml(block)),
        [dict(zip(header, row, strict=True)) for row in rows],
    )
