"""The worked examples of `docs/allocation.md`: the rules and the table below each heading."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from finops_pipeline.allocate.rules import Rules
from finops_pipeline.exact_yaml import read_yaml

GUIDE = Path(__file__).parents[2] / "docs" / "allocation.md"
DECISIONS, SHARES, CLUSTERS = "Example: ", "Shared: ", "Cluster: "


@dataclass(frozen=True)
class Example:
    """What stands below one heading."""

    rules: Rules
    rows: list[dict[str, str]]


def blocks() -> dict[str, str]:
    """The rules of every example, as text."""
    return {name: _block(part) for name, part in _parts().items()}


def worked_examples(kind: str) -> dict[str, Example]:
    """The examples of a kind by heading."""
    parts = {name: part for name, part in _parts().items() if name.startswith(kind)}
    return {name.removeprefix(kind): _example(part) for name, part in parts.items()}


def _parts() -> dict[str, str]:
    text = GUIDE.read_text(encoding="utf-8")
    parts = re.split(r"^##+ ", text, flags=re.MULTILINE)
    return {p.splitlines()[0]: p for p in parts if p.startswith((DECISIONS, SHARES, CLUSTERS))}


def _block(part: str) -> str:
    _, block, _ = re.split(r"^```(?:yaml)?\n", part, flags=re.MULTILINE)
    return block


def _example(part: str) -> Example:
    lines = [line for line in part.splitlines() if line.startswith("|")]
    header, _, *rows = [
        [cell.strip().strip("`") for cell in re.split(r" ?\| ?", line)[1:-1]] for line in lines
    ]
    return Example(
        Rules.model_validate(read_yaml(_block(part))),
        [dict(zip(header, row, strict=True)) for row in rows],
    )
