"""The rules of the benchmark are what it says of them, and right."""

from __future__ import annotations

import yaml

from benchmarks import many_rules
from benchmarks.data import RULES
from finops_pipeline.allocate.rules import Rules


def test_there_are_as_many_as_promised_and_every_owner_can_own() -> None:
    small = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    resources = [f"ocid1.instance.{n}" for n in range(1_000)]
    rules = Rules.model_validate(many_rules.make(small, resources))
    entries = len(rules.tags) + len(rules.places) + len(rules.scopes) + len(rules.pools)
    assert (entries, len(rules.owners)) == (many_rules.RULES, many_rules.OWNERS) == (1_000, 200)
    owned = {place.owner for place in rules.places} | set(small["owners"])
    assert set(rules.owner_names) - owned == {f"division-{n}" for n in range(10)}
    named = [r for place in rules.places for r in place.match["ResourceId"]]
    assert sorted(named) == sorted(resources)
