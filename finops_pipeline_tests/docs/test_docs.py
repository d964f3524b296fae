"""The documentation holds what the code has: tables, settings, commands, links."""

import re
from pathlib import Path

import pytest
import yaml

from finops_pipeline.cli import app
from finops_pipeline.config import Budget, Cluster, Settings, Source
from finops_pipeline.contracts.reference import reference

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_reference_of_tables_is_current() -> None:
    assert (ROOT / "docs/tables.md").read_text(encoding="utf-8") == reference()


def test_every_command_has_its_example_in_the_readme() -> None:
    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert commands == {
        "demo",
        "run",
        "costs",
        "diff",
        "explain",
        "export",
        "rejected",
        "doctor",
        "maintain",
        "serve",
        "statement",
        "tags",
        "unallocated",
    }
    assert [c for c in sorted(commands) if f"finops {c}" not in README] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_configuration_is_valid() -> None:
    block = re.search(r"```yaml\n(reporting_currency.*?)```", README, re.DOTALL)
    assert block
    settings = Settings.model_validate(yaml.safe_load(block.group(1)))
    assert settings.sources[0].format == "oci_cost_csv"
    assert settings.budgets[0].filters == {"owner": ("data-platform",)}


def test_every_setting_is_described() -> None:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    names = [n for model in (Settings, Source, Cluster, Budget) for n in model.model_fields]
    assert [n for n in names if f"`{n}`" not in text] == []
