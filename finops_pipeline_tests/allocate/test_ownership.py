"""Whose a charge is: the order of the tiers, what each of them sees, and the guide's example."""

from __future__ import annotations

import json
import time
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_pipeline.allocate.ownership import Decider, Decision
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.subject import Subject
from finops_pipeline_tests.allocate.worked_examples import DECISIONS, Example, worked_examples


def pool(name: str, **match: Any) -> dict[str, Any]:
    """A pool shared by cost."""
    return {"name": name, "match": match, "drivers": "cost"}


ALIASES = {"PAY": "payments", "4711": "search", "1.10": "search", "true": "web", "none": "payments"}
RULES = Rules.model_validate(
    {
        "owners": ["payments", "search", "web"],
        "tags": [
            {"key": "Cost.Unit", "aliases": ALIASES},
            {"key": "team", "aliases": {"zürich": "web"}},
        ],
        "scopes": [
            {"path": "root/pay", "owner": "search"},
            {"path": "root/payments", "owner": "payments"},
            {"path": "root/payments/shop", "owner": "web"},
        ],
        "pools": [
            pool("both", scope="root/x", ServiceName="NET"),
            pool("net", ServiceName=["NET", "FASTCONNECT"]),
            pool("account", SubAccountId="a-1", ProviderName="oracle"),
            pool("resource", ResourceId=["r-1", "r-2"]),
            pool("late", ServiceName="NET", scope=["root/z", "root/z/deep"]),
            pool("places", scope=["root/z", "root/z/deep"]),
        ],
    }
)
DECIDER = Decider(RULES)
DAY = date(2025, 1, 1)


def subject(
    tags: object = None,
    path: str | None = None,
    service: str = "COMPUTE",
    provider: str = "Oracle",
    account: str | None = None,
    resource: str | None = None,
) -> Subject:
    """A subject of which only some facts matter; tags are given as text or as values."""
    text = tags if tags is None or isinstance(tags, str) else json.dumps(tags)
    return Subject(
        provider=provider, billing_account_id=None, sub_account_id=account, service=service,
        charge_category="Usage", resource_id=resource, commitment_discount_id=None,
        scope_path=path, tags=text,
    )  # fmt: skip


def decide(**facts: Any) -> Decision:
    """The decision by RULES."""
    return DECIDER.decide(subject(**facts), DAY)


@pytest.mark.parametrize(
    ("tags", "owner", "evidence"),
    [
        ({"Cost.Unit": "PAY"}, "payments", 'Cost.Unit = "PAY" (alias of payments)'),
        ({"Cost.Unit": " pAy\t"}, "payments", 'Cost.Unit = " pAy\\t" (alias of payments)'),
        ({"Cost.Unit": "Search"}, "search", 'Cost.Unit = "Search" (name of the owner)'),
        ({"Cost.Unit": 4711}, "search", 'Cost.Unit = "4711" (alias of search)'),
        ('{"Cost.Unit": 1.10}', "search", 'Cost.Unit = "1.10" (alias of search)'),
        (
            f'{{"Cost.Unit": {"9" * 5000}, "team": "web"}}',
            "web",
            'team = "web" (name of the owner)',
        ),
        ({"Cost.Unit": True}, "web", 'Cost.Unit = "True" (alias of web)'),
        ({"team": "ZÜRICH"}, "web", 'team = "ZÜRICH" (alias of web)'),
        ({"team": "web", "Cost.Unit": "pay"}, "payments", 'Cost.Unit = "pay" (alias of payments)'),
        ({"Cost.Unit": "pays", "team": "web"}, "web", 'team = "web" (name of the owner)'),
        ({"Cost.Unit": None, "team": "web"}, "web", 'team = "web" (name of the owner)'),
        ({"Cost.Unit": ["pay"], "team": "web"}, "web", 'team = "web" (name of the owner)'),
    ],
)
def test_a_tag_names_an_owner(tags: object, owner: str, evidence: str) -> None:
    decision = decide(tags=tags, path="root/payments", service="NET")
    assert (decision.owner, decision.pool, decision.tier) == (owner, None, "tag")
    assert decision.rule == "tag " + evidence.split(" = ")[0]
    assert decision.evidence == evidence


@pytest.mark.parametrize(
    "tags",
    [
        None,
        "",
        "null",
        "[1]",
        '"pay"',
        "{'Cost.Unit': 'PAY'}",
        "[" * 100_000,
        '{"Cost.Unit": %s}' % ("9" * 5000),
        {},
        {"cost.unit": "PAY"},
        {"Cost.Unit": ""},
        {"Cost.Unit": "unallocated"},
        {"Cost.Unit": {"PAY": 1}},
        {"team": "pay"},
    ],
)
def test_what_names_no_owner_decides_nothing(tags: object) -> None:
    assert decide(tags=tags).tier == "unallocated"
    assert decide(tags=tags, path="root/payments").rule == "scope root/payments"


@pytest.mark.parametrize(
    ("path", "rule", "evidence"),
    [
        ("root/payments", "root/payments", "the scope is root/payments"),
        ("root/payments/", "root/payments", "the scope is root/payments"),
        ("root/payments/api", "root/payments", "root/payments/api is below root/payments"),
        ("root/payments/shop", "root/payments/shop", "the scope is root/payments/shop"),
        ("root/payments/shop/a/b", "root/payments/shop", None),
        ("root/payments/shopping", "root/payments", None),
        ("root/pay/ments", "root/pay", "root/pay/ments is below root/pay"),
    ],
)
def test_the_longest_path_of_whole_names_decides(
    path: str, rule: str, evidence: str | None
) -> None:
    decision = decide(path=path, service="NET")
    assert (decision.tier, decision.rule) == ("scope", f"scope {rule}")
    assert evidence in (None, decision.evidence)


@pytest.mark.parametrize("path", [None, "", "/", "root", "root/paym", "Root/pay", "x/root/pay"])
def test_other_paths_decide_nothing(path: str | None) -> None:
    assert decide(path=path) == Decision(
        "unallocated", None, "unallocated", "none", "no tag, scope or pool matches"
    )


@pytest.mark.parametrize(
    ("facts", "name", "evidence"),
    [
        ({"service": "NET"}, "net", 'ServiceName = "NET"'),
        ({"service": "FastConnect "}, "net", 'ServiceName = "FastConnect "'),
        (
            {"service": "net", "path": "root/x/y"},
            "both",
            'ServiceName = "net"; root/x/y is below root/x',
        ),
        ({"account": "A-1"}, "account", 'ProviderName = "Oracle"; SubAccountId = "A-1"'),
        ({"resource": "r-2", "path": "root/x"}, "resource", 'ResourceId = "r-2"'),
        ({"path": "root/z/deep/er"}, "places", "root/z/deep/er is below root/z/deep"),
        ({"service": "NET", "path": "root/z"}, "net", 'ServiceName = "NET"'),
    ],
)
def test_the_first_pool_whose_every_condition_holds(
    facts: dict[str, Any], name: str, evidence: str
) -> None:
    assert decide(**facts) == Decision(None, name, "pool", f"pool {name}", evidence)


def test_a_pool_with_one_condition_unmet_takes_nothing() -> None:
    assert decide(account="a-1", provider="AWS").tier == "unallocated"
    assert decide(path="root/xx").tier == "unallocated"


def test_without_rules_everything_is_unallocated() -> None:
    facts = subject(tags={"team": "web"}, path="root/payments", service="NET")
    assert Decider(Rules()).decide(facts, DAY).owner == "unallocated"


EXAMPLES = worked_examples(DECISIONS)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_guide_is_right(example: Example) -> None:
    decider = Decider(example.rules)
    for row in example.rows:
        names = ("tags", "provider", "service", "account")
        facts = {name: row[name] for name in names if row.get(name)}
        on = date.fromisoformat(row.get("day", str(DAY)))
        decision = decider.decide(subject(path=row.get("scope"), **facts), on)
        told = (decision.tier, decision.rule, decision.evidence)
        assert (decision.owner or decision.pool, *told) == (
            row["goes to"],
            row["tier"],
            row["rule"],
            row["evidence"],
        )


def test_the_guide_has_an_example_of_each_tier() -> None:
    rows = [row for example in EXAMPLES.values() for row in example.rows]
    assert {row["tier"] for row in rows} == {"tag", "scope", "pool", "unallocated"}
    rules = {row["rule"].split()[0] for row in rows}
    assert rules == {"tag", "place", "scope", "cluster", "pool", "none"}


SEGMENT = st.sampled_from(["root", "pay", "payments", "shop", "x", "z"])
PATH = st.none() | st.lists(SEGMENT, max_size=4).map("/".join)
VALUE = st.sampled_from(["pay", "PAY", "web", "nobody", ""])
TAGS = st.none() | st.dictionaries(st.sampled_from(["Cost.Unit", "team", "x"]), VALUE)


@given(TAGS, PATH, st.sampled_from(["NET", "COMPUTE"]), st.sampled_from([None, "a-1"]))
def test_a_slow_reading_of_the_rules_agrees(
    tags: dict[str, str] | None, path: str | None, service: str, account: str | None
) -> None:
    decision = decide(tags=tags, path=path, service=service, account=account)
    assert (decision.owner or decision.pool) == slowly(tags or {}, path or "", service, account)


def slowly(tags: dict[str, str], path: str, service: str, account: str | None) -> str:
    """The same decision by going through all rules in order."""
    for tag in RULES.tags:
        value = tags.get(tag.key[0], "").lower()
        for alias, owner in [*tag.aliases.items(), *((o, o) for o in RULES.owner_names)]:
            if alias.lower() == value:
                return owner
    below = [c for c in RULES.scopes if f"{path}/".startswith(f"{c.path}/")]
    if below:
        return max(below, key=lambda rule: len(rule.path)).owner
    has = {"ServiceName": service, "SubAccountId": account, "ProviderName": "oracle"}
    for candidate in RULES.pools:
        if all(
            any(f"{path}/".startswith(f"{v}/") for v in values)
            if column == "scope"
            else has.get(column) in values
            for column, values in candidate.match.items()
        ):
            return candidate.name
    return "unallocated"


def test_a_thousand_rules_are_cheap() -> None:
    owners = [f"owner-{i}" for i in range(100)]
    decider = Decider(
        Rules.model_validate(
            {
                "owners": owners,
                "tags": [{"key": "t", "aliases": {f"a{i}": owners[i % 100] for i in range(500)}}],
                "scopes": [{"path": f"root/{i}", "owner": owners[0]} for i in range(500)],
                "pools": [pool(f"p{i}", ServiceName=f"s{i}") for i in range(1000)],
            }
        )
    )
    subjects = [
        subject(f'{{"t": "b{i}"}}', f"root/x/{i}", f"s{i % 2000}", resource=f"r{i}")
        for i in range(20_000)
    ]
    began = time.process_time()
    decisions = [decider.decide(one, DAY) for one in subjects]
    # Measured: 0.2 s; going through all pools for each subject takes minutes.
    assert time.process_time() - began < 4
    assert sum(d.tier == "pool" for d in decisions) == 10_000
