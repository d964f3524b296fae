"""`rules.yaml`: what loads, and what names a rule set. What is refused is in its own file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

import finops_pipeline.demo
from finops_pipeline.allocate.load import load_rules
from finops_pipeline.allocate.rules import Rules

DEMO = Path(finops_pipeline.demo.__file__).parent / "data" / "rules.yaml"

FULL = """
owners: [payments, search]
tags:
  - key: team
    aliases: {checkout: payments, ranking: search}
scopes:
  - {path: root/payments, owner: payments}
pools:
  - name: net
    match: {ServiceName: [NET], scope: root/x}
    drivers: {fixed: {payments: 3, search: 0.1}}
"""
SAME = """
# The same rules, written otherwise.
pools:
  - drivers:
      fixed: {search: 1.0e-1, payments: 3.00}
    match:
      scope: [/root/x/]
      ServiceName: NET
    name: "net"
scopes: [{owner: payments, path: root/payments/}]
tags: [{aliases: {ranking: search, checkout: payments}, key: team}]
owners:
  - payments
  - search
"""


def load(folder: Path, text: str | bytes) -> Rules:
    """The rules that the text says."""
    path = folder / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rules(path)


def test_the_rules_of_the_demo_load() -> None:
    rules = load_rules(DEMO)
    assert rules.owner_names[0] == "payments"
    units = ("CostCenter.BusinessUnit", "BusinessUnit", "cost-center", "business_unit")
    assert [tag.key for tag in rules.tags] == [units, ("team",)]
    assert rules.tags[1].aliases['storefront, "zürich"'] == "web"
    assert rules.scopes[1].owner == "security"
    network, database, support, tax, commitments = rules.pools
    assert network.match["ServiceName"][:2] == ("NETWORK", "FASTCONNECT")
    assert (tax.name, commitments.name) == ("tax", "commitments")
    assert [d.text for d in network.drivers] == ["cost"]
    assert database.match == {"scope": ("root/shared/database",)}
    assert database.drivers[0].usage == "OCPU Hours"
    assert support.drivers[0].fixed == {
        "payments": Decimal(3),
        "search": Decimal(2),
        "web": Decimal(1),
    }


def test_no_rules_and_an_empty_file_are_empty_rules(tmp_path: Path) -> None:
    assert load_rules(None) == Rules() == load(tmp_path, "# nothing yet\n")


def test_a_weight_keeps_its_digits(tmp_path: Path) -> None:
    rules = load(tmp_path, FULL.replace("0.1", "12345678901234567890.123456789012345678"))
    fixed = rules.pools[0].drivers[0].fixed
    assert fixed and fixed["search"] == Decimal("12345678901234567890.123456789012345678")


def test_the_hash_is_of_the_rules_and_not_of_the_file(tmp_path: Path) -> None:
    one = load(tmp_path, FULL)
    assert one.hash == load(tmp_path, SAME).hash
    assert len(one.hash) == 32
    assert set(one.hash) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[payments, search]", "[search, payments]"),
        ("[payments, search]", "[{name: payments, to: 2025-01-31}, search]"),
        ("checkout: payments", "checkout: search"),
        ("key: team", "key: Team"),
        ("path: root/payments", "path: root/pay"),
        ("[NET]", "[NET, DNS]"),
        ("name: net", "name: network"),
        ("search: 0.1", "search: 0.10000000000001"),
        ("{fixed: {payments: 3, search: 0.1}}", "cost"),
        ("{fixed: {payments: 3, search: 0.1}}", "{usage: cost}"),
    ],
)
def test_other_rules_have_another_hash(tmp_path: Path, old: str, new: str) -> None:
    assert old in FULL
    assert load(tmp_path, FULL).hash != load(tmp_path, FULL.replace(old, new)).hash


def test_the_hash_stays_from_release_to_release() -> None:
    assert Rules().hash == "44136fa355b3678a1146ad16f7e8649e"
    assert load_rules(DEMO).hash == "00b1332fe58f025fd955af8dcd891c9e"


def test_a_yaml_merge_is_no_key_given_twice(tmp_path: Path) -> None:
    text = "owners: [a]\nscopes: [&c {path: r, owner: a}, {<<: *c, path: s}]"
    assert [c.path for c in load(tmp_path, text).scopes] == ["r", "s"]
