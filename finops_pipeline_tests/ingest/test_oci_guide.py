"""What `docs/oci.md` tells people to paste is what the code reads and the doctor prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from finops_pipeline.config import Settings, Source
from finops_pipeline.ingest.location import INVENTORIES
from finops_pipeline.ingest.oci_identity import inventory_statement, policy_statements
from finops_pipeline.ingest.scopes import paths, read_scopes

GUIDE = Path(__file__).parents[2] / "docs" / "oci.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def blocks(language: str, start: str = "") -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and text.startswith(start)]


def test_the_configurations_are_valid() -> None:
    read = [Settings.model_validate(yaml.safe_load(text)) for text in blocks("yaml")]
    assert [s.sources[0].location.split(":")[0] for s in read] == ["oci", "file"]


@pytest.mark.parametrize(("auth", "number"), [("config_file", 0), ("instance_principal", 1)])
def test_the_statements_are_those_of_the_doctor(auth: str, number: int) -> None:
    source = Source.model_validate(
        {"name": "a", "format": "oci_focus", "location": "oci://bling/ocid1.tenancy.x"}
        | {"auth": auth}
    )
    wanted = [*policy_statements(source), inventory_statement(source)]
    assert blocks("", "define")[number].splitlines() == wanted


def test_the_inventory_is_read(tmp_path: Path) -> None:
    (tmp_path / INVENTORIES[0]).write_text(blocks("", "id,name")[0], encoding="utf-8")
    source = Source(name="a", format="oci_cost_csv", location=f"file:{tmp_path}")
    found = paths(read_scopes(source)).values()
    assert sorted(found) == ["root", "root/payments", "root/payments/prod"]
