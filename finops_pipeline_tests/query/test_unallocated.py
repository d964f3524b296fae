"""What nobody owns: the suggestions foretell what happens when they are written into the rules."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from finops_pipeline.allocate.load import load_rules
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.ingest.scopes import Scope, store_scopes
from finops_pipeline.query.effects import left_by
from finops_pipeline.query.rules_diff import rules_diff
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


THIRDS: dict[str, Any] = {
    **RULES,
    "pools": [
        {"name": "net", "match": {"ServiceName": "NETWORK"},
         "drivers": {"fixed": {"web": 1, "lost": 2}}, "recipients": ["web", "lost"]},
        {"name": "lost", "match": {"ServiceName": "LOST"}, "drivers": {"usage": "Nothing"}},
    ],
}  # fmt: skip


def test_parts_of_a_pool_that_nobody_takes_count_figure_by_figure(tmp_path: Path) -> None:
    """Two thirds of each figure are lost: rounded one by one, they are not those of the sum."""
    made = History(tmp_path)
    made.rules(yaml.safe_dump(THIRDS))
    made.deliver(
        "one",
        placed("shop", "nobody", "4", "a"),
        *(
            placed(
                "shop",
                None,
                "0.000000000000000001",
                f"n{i}",
                service="NETWORK",
                resource="r",
                **{"cost/productSku": f"S{i}"},
            )
            for i in range(3)
        ),
    )
    made.step()
    rules = load_rules(made.pipeline.settings.rules)
    with made.pipeline.engine() as engine:
        (left,) = left_by(made.pipeline.home, engine, [rules])
    stored = made.costs(0, ("owner",), "EffectiveCost")["unallocated",]
    assert left == {"USD": stored}
    assert stored == Decimal("4.000000000000000003")  # of the sum it would be …002


def test_who_is_not_named_yet_takes_no_part_of_what_all_owners_share(tmp_path: Path) -> None:
    """No owner is one on the day, so an even pool is nobody's: the placeholder changes nothing."""
    rules: dict[str, Any] = {
        "owners": [{"name": "web", "to": "2020-01-01"}],
        "tags": RULES["tags"],
        "pools": [{"name": "net", "match": {"ServiceName": "NETWORK"}, "drivers": "even"}],
        "clusters": [{"name": "k1", "match": {"ServiceName": "OKE"}, "otherwise": "even"}],
    }
    made = History(tmp_path)
    made.rules(yaml.safe_dump(rules))
    made.deliver(
        "one",
        placed("lab", None, "20", "d"),
        placed("shop", None, "6", "g", service="NETWORK"),
        placed("shop", None, "3", "h", service="OKE"),
    )
    made.step()
    suggestions = found(made).suggestions
    assert {s.owner for s in suggestions} == {SOMEONE}
    tag = next(s for s in suggestions if s.kind == "tag")
    assert (tag.moved, tag.left) == ({"USD": Decimal(20)}, {"USD": Decimal(9)})


def test_names_that_rules_cannot_have_are_suggested_as_they_can_or_not_at_all(
    tmp_path: Path,
) -> None:
    """Space around a resource says nothing to rules; a scope that ends with it has no rule."""
    made = History(tmp_path)
    made.rules(yaml.safe_dump(RULES))
    made.deliver(
        "one",
        placed("lab", None, "20", "a", resource=" one "),
        placed("lab", None, "4", "b", resource="  "),
    )
    places = [Scope("top", "acme", None), Scope("mid", "mid ", "top"), Scope("lab", "lab", "mid")]
    store_scopes(made.pipeline.home.table("compartments"), "acme", places)
    made.step()
    told = found(made).suggestions
    tag = next(s for s in told if s.kind == "tag")
    assert tag.text == "tag team = SOMEONE on one"
    assert (tag.moved, tag.left) == ({"USD": Decimal(20)}, {"USD": Decimal(4)})


def test_every_effect_is_what_a_whole_allocation_by_those_rules_says(acme: History) -> None:
    rules = load_rules(acme.pipeline.settings.rules)
    others = [
        Rules.model_validate(json.loads(rules.content) | further)
        for further in (
            {"scopes": [{"path": "root/lab", "owner": "web"}]},
            {"scopes": [{"path": "root", "owner": "payments"}]},
            {"tags": []},
            {"pools": []},
        )
    ]
    home = acme.pipeline.home
    with acme.pipeline.engine() as engine:
        left = left_by(home, engine, [rules, *others])
        for other, costs in zip(others, left[1:], strict=True):
            totals = rules_diff(home, engine, rules, other, ["acme"]).totals
            assert costs.get("USD", 0) == totals.get(("USD", "unallocated"), (0, 0))[1]
            assert left[0]["USD"] == totals["USD", "unallocated"][0]
    assert len({str(costs) for costs in left}) == len(left)
