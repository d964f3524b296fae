"""The first two tiers in full: keys, spelling, patterns, invalid values, dates, inherited tags."""

from __future__ import annotations

import json
import time
from datetime import date
from typing import Any

import pytest

from finops_pipeline.allocate.ownership import Decider, Decision
from finops_pipeline.allocate.rules import Rules
from finops_pipeline_tests.allocate.test_ownership import subject

NEW_YEAR = date(2025, 1, 1)


def decide(rules: dict[str, Any], day: date = NEW_YEAR, **facts: Any) -> Decision:
    """The decision by these rules."""
    return Decider(Rules.model_validate(rules)).decide(subject(**facts), day)


def tagged(tag: dict[str, Any], tags: dict[str, str], **facts: Any) -> Decision:
    """The decision by one tag rule over three owners."""
    rules = {"owners": ["payments", "data-platform", "web"], "tags": [tag]}
    return decide(rules, tags=tags, **facts)


def test_keys_are_asked_in_their_order() -> None:
    rule = {"key": ["BusinessUnit", "bu"]}
    found = tagged(rule, {"bu": "web", "BusinessUnit": "payments"})
    assert (found.owner, found.rule) == ("payments", "tag BusinessUnit")
    found = tagged(rule, {"bu": "web", "BusinessUnit": "nobody"})
    assert (found.owner, found.rule) == ("web", "tag bu")


@pytest.mark.parametrize(
    "value", ["data_platform", "Data Platform", "DÀTA.platform!", "dataplatform"]
)
def test_spelling_looks_at_letters_and_digits(value: str) -> None:
    assert tagged({"key": "bu", "compare": "spelling"}, {"bu": value}).owner == "data-platform"
    assert tagged({"key": "bu"}, {"bu": value}).owner == "unallocated"


def test_an_accent_is_the_same_however_it_is_composed() -> None:
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    for owner, value in ((composed, apart), (apart, composed), (apart, composed.upper())):
        rules = {"owners": [owner], "tags": [{"key": "team"}]}
        assert decide(rules, tags={"team": value}).owner == owner
    rules = {"owners": ["web"], "tags": [{"key": "team", "aliases": {apart: "web"}}]}
    assert decide(rules, tags={"team": composed}).owner == "web"


@pytest.mark.parametrize(
    ("provider", "path", "owner", "evidence"),
    [
        ("Microsoft", "Acme/Shop/RG-WEB", "web", "the scope is Acme/Shop/RG-WEB"),
        ("Microsoft", "acme/SHOP/rg-web/x", "web", "acme/SHOP/rg-web/x is below Acme/Shop/rg-Web"),
        (
            "Microsoft",
            "Acme/Shop/rg-db",
            "data",
            'ServiceName = "NET"; the scope is Acme/Shop/rg-db',
        ),
        ("Microsoft", "Acme/Shop/rg-webs", "unallocated", "no tag, scope or pool matches"),
        ("Oracle", "Acme/Shop/rg-Web", "web", "the scope is Acme/Shop/rg-Web"),
        ("Oracle", "Acme/Shop/RG-WEB", "unallocated", "no tag, scope or pool matches"),
        ("Oracle", "Acme/Shop/rg-db", "unallocated", "no tag, scope or pool matches"),
    ],
)
def test_resource_groups_of_azure_are_the_same_in_any_case(
    provider: str, path: str, owner: str, evidence: str
) -> None:
    rules = {
        "owners": ["web", "data"],
        "scopes": [{"path": "Acme/Shop/rg-Web", "owner": "web"}],
        "places": [
            {
                "name": "db",
                "match": {"scope": "Acme/Shop/RG-DB", "ServiceName": "NET"},
                "owner": "data",
            }
        ],
    }
    found = decide(rules, provider=provider, path=path, service="NET")
    assert (found.owner, found.evidence) == (owner, evidence)


def test_no_letters_are_no_name() -> None:
    assert tagged({"key": "bu", "compare": "spelling"}, {"bu": "--"}).owner == "unallocated"


def test_patterns_match_whole_values_in_their_order() -> None:
    rule = {
        "key": "cost-center",
        "patterns": [
            {"match": "cc-1[0-9]{3}", "owner": "payments"},
            {"match": "cc-.*", "owner": "web"},
        ],
    }
    found = tagged(rule, {"cost-center": " CC-1234 "})
    assert found.owner == "payments"
    assert found.evidence == 'cost-center = " CC-1234 " (pattern cc-1[0-9]{3} of payments)'
    assert tagged(rule, {"cost-center": "cc-12345"}).owner == "web"
    assert tagged(rule, {"cost-center": "xcc-1234"}).owner == "unallocated"


def test_a_pattern_takes_time_linear_in_the_value() -> None:
    rule = {"key": "t", "patterns": [{"match": "(a|a)*(a|a)*(a|a)*b", "owner": "web"}]}
    began = time.process_time()
    assert tagged(rule, {"t": "a" * 100_000}).owner == "unallocated"
    # Measured: 5 ms; a backtracking matcher would not end.
    assert time.process_time() - began < 2


def test_an_invalid_value_is_named_and_says_nothing() -> None:
    rule = {"key": ["bu", "team"], "invalid": ["n/a", "TBD"]}
    found = tagged(rule, {"bu": "N/A ", "team": "web"})
    assert (found.owner, found.evidence) == (
        "web",
        'team = "web" (name of the owner); bu = "N/A " is an invalid value',
    )
    found = tagged(rule, {"bu": "tbd"})
    assert (found.owner, found.evidence) == (
        "unallocated",
        'no tag, scope or pool matches; bu = "tbd" is an invalid value',
    )


def test_a_rule_may_be_for_some_providers() -> None:
    rule = {"key": "bu", "providers": ["AWS", "microsoft"]}
    assert tagged(rule, {"bu": "web"}, provider="aws").owner == "web"
    assert tagged(rule, {"bu": "web"}, provider="Microsoft").owner == "web"
    assert tagged(rule, {"bu": "web"}, provider="Oracle").owner == "unallocated"


DATED = {
    "owners": [
        {"name": "digital"},
        {"name": "shop", "parent": "digital", "from": "2025-02-01"},
        {"name": "store", "parent": "digital", "to": "2025-01-31"},
    ],
    "tags": [
        {"key": "bu", "aliases": {"retail": "store"}, "to": "2025-02-28"},
        {"key": "bu", "aliases": {"retail": "shop"}, "from": "2025-03-01"},
    ],
    "scopes": [
        {"path": "root", "owner": "digital"},
        {"path": "root/shop", "owner": "shop"},
    ],
}


@pytest.mark.parametrize(
    ("day", "owner"),
    [
        (date(2025, 1, 31), "store"),
        (date(2025, 2, 1), "digital"),
        (date(2025, 2, 28), "digital"),
        (date(2025, 3, 1), "shop"),
    ],
)
def test_owners_and_rules_have_days(day: date, owner: str) -> None:
    assert decide(DATED, day, tags={"bu": "retail"}, path="root/x").owner == owner


def test_an_owner_out_of_its_days_is_named() -> None:
    found = decide(DATED, date(2025, 2, 1), tags={"bu": "retail"}, path="root/x")
    assert found.evidence == (
        'root/x is below root; bu = "retail" names store, who is no owner on this day'
    )
    # The path inherits from the next one above whose owner there is.
    assert decide(DATED, NEW_YEAR, path="root/shop/a").rule == "scope root"
    assert decide(DATED, date(2025, 2, 1), path="root/shop/a").rule == "scope root/shop"


def test_a_scope_may_be_for_one_provider() -> None:
    rules = {
        "owners": ["web", "data"],
        "scopes": [
            {"path": "root/a", "owner": "web"},
            {"path": "root/a", "owner": "data", "provider": "AWS"},
            {"path": "root/a/b", "owner": "data", "provider": "Oracle"},
        ],
    }
    assert decide(rules, path="root/a/b", provider="AWS").owner == "data"
    assert decide(rules, path="root/a/b", provider="Oracle").rule == "scope root/a/b"
    assert decide(rules, path="root/a/b", provider="Google Cloud").owner == "web"


INHERITED = {
    "owners": ["web", "data"],
    "tags": [{"key": "team"}],
    "scopes": [
        {"path": "root", "tags": {"team": "data", "env": "prod"}},
        {"path": "root/lab", "tags": {"team": "web"}},
    ],
}


def test_tags_are_inherited_and_kept_apart_from_the_billed_ones() -> None:
    found = decide(INHERITED, tags={"x": "1"}, path="root/lab/a")
    assert (found.owner, found.tier, found.rule) == ("web", "tag", "tag team")
    assert found.evidence == 'team = "web" (name of the owner) inherited from scope root/lab'
    assert json.loads(str(found.effective_tags)) == {"env": "prod", "team": "web", "x": "1"}
    found = decide(INHERITED, tags={"team": "data", "env": "dev"}, path="root/lab")
    assert (found.owner, found.evidence) == ("data", 'team = "data" (name of the owner)')
    assert found.effective_tags is None
    assert decide(INHERITED, tags={"team": "?"}, path="root/lab").owner == "unallocated"


NAMESPACE, CLUSTER = "tag:aws:eks:namespace", "tag:aws:eks:cluster-name"
PLACES = {
    "owners": ["web", "data", "net"],
    "scopes": [{"path": "org/prod", "owner": "net"}],
    "places": [
        {
            "name": "shop namespace",
            "match": {NAMESPACE: ["shop", "shop-jobs"], CLUSTER: "c1"},
            "owner": "web",
        },
        {"name": "vpc", "match": {"tag:vpc": "vpc-1", "scope": "org/prod"}, "owner": "data"},
        {
            "name": "account",
            "match": {"SubAccountId": "123", "ProviderName": "AWS"},
            "owner": "data",
        },
    ],
}


@pytest.mark.parametrize(
    ("facts", "owner", "rule", "evidence"),
    [
        (
            {"tags": {NAMESPACE[4:]: "Shop", CLUSTER[4:]: "c1"}, "path": "org/prod"},
            "web",
            "place shop namespace",
            'tag:aws:eks:cluster-name = "c1"; tag:aws:eks:namespace = "Shop"',
        ),
        (
            {"tags": {NAMESPACE[4:]: "shop", CLUSTER[4:]: "c2"}, "path": "org/prod"},
            "net",
            "scope org/prod",
            "the scope is org/prod",
        ),
        (
            {"tags": {"vpc": "vpc-1"}, "path": "org/prod/a"},
            "data",
            "place vpc",
            'tag:vpc = "vpc-1"; org/prod/a is below org/prod',
        ),
        (
            {"provider": "AWS", "account": "123", "path": "org/dev"},
            "data",
            "place account",
            'ProviderName = "AWS"; SubAccountId = "123"',
        ),
    ],
)
def test_a_place_is_finer_than_a_scope(
    facts: dict[str, Any], owner: str, rule: str, evidence: str
) -> None:
    found = decide(PLACES, **facts)
    assert (found.owner, found.tier, found.rule, found.evidence) == (owner, "scope", rule, evidence)
