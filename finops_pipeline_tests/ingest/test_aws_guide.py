"""What `docs/aws.md` tells people to paste is what the code reads and the doctor prints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from finops_pipeline.config import Settings, Source
from finops_pipeline.ingest.aws_diagnosis import missing_statement
from finops_pipeline.ingest.aws_organizations import ACTIONS
from finops_pipeline.ingest.location import INVENTORIES
from finops_pipeline.ingest.scopes import paths, read_scopes

GUIDE = Path(__file__).parents[2] / "docs" / "aws.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def _blocks(language: str, start: str = "") -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and text.startswith(start)]


def _sources() -> list[Source]:
    read = [Settings.model_validate(yaml.safe_load(text)) for text in _blocks("yaml")]
    return [s.sources[0] for s in read]


def test_the_configurations_are_valid() -> None:
    assert [(s.format, s.location.split(":")[0]) for s in _sources()] == [
        ("aws_focus", "s3"),
        ("aws_cost_explorer", "costexplorer"),
        ("aws_focus", "file"),
    ]


def test_the_statements_are_those_of_the_doctor() -> None:
    export, costs, _ = _sources()
    policy, statement = (json.loads(text) for text in _blocks("json"))
    assert policy["Statement"] == [
        *_told(export, "s3:ListBucket", "s3:GetObject"),
        {"Effect": "Allow", "Action": list(ACTIONS), "Resource": "*"},
    ]
    assert [statement] == _told(costs, "ce:GetCostAndUsage")


def _told(source: Source, *actions: str) -> list[Any]:
    return [json.loads(missing_statement(source, action)) for action in actions]


def test_the_inventory_is_read(tmp_path: Path) -> None:
    (tmp_path / INVENTORIES[1]).write_text(_blocks("", "id,name")[0], encoding="utf-8")
    source = Source(name="a", format="aws_focus", location=f"file:{tmp_path}")
    assert paths(read_scopes(source))["111111111111"] == "root/Workloads/shop"
