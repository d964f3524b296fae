"""What the workloads of a cluster take of its cost on a day, by what they requested and used.

A workload's owner is decided as a charge's is, by a subject of its own: its labels are its tags,
`cluster/namespace/workload` is its scope, and its provider is `Kubernetes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from finops_pipeline.allocate.clusters import SHARE, Cluster
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.terms import UNALLOCATED, fold
from finops_pipeline.config import ConfigError
from finops_pipeline.ingest.usage import rounded

KUBERNETES = "Kubernetes"  # ProviderName and ServiceName of the subject that a workload is
IDLE = "__idle__"  # the namespace of capacity that nobody took, as OpenCost calls it


class Taker(NamedTuple):
    """Who takes a part: an owner or a pool; of a cluster's cost, an owner for a workload."""

    name: str
    cluster: str = ""
    namespace: str = ""
    workload: str = ""


@dataclass(frozen=True, slots=True)
class Quantity:
    """Of one workload and day: core hours of CPU, or GiB hours of memory.

    `greater` is the sum over containers of the greater of both, so it may be more than either.
    """

    request: Decimal
    usage: Decimal
    greater: Decimal


@dataclass(frozen=True, slots=True)
class Workload:
    """What one workload had on a day. `labels` is the text of a JSON object.

    `name` is its kind and name, such as `deployment/web`; empty where only the namespace is known.
    """

    namespace: str
    name: str
    labels: str
    cpu: Quantity
    memory: Quantity


@dataclass(frozen=True)
class Usage:
    """What was known of a cluster on a day. Capacities are of all its nodes, in the same hours."""

    workloads: tuple[Workload, ...]
    cpu_capacity: Decimal | None
    memory_capacity: Decimal | None


@dataclass(frozen=True)
class Weighed:
    """The parts of a cluster's cost by taker, which sum to 1, and what they rest on.

    `facts` has for each taker the text of a JSON object: hours, labels, whose it is and why.
    """

    parts: Mapping[Taker, Fraction] = field(default_factory=dict)
    weights: Mapping[Taker, Decimal] = field(default_factory=dict)
    facts: Mapping[Taker, str] = field(default_factory=dict)


OwnerOf = Callable[[Subject], tuple[str, str]]  # an owner or `unallocated`, and why


def subject_of(cluster: str, namespace: str, workload: str, tags: str) -> Subject:
    """A workload as the rules see it."""
    path = "/".join(part for part in (cluster, namespace, workload) if part)
    return Subject(
        provider=KUBERNETES,
        billing_account_id=None,
        sub_account_id=None,
        service=KUBERNETES,
        charge_category="Usage",
        resource_id=path,
        commitment_discount_id=None,
        scope_path=path,
        tags=tags,
    )


def weigh(cluster: Cluster, usage: Usage, owners: Iterable[str], owner_of: OwnerOf) -> Weighed:
    """Split a cluster by its usage; without any hour that weighs, nobody takes a part.

    What is shared is shared in proportion: idle capacity by all workloads, overhead by those that
    are none. Raises ConfigError when idle capacity is not shared, and no capacity is known.
    """
    present = frozenset(owners)
    system = {fold(name) for name in cluster.system}
    own: dict[Taker, Fraction] = {}
    overhead: dict[Taker, Fraction] = {}
    facts: dict[Taker, str] = {}
    for one in usage.workloads:
        cpu, memory = (getattr(q, cluster.measure) for q in (one.cpu, one.memory))
        weight = _weight(cluster, Fraction(cpu), Fraction(memory))
        if weight <= 0:
            continue
        is_overhead = fold(one.namespace) in system
        if is_overhead:
            owner, why = by_policy("overhead", cluster.overhead, present)
        else:
            owner, why = owner_of(subject_of(cluster.name, one.namespace, one.name, one.labels))
        taker = Taker(owner, cluster.name, one.namespace, one.name)
        (overhead if is_overhead else own)[taker] = weight
        facts[taker] = _facts(cpu, memory, why, one.labels)
    idle = _idle(cluster, usage, present, facts)
    return _parted(cluster, own, overhead, idle, facts)


def _parted(
    cluster: Cluster,
    own: Mapping[Taker, Fraction],
    overhead: Mapping[Taker, Fraction],
    idle: Mapping[Taker, Fraction],
    facts: Mapping[Taker, str],
) -> Weighed:
    by_own, by_overhead = (sum(x.values(), Fraction(0)) for x in (own, overhead))
    whole = by_own + by_overhead + sum(idle.values(), Fraction(0))
    if not whole:
        return Weighed()
    shared = cluster.overhead == SHARE and by_own > 0
    factor = (by_own + by_overhead) / by_own if shared else Fraction(1)
    parts = {taker: weight * factor / whole for taker, weight in own.items()}
    kept = {**({} if shared else overhead), **idle}
    parts |= {taker: weight / whole for taker, weight in kept.items()}
    weights = {taker: rounded(weight) for taker, weight in {**own, **kept}.items()}
    return Weighed(parts, weights, {taker: facts[taker] for taker in parts})


def _idle(
    cluster: Cluster, usage: Usage, owners: frozenset[str], facts: dict[Taker, str]
) -> dict[Taker, Fraction]:
    """What nobody took of the capacity, where it is not shared; never less than nothing."""
    if cluster.idle == SHARE:
        return {}
    if usage.cpu_capacity is None or usage.memory_capacity is None:
        raise ConfigError(
            f"clusters: {cluster.name}: idle is {cluster.idle!r}, but its usage says nothing of "
            "the capacity of its nodes. OpenCost tells it in /allocation with includeIdle=true, "
            "not in its CSV; Prometheus in kube_node_status_capacity. Or set idle: share."
        )
    left = []
    for capacity, name in ((usage.cpu_capacity, "cpu"), (usage.memory_capacity, "memory")):
        taken = sum(
            (Fraction(getattr(getattr(w, name), cluster.measure)) for w in usage.workloads),
            Fraction(0),
        )
        left.append(max(Fraction(capacity) - taken, Fraction(0)))
    weight = _weight(cluster, left[0], left[1])
    if not weight:
        return {}
    owner, why = by_policy("idle", cluster.idle, owners)
    taker = Taker(owner, cluster.name, IDLE)
    facts[taker] = _facts(rounded(left[0]), rounded(left[1]), why, "{}")
    return {taker: weight}


def by_policy(what: str, policy: str, owners: frozenset[str]) -> tuple[str, str]:
    """Whose idle capacity or overhead is that is not shared, and why."""
    if policy in owners:
        return policy, f"{what} is {policy}'s"
    if policy == SHARE:  # there is nobody who could share it
        return UNALLOCATED, f"{what} is shared, but no workload is left to share it"
    absent = "" if policy == UNALLOCATED else f"{what} is of {policy}, who is no owner on this day"
    return UNALLOCATED, absent or f"{what} is unallocated"


def _weight(cluster: Cluster, cpu: Fraction, memory: Fraction) -> Fraction:
    return Fraction(cluster.weights.cpu) * cpu + Fraction(cluster.weights.memory) * memory


def _facts(cpu: Decimal, memory: Decimal, why: str, labels: str) -> str:
    found = {
        "cpu_core_hours": _plain(cpu),
        "memory_gib_hours": _plain(memory),
        "evidence": why,
        "labels": json.loads(labels),
    }
    return json.dumps(found, ensure_ascii=False)


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
