"""A user's own examples of the rules: what is judged, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from finops_pipeline.allocate.examples import judge, load_examples
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.config import ConfigError
from finops_pipeline.exact_yaml import read_yaml

RULES = Rules.model_validate(
    read_yaml("""
owners: [payments, search, {name: old, to: 2024-12-31}]
tags: [{key: team, aliases: {checkout: payments}}]
pools:
  - {name: net, match: {ServiceName: NETWORK}, drivers: [cost, last known]}
  - name: tax
    match: {ChargeCategory: Tax}
    drivers: {cost: direct, same: SubAccountId}
""")
)
RIGHT = """
examples:
  - name: an alias
    day: 2025-01-15
    charge: {ProviderName: Oracle, ServiceName: COMPUTE, scope: root/x, tags: {team: CheckOut}}
    expect: {owner: payments, tier: tag, rule: tag team}
  - name: an owner that has ended
    day: 2025-01-15
    charge: {tags: {team: old}}
    expect: {owner: unallocated}
  - name: the same while there was one
    day: 2024-12-31
    charge: {tags: {team: old}}
    expect: {owner: old}
  - name: into the pool
    day: 2025-01-15
    charge: {ServiceName: network}
    expect: {pool: net, tier: pool, evidence: ServiceName = "network"}
  - name: by cost
    day: 2025-01-15
    pool: net
    direct: [{of: payments, cost: 10}, {of: search, cost: 20}]
    expect: {shares: {payments: 1/3, search: 2/3}}
  - name: as last known
    day: 2025-01-15
    pool: net
    last_known: {payments: 0.5, old: 0.5}
    expect: {shares: {payments: 1}}
  - name: tax of an account
    day: 2025-01-15
    pool: tax
    same: {SubAccountId: a}
    direct:
      - {of: payments, cost: 10, same: {SubAccountId: b}}
      - {of: search, cost: 0.1, same: {SubAccountId: a}}
    expect: {shares: {search: 1}}
"""


def differences(folder: Path, text: str) -> dict[str, tuple[str, ...]]:
    """What is otherwise, by example."""
    path = folder / "rules_test.yaml"
    path.write_text(text, encoding="utf-8")
    return {v.name: v.differences for v in judge(RULES, load_examples(path))}


def test_examples_that_are_right(tmp_path: Path) -> None:
    found = differences(tmp_path, RIGHT)
    assert len(found) == 7
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("old", "new", "name", "said"),
    [
        (
            "{owner: payments, tier: tag", "{owner: search, tier: scope", "an alias",
            (
                "owner is 'payments', not 'search' (team = \"CheckOut\" (alias of payments))",
                "tier is 'tag', not 'scope' (team = \"CheckOut\" (alias of payments))",
            ),
        ),
        (
            "payments: 1/3, search: 2/3", "payments: 0.333333333333, old: 1/3", "by cost",
            (
                "the share of old is 0, not 1/3",
                "the share of payments is 1/3, not 333333333333/1000000000000",
                "the share of search is 2/3, not 0",
            ),
        ),
        (
            "pool: tax\n", "pool: taxes\n", "tax of an account",
            ("no pool is named 'taxes' on 2025-01-15; there are: net, tax",),
        ),
        (
            "same: {SubAccountId: a}\n    direct", "direct", "tax of an account",
            ("the share of search is 0, not 1", "the share of unallocated is 1, not 0"),
        ),
        (
            "[{of: payments, cost: 10}", "[{of: paymnts, cost: 10}", "by cost",
            (
                "the share of payments is 0, not 1/3",
                "the share of search is 1, not 2/3",
                "'paymnts' is neither an owner nor a pool on 2025-01-15: it takes no part",
            ),
        ),
    ],
)  # fmt: skip
def test_examples_that_are_otherwise(
    tmp_path: Path, old: str, new: str, name: str, said: tuple[str, ...]
) -> None:
    assert old in RIGHT
    found = differences(tmp_path, RIGHT.replace(old, new))
    assert {n: d for n, d in found.items() if d} == {name: said}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("examples: []", "examples: Value error, must have at least one example"),
        ("examples: [{name: a, day: 2025-01-01, expect: {}}]", "either a charge or a pool"),
        (
            "examples: [{name: a, day: 2025-01-01, pool: net, expect: {owner: x}}]",
            "expects shares of a pool",
        ),
        (
            "examples: [{name: a, day: 2025-01-01, pool: n, expect: {shares: {x: 1/0}}}]",
            "must be a fraction such as 1/3",
        ),
        ("examples: [{name: a, charge: {}, expect: {}}]", "examples.0.day: Field required"),
        ("examples: [{name: a, day: 2025-01-01, charge: {}, expect: {}}]", "expects nothing"),
        ("examples: [{name: a, day: 15, charge: {}, expect: {owner: x}}]", "day: [^\n]*$"),
        ("examples: [", "not readable as YAML"),
    ],
)
def test_examples_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        differences(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_examples(tmp_path / "none.yaml")
