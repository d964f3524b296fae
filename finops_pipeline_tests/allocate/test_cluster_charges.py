"""Whose a charge of a cluster is: shared, or of the namespace that the provider names."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from finops_pipeline.allocate.ownership import Decider, Decision
from finops_pipeline.allocate.rule_text import rule_text
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.config import ConfigError
from finops_pipeline.exact_yaml import read_yaml
from finops_pipeline_tests.allocate.test_ownership import subject

DAY = date(2025, 1, 15)
RULES = """
owners: [web, data, ops]
tags: [{key: team}]
scopes:
  - {path: prod-1/shop, owner: web, provider: Kubernetes}
  - {path: root/ops, owner: ops}
clusters:
  - name: prod-1
    match: {"tag:goog-k8s-cluster-name": prod-1}
    idle: ops
    system: [kube-system, istio-system]
pools:
  - {name: rest, match: {ServiceName: COMPUTE}, drivers: even}
"""


def decide(tags: dict[str, str], rules: str = RULES, **further: Any) -> Decision:
    """The decision for a node of the cluster, or what its provider says that it is a part of."""
    given = {"goog-k8s-cluster-name": "prod-1", **tags}
    return Decider(Rules.model_validate(read_yaml(rules))).decide(
        subject(tags=given, service="COMPUTE", **further), DAY
    )


def test_a_cluster_comes_before_tags_and_scopes_of_its_nodes() -> None:
    found = decide({"team": "ops"}, path="root/ops")
    assert (found.owner, found.pool, found.tier, found.rule, found.cluster) == (
        None, "prod-1", "pool", "cluster prod-1", "prod-1",
    )  # fmt: skip
    assert found.evidence == 'tag:goog-k8s-cluster-name = "prod-1"'
    text = rule_text(Rules.model_validate(read_yaml(RULES)), found.rule, DAY, "Google Cloud")
    assert text and '"idle": "ops"' in text and '"name": "prod-1"' in text


NAMED = {
    "a namespace with an owner": (
        {"k8s-namespace": "shop", "k8s-workload-type": "apps/v1-Deployment",
         "k8s-workload-name": "web"},
        ("web", "scope", "shop", "deployment/web"),
        "scope prod-1/shop: prod-1/shop/deployment/web is below prod-1/shop",
    ),
    "a label of the workload": (
        {"k8s-namespace": "lab", "k8s-label/team": "Data"},
        ("data", "tag", "lab", None),
        'tag team: team = "Data" (name of the owner)',
    ),
    "a namespace that nobody owns": (
        {"k8s-namespace": "lab"},
        ("unallocated", "unallocated", "lab", None),
        "none: no tag or scope matches",
    ),
    "idle capacity": (
        {"k8s-namespace": "kube:unallocated"},
        ("ops", "scope", "kube:unallocated", None),
        "idle is ops's",
    ),
    "split by AWS": (
        {"aws:eks:namespace": "shop", "aws:eks:workload-type": "Deployment",
         "aws:eks:workload-name": "web"},
        ("web", "scope", "shop", "deployment/web"),
        "prod-1/shop/deployment/web is below prod-1/shop",
    ),
    "a volume": (
        {"kubernetes.io/created-for/pvc/namespace": "shop"},
        ("web", "scope", "shop", None),
        'tag:kubernetes.io/created-for/pvc/namespace = "shop"; scope prod-1/shop: the scope is',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tags", "expected", "why"), NAMED.values(), ids=NAMED)
def test_a_charge_that_the_provider_has_split_is_its_namespaces(
    tags: dict[str, str], expected: tuple[str | None, ...], why: str
) -> None:
    found = decide(tags)
    assert (found.owner, found.tier, found.namespace, found.workload) == expected
    assert (found.pool, found.rule, found.cluster) == (None, "cluster prod-1", "prod-1")
    assert why in found.evidence


SHARED = ("kube:system-overhead", "kube-system", "Istio-System", "goog-k8s-unknown",
          "goog-k8s-unsupported-sku")  # fmt: skip


@pytest.mark.parametrize("namespace", SHARED)
def test_overhead_and_what_the_provider_does_not_know_is_shared(namespace: str) -> None:
    found = decide({"k8s-namespace": namespace})
    assert (found.owner, found.pool) == (None, "prod-1")
    assert found.evidence.endswith(f'tag:k8s-namespace = "{namespace}"')


@pytest.mark.parametrize("policy", ["unallocated", "data"])
def test_overhead_by_policy(policy: str) -> None:
    rules = RULES.replace("idle: ops", f"overhead: {policy}")
    for namespace in SHARED[:3]:
        found = decide({"k8s-namespace": namespace}, rules)
        tier = "unallocated" if policy == "unallocated" else "scope"
        assert (found.owner, found.pool, found.tier) == (policy, None, tier)
    assert decide({"k8s-namespace": SHARED[3]}, rules).pool == "prod-1"


def test_an_owner_of_idle_who_has_left_leaves_it_unallocated() -> None:
    rules = RULES.replace("data, ops]", "data, {name: ops, to: 2025-01-14}]")
    found = decide({"k8s-namespace": "kube:unallocated"}, rules)
    assert (found.owner, found.tier) == ("unallocated", "unallocated")
    assert found.evidence.endswith("idle is of ops, who is no owner on this day")


def test_a_workload_belongs_to_no_pool_and_no_cluster() -> None:
    rules = RULES.replace("ServiceName: COMPUTE", "ProviderName: Kubernetes")
    assert decide({"k8s-namespace": "lab"}, rules).owner == "unallocated"


IDLE = "idle: ops"
NAME = "name: prod-1"
REFUSED = {
    "an unknown policy": (IDLE, "idle: opps", "0.idle: must be one of owners"),
    "a name taken": (NAME, "name: web", "0.name: is an owner already (owners.0.name)"),
    "the name of a pool": (NAME, "name: rest", "0.name: is a pool already (pools.0)"),
    "a slash": (NAME, "name: prod/1", "0.name: Value error, must not have a slash"),
    "another measure": (IDLE, "measure: most", "0.measure: Input should be 'request',"),
    "no weight": (IDLE, "weights: {cpu: 0, memory: 0}", "0.weights: Value error, must have cpu"),
    "no match": ('{"tag:goog-k8s-cluster-name": prod-1}', "{}", "0.match: Value error, must name"),
    "a driver": (IDLE, "otherwise: usage", "0.otherwise.0: Value error, must be cost"),
    "a table": (IDLE, "otherwise: {weights: x}", "0.otherwise.0.weights: must be one"),
    "a weight": (IDLE, "otherwise: {fixed: {me: 1}}", "0.otherwise.0.fixed.me: must be an owner"),
    "an unknown key": (IDLE, "idel: ops", "0.idel: Extra inputs are not permitted"),
    "reserved": (NAME, "name: unallocated", "0.name: is reserved"),
}


@pytest.mark.parametrize(("old", "new", "said"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_cluster_is_refused_with_its_place(
    old: str, new: str, said: str, tmp_path: Any
) -> None:
    from finops_pipeline.allocate.load import load_rules

    path = tmp_path / "rules.yaml"
    path.write_text(RULES.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load_rules(path)
    assert f"clusters.{said}" in str(refused.value)


def test_no_owner_is_called_as_a_policy() -> None:
    with pytest.raises(ValueError, match=r"owners\.3\.name\n  is what clusters share"):
        Rules.model_validate(read_yaml(RULES.replace("ops]", "ops, share]")))


def test_two_of_one_name_may_follow_each_other() -> None:
    given = read_yaml(RULES)
    (one,) = given["clusters"]
    given["clusters"] = [{**one, "to": date(2025, 1, 31)}, {**one, "from": date(2025, 2, 1)}]
    assert len(Rules.model_validate(given).clusters) == 2
    given["clusters"] = [one, one]
    with pytest.raises(ValueError, match=r"stands already at clusters\.0\.name"):
        Rules.model_validate(given)
