"""`finops rules`: schema, diff, test and log, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from finops_pipeline.cli import app
from finops_pipeline_tests.cli.place import Place, row

OLD = "owners: [web, ops]\ntags: [{key: team}]\n"
NEW = OLD.replace("{key: team}", "{key: team, aliases: {lab: ops}}")
EXAMPLES = """
examples:
  - {name: lab is ours, day: 2025-01-02, charge: {tags: {team: lab}}, expect: {owner: ops}}
"""


@pytest.fixture
def ruled(place: Place) -> Place:
    """A place with rules, run once."""
    (place.folder / "rules.yaml").write_text(OLD)
    (place.folder / "new.yaml").write_text(NEW)
    place.configure(rules="rules.yaml")
    place.deliver("one", row("1.5"), row("2.25", team="lab"), row("4", "2025-01-03"))
    assert place.finops("run").exit_code == 0
    return place


def rules(place: Place, *arguments: str) -> Result:
    """Run a command on rules."""
    return place.finops("rules", *arguments)


def test_schema() -> None:
    done = CliRunner().invoke(app, ["rules", "schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["title"] == "rules.yaml of finops_pipeline"


def test_diff_foretells_and_changes_nothing(ruled: Place) -> None:
    before = ruled.versions()
    done = rules(ruled, "diff", "rules.yaml", "new.yaml", "--format", "json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["days"] == {"acme-oci": ["2025-01-02"]}
    assert found["moves"] == [
        {
            "currency": "USD", "from": "unallocated", "to": "ops", "cost": "2.25",
            "by_old_rules": "unallocated", "by_new_rules": "ops",
        }
    ]  # fmt: skip
    changes = {o["owner"]: (o["before"], o["after"], o["change"]) for o in found["owners"]}
    assert changes == {
        "ops": ("0", "2.25", "2.25"),
        "unallocated": ("2.25", "0", "-2.25"),
        "web": ("5.5", "5.5", "0"),
    }
    text = rules(ruled, "diff", "rules.yaml", "new.yaml").stdout
    assert "acme-oci: 1 charge days, 2025-01-02 to 2025-01-02" in text
    assert "unallocated → ops" in text
    same = rules(ruled, "diff", "rules.yaml", "rules.yaml")
    assert same.exit_code == 0 and "no stored charge day" in same.stdout
    later = rules(ruled, "diff", "rules.yaml", "new.yaml", "--from", "2025-01-03")
    assert later.exit_code == 0 and "no stored charge day" in later.stdout
    assert ruled.versions() == before


def test_the_log_names_rule_sets_that_can_be_compared(ruled: Place) -> None:
    (ruled.folder / "rules.yaml").write_text(NEW)
    assert ruled.finops("run").exit_code == 0
    done = rules(ruled, "log", "--format", "json")
    assert done.exit_code == 0
    lines = json.loads(done.stdout)
    changed = [line for line in lines if line["previous"]]
    assert {(c["owner"], c["cost_before"], c["cost_after"]) for c in changed} == {
        ("ops", None, "2.25"),
        ("unallocated", "2.25", None),
        ("web", "1.5", "1.5"),
    }
    assert all(line["changed_at"].endswith("Z") and line["who"] for line in lines)
    assert "2025-01-02 to 2025-01-02 (1)" in rules(ruled, "log").stdout
    old, new = changed[0]["previous"], changed[0]["rule_set"]
    back = rules(ruled, "diff", new[:12], old, "--format", "json")
    assert back.exit_code == 0, back.stderr
    (move,) = json.loads(back.stdout)["moves"]
    assert (move["from"], move["to"], move["cost"]) == ("ops", "unallocated", "2.25")
    assert rules(ruled, "log", "--source", "other").stdout.count("\n") == 2  # the head alone


def test_examples_exit_as_they_come_out(ruled: Place) -> None:
    path = ruled.folder / "rules_test.yaml"
    path.write_text(EXAMPLES)
    wrong = rules(ruled, "test")
    assert wrong.exit_code == 1
    assert "FAIL lab is ours\n" in wrong.stdout
    assert "owner is 'unallocated', not 'ops'" in wrong.stdout
    assert "0 of 1 examples are as expected" in wrong.stdout
    right = rules(ruled, "test", "--rules", "new.yaml")
    assert (right.exit_code, right.stdout) == (
        0, "ok   lab is ours\n1 of 1 examples are as expected\n",
    )  # fmt: skip
    path.write_text("examples: 1")
    assert rules(ruled, "test").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("diff", "none.yaml", "new.yaml"), "none.yaml: cannot be read"),
        (("diff", "0badc0de", "new.yaml"), "neither a file nor the start of one rule set"),
        (("diff", "bad.yaml", "new.yaml"), "owners.1.name: stands already"),
        (("test", "none.yaml"), "none.yaml: cannot be read"),
        (("diff", "new.yaml", "new.yaml", "--from", "2025-02-01", "--to", "2025-01-01"), "ends"),
    ],
)
def test_wrong_use(ruled: Place, arguments: tuple[str, ...], said: str) -> None:
    Path("bad.yaml").write_text("owners: [a, a]")
    done = rules(ruled, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
