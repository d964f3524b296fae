"""How a cluster's cost is split among its workloads: by hand, by another computation, refused."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_pipeline.allocate.in_force import Calendar
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import DayOfShares, Known, Share, method_of
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.allocate.weights import DayOfDirects, Direct
from finops_pipeline.allocate.workloads import Quantity, Usage, Weighed, Workload, weigh
from finops_pipeline.config import ConfigError
from finops_pipeline_tests.allocate.test_shares import parts, total
from finops_pipeline_tests.allocate.worked_examples import CLUSTERS, Example, worked_examples

D, F = Decimal, Fraction
DAY = date(2025, 1, 15)
OWNERS = ["web", "data", "ops"]


def workload(namespace: str, name: str, cpu: str, memory: str, **labels: str) -> Workload:
    """A workload: `cpu` and `memory` are its request and usage."""

    def quantity(text: str) -> Quantity:
        request, usage = map(D, text.split())
        return Quantity(request, usage, max(request, usage))

    return Workload(namespace, name, json.dumps(labels), quantity(cpu), quantity(memory))


SHOP = workload("shop", "deployment/web", "40 20", "80 120")
ETL = workload("etl", "cronjob/load", "10 30", "40 20", team="data")
PROXY = workload("kube-system", "daemonset/proxy", "10 5", "20 40")
USAGE = Usage((ETL, PROXY, SHOP), D(100), D(400))


def rules(**cluster: Any) -> Rules:
    """Rules with one cluster, in which a core weighs as much as 4 GiB."""
    given_cluster = {
        "name": "prod-1",
        "match": {"tag:cluster": "prod-1"},
        "weights": {"cpu": 4, "memory": 1},
        **cluster,
    }
    return Rules.model_validate(
        {
            "owners": OWNERS,
            "tags": [{"key": "team"}],
            "scopes": [{"path": "prod-1/shop", "owner": "web", "provider": "Kubernetes"}],
            "clusters": [given_cluster],
        }
    )


def shares(given_rules: Rules, usage: Usage | None = USAGE, **further: Any) -> list[Share]:
    """The shares of the first cluster."""
    decider = Decider(given_rules)
    of_day = decider.calendar.on(DAY)

    def owner_of(subject: Subject) -> tuple[str, str]:
        decision = decider.decide(subject, DAY, workload=True)
        return decision.owner or UNALLOCATED, decision.evidence

    def clusters(name: str) -> Weighed:
        if usage is None:
            return Weighed()
        return weigh(of_day.clusters[name], usage, of_day.owners, owner_of)

    directs = DayOfDirects(further.pop("directs", ()))
    made = DayOfShares(of_day, directs, clusters=clusters, **further)
    return made.shares(given_rules.clusters[0].name)


# What takes a part by hand: the web shop, the load, the proxy as overhead, and idle capacity. In
# units of a GiB hour: request 240 + 80 + 60 + 420, usage 200 + 140 + 60 + 400,
# greater 280 + 160 + 80 + 280; each is the capacity of 4 x 100 + 400 = 800.
BY_HAND = {
    ("request", True, True): ("3/4", "1/4", None, None),
    ("request", True, False): ("12/19", "4/19", "3/19", None),
    ("request", False, True): ("57/160", "19/160", None, "21/40"),
    ("request", False, False): ("3/10", "1/10", "3/40", "21/40"),
    ("usage", True, True): ("10/17", "7/17", None, None),
    ("usage", True, False): ("1/2", "7/20", "3/20", None),
    ("usage", False, True): ("5/17", "7/34", None, "1/2"),
    ("usage", False, False): ("1/4", "7/40", "3/40", "1/2"),
    ("greater", True, True): ("7/11", "4/11", None, None),
    ("greater", True, False): ("7/13", "4/13", "2/13", None),
    ("greater", False, True): ("91/220", "13/55", None, "7/20"),
    ("greater", False, False): ("7/20", "1/5", "1/10", "7/20"),
}
POLICIES = ("share", UNALLOCATED, "ops")


@pytest.mark.parametrize("overhead", POLICIES)
@pytest.mark.parametrize("idle", POLICIES)
@pytest.mark.parametrize("measure", ["request", "usage", "greater"])
def test_by_hand(measure: str, idle: str, overhead: str) -> None:
    web, load, proxy, nobody = BY_HAND[measure, idle == "share", overhead == "share"]
    expected = {
        ("web", "shop", "deployment/web"): web,
        ("data", "etl", "cronjob/load"): load,
        (overhead, "kube-system", "daemonset/proxy"): proxy,
        (idle, "__idle__", None): nobody,
    }
    taken = shares(rules(measure=measure, idle=idle, overhead=overhead))
    assert {(s.owner, s.namespace, s.workload): s.fraction for s in taken} == {
        taker: share for taker, share in expected.items() if share
    }
    assert [s.position for s in taken] == list(range(1, len(taken) + 1))
    assert sum(s.share for s in taken) == 1 and taken[-1].share_after == 1
    assert {s.cluster for s in taken} == {"prod-1"}


def test_what_is_told_of_a_part() -> None:
    load, shop = shares(rules(measure="greater"))
    assert load.driver == "workloads by greater of request and usage"
    assert (load.weight, shop.weight) == (D(160), D(280))
    assert json.loads(load.facts or "") == {
        "cpu_core_hours": "30",
        "memory_gib_hours": "40",
        "evidence": 'team = "data" (name of the owner)',
        "labels": {"team": "data"},
    }
    why = json.loads(shop.facts or "")["evidence"]
    assert why == "prod-1/shop/deployment/web is below prod-1/shop"


def test_the_default_weights_are_the_prices_of_opencost() -> None:
    weights = rules(weights={}).clusters[0].weights
    assert (weights.cpu, weights.memory) == (D("0.031611"), D("0.004237"))


def test_a_workload_that_no_rule_knows_is_unallocated_and_seen() -> None:
    stranger = workload("lab", "", "1 1", "1 1")
    (taken,) = shares(rules(), Usage((stranger,), None, None))
    assert (taken.owner, taken.namespace, taken.workload) == (UNALLOCATED, "lab", None)


def test_idle_is_never_below_nothing() -> None:
    small = Usage((SHOP,), D(1), D(400))
    taken = shares(rules(measure="request", idle="ops"), small)
    # 4 x 40 + 80 = 240 for the shop, nothing of CPU and 400 - 80 = 320 of memory are idle.
    assert {s.owner: s.fraction for s in taken} == {"web": "3/7", "ops": "4/7"}


def test_idle_without_a_capacity_is_refused_with_the_cure() -> None:
    with pytest.raises(ConfigError, match=r"includeIdle=true, not in its CSV; .* idle: share"):
        shares(rules(idle="ops"), Usage((SHOP,), None, None))


def test_overhead_without_workloads_to_share_it_is_unallocated() -> None:
    taken = shares(rules(), Usage((PROXY,), None, None))
    assert [(s.owner, s.namespace, s.fraction) for s in taken] == [
        (UNALLOCATED, "kube-system", "1/1")
    ]


@pytest.mark.parametrize("usage", [None, Usage((), D(1), D(1))])
def test_a_day_without_usage_goes_on_to_the_other_drivers(usage: Usage | None) -> None:
    direct = Direct("ops", D(3), {})
    (taken,) = shares(rules(otherwise=["last known", "cost"]), usage, directs=[direct])
    assert (taken.owner, taken.driver, taken.cluster) == ("ops", "cost", None)

    known = Known(date(2025, 1, 14), {"web": F(1, 2), UNALLOCATED: F(1, 4), "gone": F(1, 4)})
    taken_as_known = shares(rules(otherwise="last known"), usage, earlier=lambda pool, part: known)
    assert {s.owner: s.fraction for s in taken_as_known} == {"web": "2/3", UNALLOCATED: "1/3"}

    (nobody,) = shares(rules(), usage)
    assert (nobody.owner, nobody.driver) == (UNALLOCATED, UNALLOCATED)


def test_a_pool_may_feed_a_cluster() -> None:
    fee = {"name": "fee", "match": {"ServiceName": "EKS"}, "recipients": ["prod-1", "ops"]}
    given_rules = rules().model_dump(by_alias=True, mode="json", exclude_defaults=True)
    given_rules["pools"] = [{**fee, "drivers": {"fixed": {"prod-1": 3, "ops": 1}}}]
    both = Rules.model_validate(given_rules)
    of_day = Calendar(both).on(DAY)
    weighed = weigh(of_day.clusters["prod-1"], USAGE, of_day.owners, lambda s: ("web", "all"))
    made = DayOfShares(of_day, DayOfDirects(()), clusters=lambda name: weighed)
    taken = made.shares("fee")
    assert [(s.owner, s.cluster, s.namespace, s.fraction) for s in taken] == [
        ("ops", None, None, "1/4"),
        ("web", "prod-1", "etl", "3/11"),
        ("web", "prod-1", "shop", "21/44"),
    ]
    (way,) = json.loads(taken[1].route or "")
    assert [step["to"] for step in way] == ["prod-1", "web/prod-1/etl/cronjob/load"]


@pytest.mark.parametrize(
    "change", [{"measure": "usage"}, {"idle": "ops"}, {"system": "x"}, {"weights": {"cpu": 1}}]
)
def test_how_a_cluster_is_split_is_its_method(change: dict[str, Any]) -> None:
    one, other = (Calendar(r).on(DAY) for r in (rules(), rules(**change)))
    assert method_of(one, "prod-1") != method_of(other, "prod-1")


GUIDE = worked_examples(CLUSTERS)


@pytest.mark.parametrize("example", GUIDE.values(), ids=GUIDE)
def test_the_guide_is_right(example: Example) -> None:
    heading = next(h for h in example.rows[0] if h.startswith("part of "))
    by_namespace = {row["namespace"]: row for row in example.rows}
    capacity = by_namespace.pop("(capacity)")
    ran = [
        Workload(
            row["namespace"],
            row["workload"],
            row["labels"],
            *(
                Quantity(request, used, max(request, used))
                for request, used in (
                    (D(row[f"{what} requested"]), D(row[f"{what} used"])) for what in ("cpu", "GiB")
                )
            ),
        )
        for row in by_namespace.values()
        if row["labels"]
    ]
    usage = Usage(tuple(ran), D(capacity["cpu used"]), D(capacity["GiB used"]))
    taken = shares(example.rules, usage)
    pieces = parts(D(heading.removeprefix("part of ")), taken)
    assert [
        (s.owner, s.namespace, s.workload or "", s.weight, s.share, piece)
        for s, piece in zip(taken, pieces, strict=True)
    ] == [
        (
            row["owner"],
            row["namespace"],
            row["workload"],
            *(D(row[c]) for c in ("weight", "share", heading)),
        )
        for row in example.rows
        if row["share"]
    ]


def test_the_guide_has_an_example_of_each_measure() -> None:
    assert {example.rules.clusters[0].measure for example in GUIDE.values()} == {
        "request",
        "usage",
        "greater",
    }


QUANTITY = st.builds(
    lambda r, u, more: Quantity(r, u, max(r, u) + more),
    *[st.integers(0, 10**21).map(lambda n: D(n).scaleb(-18)) | st.integers(0, 9).map(D)] * 3,
)
NAMESPACES = ("shop", "etl", "kube-system", "lab")
WORKLOADS = st.dictionaries(
    st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["", "deployment/a", "job/b"])),
    st.tuples(QUANTITY, QUANTITY),
    max_size=8,
)
MONEY = st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: D(f"{n}E-18"))
OWNER_OF = {"shop": "web", "etl": "data"}


@settings(deadline=None)
@given(
    WORKLOADS,
    st.tuples(*[st.integers(0, 10**4).map(D)] * 2),
    st.tuples(*[st.sampled_from([D(0), D(1), D("0.031611")])] * 2).filter(any),
    st.sampled_from(["request", "usage", "greater"]),
    st.sampled_from(POLICIES),
    st.sampled_from(POLICIES),
    MONEY,
)
def test_another_computation_agrees(
    had: dict[tuple[str, str], tuple[Quantity, Quantity]],
    capacity: tuple[Decimal, Decimal],
    weights: tuple[Decimal, Decimal],
    measure: str,
    idle: str,
    overhead: str,
    cost: Decimal,
) -> None:
    given_rules = rules(
        measure=measure, idle=idle, overhead=overhead,
        weights={"cpu": weights[0], "memory": weights[1]},
    )  # fmt: skip
    found = [Workload(n, w, "{}", cpu, memory) for (n, w), (cpu, memory) in had.items()]
    decider = Decider(
        given_rules.model_copy(
            update={"scopes": (*given_rules.scopes, *_scope("prod-1/etl", "data"))}
        )
    )
    of_day = decider.calendar.on(DAY)

    def owner_of(subject: Subject) -> tuple[str, str]:
        decision = decider.decide(subject, DAY, workload=True)
        return decision.owner or UNALLOCATED, ""

    weighed = weigh(of_day.clusters["prod-1"], Usage(tuple(found), *capacity), OWNERS, owner_of)
    taken = DayOfShares(of_day, DayOfDirects(()), clusters=lambda name: weighed).shares("prod-1")
    expected = _plainly(had, capacity, weights, measure, idle, overhead)
    told: dict[str, Fraction] = {}
    for taker, part in weighed.parts.items():
        told[taker.name] = told.get(taker.name, F(0)) + part
    assert (told or {UNALLOCATED: F(1)}) == {o: part for o, part in expected.items() if part}
    assert {s.owner for s in taken} <= expected.keys()
    pieces = parts(cost, taken)
    assert total(pieces) == cost and all(piece * cost >= 0 for piece in pieces)


def _scope(path: str, owner: str) -> tuple[Any, ...]:
    given_rules = {"owners": OWNERS, "scopes": [{"path": path, "owner": owner}]}
    return Rules.model_validate(given_rules).scopes


def _plainly(
    had: dict[tuple[str, str], tuple[Quantity, Quantity]],
    capacity: tuple[Decimal, Decimal],
    weights: tuple[Decimal, Decimal],
    measure: str,
    idle: str,
    overhead: str,
) -> dict[str, Fraction]:
    """What each owner takes of 1, dealt out in money: first the price of all, then each surplus."""
    prices = {
        where: sum(F(w) * F(getattr(q, measure)) for w, q in zip(weights, both, strict=True))
        for where, both in had.items()
    }
    free = F(0)
    for n, limit in enumerate(capacity):
        used = sum(F(getattr(both[n], measure)) for both in had.values())
        if used < F(limit):
            free += F(weights[n]) * (F(limit) - used)
    system = sum(p for (n, _), p in prices.items() if n == "kube-system")
    tenants = sum(prices.values()) - system
    owed: dict[str, Fraction] = {}

    def owe(who: str, amount: Fraction) -> None:
        owed[who] = owed.get(who, F(0)) + amount

    for (namespace, _), price in prices.items():
        if namespace != "kube-system":
            owe(OWNER_OF.get(namespace, UNALLOCATED), F(price))
            if overhead == "share":
                owe(OWNER_OF.get(namespace, UNALLOCATED), F(price) / (tenants or 1) * system)
    if system and (overhead != "share" or not tenants):
        owe(UNALLOCATED if overhead == "share" else overhead, F(system))
    if idle != "share":
        owe(idle, free)
    whole = sum(owed.values())
    if not whole:
        return {UNALLOCATED: F(1)}
    return {who: amount / whole for who, amount in owed.items()}
