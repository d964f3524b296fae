"""A Kubernetes cluster as rules have it: whose charges it is, and by what its cost is split.

What its workloads used comes from elsewhere (`workloads.py`); who owns a workload is decided by the
same tags, places and scopes as whose a charge is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from finops_pipeline.allocate.entries import Entry
from finops_pipeline.allocate.pools import Driver, Pool
from finops_pipeline.allocate.terms import Text, Values, Weight, as_list

SHARE = "share"
Measure = Literal["request", "usage", "greater"]


def _one_name(value: str) -> str:
    if "/" in value:
        raise ValueError("must not have a slash: it begins the scope of its workloads")
    return value


class ClusterWeights(Entry):
    """What a core for an hour weighs beside a GiB of memory for an hour.

    Without it the prices that OpenCost has for a cluster without prices of its own.
    Source: opencost/opencost, configs/default.json.
    """

    cpu: Weight = Decimal("0.031611")
    memory: Weight = Decimal("0.004237")

    @model_validator(mode="after")
    def _something(self) -> ClusterWeights:
        if not self.cpu and not self.memory:
            raise ValueError("must have cpu or memory greater than zero")
        return self


class Cluster(Pool):
    """A cluster: its charges, and how they are split among the workloads that ran on it.

    By what workloads requested, used, or the greater of both, of CPU and memory as `weights` weigh
    them. `idle` is capacity that none took, `overhead` the workloads of `system` namespaces: each
    is shared by the others (`share`), `unallocated`, or an owner's. A day without known usage is
    split by the drivers of `otherwise`; if there is none, it is `unallocated`.
    """

    name: Annotated[Text, AfterValidator(_one_name)]
    measure: Measure = "greater"
    weights: ClusterWeights = ClusterWeights()
    idle: Text = SHARE
    overhead: Text = SHARE
    system: Values = ("kube-system", "kube-public", "kube-node-lease")
    drivers: Annotated[
        tuple[Driver, ...],
        BeforeValidator(as_list, json_schema_input_type=Driver | list[Driver]),
    ] = Field((), alias="otherwise")

    @property
    def driver(self) -> str:
        """What it is split by in words, as it is stored beside each share."""
        by = {"request": "requests", "usage": "usage", "greater": "greater of request and usage"}
        return f"workloads by {by[self.measure]}"
