"""What nobody owns: the suggestions foretell what happens when they are written into the rules."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from finops_pipeline.allocate.load import load_rules
from finops_pipeline.ingest.scopes import Scope, store_scopes
from finops_pipeline.query.show_unallocated import show_unallocated
from finops_pipeline.query.unallocated import SOMEONE, Suggestion, Unallocated, unallocated
from finops_pipeline_tests.query.history import History, charge

RULES: dict[str, Any] = {
    "owners": ["web", "payments"],
    "tags": [{"key": "team", "invalid": ["none"]}],
    "pools": [{"name": "net", "match": {"ServiceName": "NETWORK"}, "drivers": "cost"}],
}


def placed(where: str, team: str | None, cost: str, ref: str, **values: str) -> Any:
    resource = values.pop("resource", f"ocid1.instance.oc1..{ref}")
    return charge(
        team, cost, ref,
        **{"product/compartmentId": where, "product/resourceId": resource}, **values,
    )  # fmt: skip


@pytest.fixture
def acme(tmp_path: Path) -> History:
    """An unknown value of payments, untagged resources in the lab, a network shared by cost."""
    made = History(tmp_path)
    made.rules(yaml.safe_dump(RULES))
    made.deliver(
        "one",
        placed("shop", "web", "10", "a"),
        placed("shop", "paymnts", "8.25", "b"),
        placed("lab", "payments", "3", "c"),
        placed("lab", None, "20", "d"),
        placed("lab", None, "1.5", "e"),
        placed("shop", "none", "0.75", "f"),
        placed("shop", None, "6", "g", service="NETWORK"),
    )
    places = [Scope("top", "acme", None), Scope("lab", "lab", "top"), Scope("shop", "shop", "top")]
    store_scopes(made.pipeline.home.table("compartments"), "acme", places)
    made.step()
    return made


def found(acme: History) -> Unallocated:
    pipeline = acme.pipeline
    with pipeline.engine() as engine:
        return unallocated(pipeline.home, engine, load_rules(pipeline.settings.rules))


def test_what_nobody_owns_is_ranked(acme: History) -> None:
    told = found(acme)
    assert told.total.total == Decimal("30.5")  # 8.25 + 20 + 1.5 + 0.75
    assert told.rankings["scope"].rows == (
        ("root/lab", Decimal("21.5")), ("root/shop", Decimal(9)),
    )  # fmt: skip
    assert told.rankings["tag:team"].rows == (
        (None, Decimal("21.5")), ("paymnts", Decimal("8.25")), ("none", Decimal("0.75")),
    )  # fmt: skip
    assert acme.costs(0, ("owner",), "EffectiveCost")["unallocated",] == Decimal("30.5")


def test_the_suggestions_by_hand(acme: History) -> None:
    scope, tag, alias = found(acme).suggestions
    assert scope == Suggestion(
        "scope", 'scopes: [{"path": "root/lab", "owner": "payments"}]', "payments",
        {"USD": Decimal("21.5")}, {"USD": Decimal(9)},
    )  # fmt: skip
    assert (tag.kind, tag.owner, tag.moved) == ("tag", SOMEONE, {"USD": Decimal("21.5")})
    assert tag.text == (
        f"tag team = {SOMEONE} on ocid1.instance.oc1..d, ocid1.instance.oc1..e"
    )  # fmt: skip
    assert alias == Suggestion(
        "alias", 'tags: [{"key": "team", "aliases": {"paymnts": "payments"}}]', "payments",
        {"USD": Decimal("8.25")}, {"USD": Decimal("22.25")},
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 2])
def test_what_is_suggested_does_what_was_foretold(acme: History, number: int) -> None:
    before = acme.pipeline.home.table("allocated_costs").version()
    suggestion = found(acme).suggestions[number]
    assert acme.pipeline.home.table("allocated_costs").version() == before  # nothing is applied
    given = yaml.safe_load(suggestion.text)
    if "tags" in given:
        given = {"tags": [RULES["tags"][0] | given["tags"][0]]}
    acme.rules(yaml.safe_dump(RULES | given))
    acme.step()
    costs = {o: c for (o,), c in acme.costs(1, ("owner",), "EffectiveCost").items()}
    assert costs["unallocated"] == suggestion.left["USD"]
    assert sum(costs.values()) == Decimal("49.5")


def test_json_has_every_digit_and_no_made_up_owner(acme: History) -> None:
    content = json.loads(show_unallocated(found(acme), "json"))
    assert (content["total"], content["currency"]) == ("30.5", "USD")
    assert content["by"]["scope"][0] == {"value": "root/lab", "cost": "21.5"}
    assert [s["owner"] for s in content["suggestions"]] == ["payments", None, "payments"]
    assert content["suggestions"][2]["effect"] == [
        {"currency": "USD", "moved": "8.25", "left": "22.25"}
    ]
    table = show_unallocated(found(acme))
    assert "Unallocated: 30.50 USD" in table and "moves 8.25 USD, leaves 22.25" in table


def test_what_is_known_invalid_is_never_suggested(acme: History) -> None:
    assert not [s for s in found(acme).suggestions if '"none"' in s.text]


def test_a_lake_where_everything_is_owned_has_no_suggestion(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.rules(yaml.safe_dump(RULES))
    made.deliver("one", placed("shop", "web", "10", "a"))
    made.step()
    told = found(made)
    assert (told.total.total, told.suggestions) == (0, ())
    assert show_unallocated(told) == "Unallocated: 0.00\n"
