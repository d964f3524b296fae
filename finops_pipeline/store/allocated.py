"""Expressions of the cost lake: charges to the daily grain, and each figure to its owners.

Three steps, each bound before the next: `daily` sums charges of the same day, resource, SKU and
so on; the owner decisions (`allocate/ownership.py`) and the pools' shares (`allocate/shares.py`)
are joined to it as small tables. What a part of a shared figure is, is decided here, exactly.
"""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.types as ir

from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.contracts.forms import MONEY, SHARE, ibis_schema
from finops_pipeline.contracts.tables import (
    DAILY_DIMENSIONS,
    DAILY_METRICS,
    REPORTING_METRICS,
    tables,
)
from finops_pipeline.engine.functions import share_product, small_product, text_hash
from finops_pipeline.engine.sql import Sql

_RATE = ("x_ExchangeRate", "x_ExchangeRateDate", "x_ExchangeRateSource", "x_ReportingCurrency")
_PLACE = ("x_Source", "x_ChargeDay", "x_ScopeId", "x_ScopePath")
GROUP = (*DAILY_DIMENSIONS, *_PLACE, *_RATE)
METRICS = (*DAILY_METRICS, *REPORTING_METRICS)
SUBJECT = {
    "provider": "ProviderName",
    "billing_account_id": "BillingAccountId",
    "sub_account_id": "SubAccountId",
    "service": "ServiceName",
    "charge_category": "ChargeCategory",
    "resource_id": "ResourceId",
    "commitment_discount_id": "CommitmentDiscountId",
    "scope_path": "x_ScopePath",
    "tags": "Tags",
}
SCOPE = "x_ScopePath"  # what rules call `scope`


@cache
def daily_sql() -> Sql:
    """`charges` (of `focus_costs`) summed to the daily grain."""
    charges = ibis.table(ibis_schema(tables()["focus_costs"]), name="charges")
    daily = charges.group_by(*GROUP).aggregate(
        **{metric: charges[metric].sum() for metric in METRICS},
        x_ChargeCount=charges.count(),
    )
    return Sql(daily.mutate(x_OwnershipId=ownership_id(daily)))


def ownership_id(charges: ir.Table) -> ir.StringValue:
    """The identifier of the decision that charges rest on: a hash of all that it may look at."""
    return text_hash([charges[column] for column in SUBJECT.values()])


def _daily() -> ir.Table:
    schema = ibis_schema(tables()["focus_costs"])
    return ibis.table(
        {
            **{name: schema[name] for name in GROUP},
            **dict.fromkeys(METRICS, MONEY),
            "x_ChargeCount": "int64",
            "x_OwnershipId": "string",
        },
        name="daily",
    )


@cache
def daily_of_sql(costs: str, grain: tuple[str, ...]) -> Sql:
    """What owners have, bound as `costs`, summed to what `daily` has, or to a coarser grain of it.

    Of the metrics it has those that are weighed; columns that are not in the grain are null.
    """
    rows = ibis.table(ibis_schema(tables()["allocated_costs"]), name=costs)
    weighed = ("EffectiveCost", "x_ReportingEffectiveCost", "ConsumedQuantity")
    summed = rows.group_by(*grain, "x_OwnershipId").aggregate(
        **{metric: rows[metric].sum().cast(MONEY) for metric in weighed}
    )
    schema = _daily().schema()
    return Sql(
        summed.select(
            **{
                name: summed[name] if name in summed.columns else ibis.null(schema[name])
                for name in schema.names
            }
        )
    )


@cache
def subjects_sql() -> Sql:
    """What owners are decided for: each distinct resource, tag set and place of each day."""
    daily = _daily()
    subjects = daily.select(
        source="x_Source",
        charge_day="x_ChargeDay",
        ownership_id="x_OwnershipId",
        **SUBJECT,
    ).distinct()
    return Sql(subjects.order_by("charge_day", "ownership_id"))


@cache
def direct_sql(same: tuple[str, ...] = ()) -> Sql:
    """The pools' drivers: direct cost (reporting currency) and usage by taker, day and unit.

    A taker is an owner or a pool; `same` are further columns, as rules name them, to tell apart.
    """
    owned = _owned()
    taken = owned.filter((owned.owner != UNALLOCATED) | owned.owner.isnull())
    further = {name: taken[SCOPE if name == "scope" else name] for name in same}
    keys = {
        "charge_day": taken.x_ChargeDay,
        "taker": taken.owner.coalesce(taken.pool),
        "unit": taken.ConsumedUnit,
        **further,
    }
    return Sql(
        taken.group_by(**keys)
        .aggregate(
            cost=taken.x_ReportingEffectiveCost.sum().fill_null(0),
            quantity=taken.ConsumedQuantity.sum().fill_null(0),
        )
        .order_by(*keys)
    )


@cache
def allocated_sql() -> Sql:
    """`allocated_costs`: every daily figure with its owner; shared ones split to the last digit."""
    owned = _owned()
    none = ibis.null(str)
    direct = owned.filter(owned.owner.notnull()).select(
        **_common(owned),
        **{metric: owned[metric] for metric in METRICS},
        x_Pool=none,
        x_Cluster=owned.cluster,
        x_Namespace=owned.namespace,
        x_Workload=owned.workload,
        x_Share=ibis.literal(1).cast(SHARE),
        x_BusinessUnit=owned.owner,
        AllocatedMethodId=none,
        AllocatedResourceId=none,
        AllocatedResourceName=none,
        AllocatedTags=none,
        AllocatedMethodDetails=none,
    )
    shares = _shares()
    pooled = owned.filter(owned.pool.notnull()).join(
        shares,
        [
            owned.pool == shares.share_pool,
            owned.pool_part == shares.share_pool_part,
            owned.x_ChargeDay == shares.share_charge_day,
        ],
    )
    split = pooled.select(
        **_common(pooled),
        **{metric: part(pooled[metric], pooled.before, pooled.after) for metric in METRICS},
        x_Pool=pooled.pool,
        x_Cluster=pooled.share_cluster.coalesce(pooled.cluster),
        x_Namespace=pooled.share_namespace,
        x_Workload=pooled.share_workload,
        x_Share=pooled.share,
        x_BusinessUnit=pooled.share_owner,
        AllocatedMethodId=pooled.method_id,
        AllocatedResourceId=pooled.taker,
        AllocatedResourceName=pooled.taker_name,
        AllocatedTags=pooled.taker_tags,
        AllocatedMethodDetails=pooled.details,
    )
    both = direct.union(split)
    told_apart = ("x_BusinessUnit", "AllocatedResourceId", "x_Rule", "x_OwnershipId")
    identity = [both[name] for name in (*GROUP, *told_apart)]
    schema = ibis_schema(tables()["allocated_costs"])
    complete = both.mutate(x_AllocationId=text_hash(identity))
    return Sql(
        complete.select(**{name: complete[name].cast(schema[name]) for name in schema.names})
    )


FIGURES = "figures"  # what `allocated_sql` made, kept until it is written


@cache
def figures_sql() -> Sql:
    """The figures that were made, as they are written."""
    return Sql(ibis.table(ibis_schema(tables()["allocated_costs"]), name=FIGURES))


def part(amount: ir.DecimalValue, before: ir.DecimalValue, after: ir.DecimalValue) -> ir.Value:
    """What falls between two running totals of shares: the parts of an amount sum to the amount.

    `part_i = F(S_i) - F(S_i-1)` telescopes to `F(1) = amount` on any engine, however F rounds.
    """
    return (_up_to(amount, after) - _up_to(amount, before)).cast(MONEY)


def _up_to(amount: ir.DecimalValue, share: ir.DecimalValue) -> ir.DecimalValue:
    # 18 and 12 digits after the point do not fit one product of 38 digits: taken apart in two.
    high = amount.cast("decimal(24, 6)").cast(MONEY)
    low = (amount - high).cast(MONEY)
    rounded: ir.DecimalValue = share_product(high, share).cast(MONEY) + small_product(
        low, share
    ).cast(MONEY)
    return rounded


def _owned() -> ir.Table:
    daily, decisions = _daily(), _decisions()
    return daily.join(
        decisions,
        [
            daily.x_OwnershipId == decisions.ownership_id,
            daily.x_ChargeDay == decisions.charge_day,
        ],
    )


def _decisions() -> ir.Table:
    return ibis.table(
        {
            "charge_day": "date", "ownership_id": str, "owner": str, "pool": str,
            "pool_part": str, "cluster": str, "namespace": str, "workload": str, "tier": str,
            "rule": str, "rule_set": str,
        },
        name="decisions",
    )  # fmt: skip


def _shares() -> ir.Table:
    return ibis.table(
        {
            "charge_day": "date", "pool": str, "pool_part": str, "owner": str,
            "share_before": SHARE, "share_after": SHARE, "share": SHARE, "method_id": str,
            "cluster": str, "namespace": str, "workload": str, "taker": str, "taker_name": str,
            "taker_tags": str, "details": str,
        },
        name="pool shares",
    ).rename(
        share_charge_day="charge_day", share_pool="pool", share_pool_part="pool_part",
        share_owner="owner", share_cluster="cluster", share_namespace="namespace",
        share_workload="workload",
        before="share_before", after="share_after",
    )  # fmt: skip


def _common(row: ir.Table) -> dict[str, ir.Value]:
    return {
        **{name: row[name] for name in GROUP},
        "x_ChargeCount": row.x_ChargeCount,
        "x_OwnershipId": row.x_OwnershipId,
        "x_Tier": row.tier,
        "x_Rule": row.rule,
        "x_RuleSet": row.rule_set,
    }


@cache
def sums_sql(table: str, name: str) -> Sql:
    """Sums of every metric by charge day and currency: what allocation must conserve.

    Of `allocated_costs` by owner too, so that who has how much is known from the same pass.
    """
    rows = ibis.table(ibis_schema(tables()[table]), name=name)
    keys = ["x_ChargeDay", "BillingCurrency"]
    keys += ["x_BusinessUnit"] if "x_BusinessUnit" in rows.columns else []
    return Sql(
        rows.group_by(keys)
        .aggregate(**{metric: rows[metric].sum() for metric in METRICS})
        .order_by(keys)
    )


@cache
def left_sql() -> Sql:
    """EffectiveCost that nobody takes by the decisions and shares that are bound, by currency."""
    owned, shares = _owned(), _shares()
    whole = owned.filter(owned.owner == UNALLOCATED)
    nobodys = shares.filter(shares.share_owner == UNALLOCATED)
    pooled = owned.join(
        nobodys,
        [
            owned.pool == nobodys.share_pool,
            owned.pool_part == nobodys.share_pool_part,
            owned.x_ChargeDay == nobodys.share_charge_day,
        ],
    )
    parts = whole.select(currency=whole.BillingCurrency, cost=whole.EffectiveCost).union(
        pooled.select(
            currency=pooled.BillingCurrency,
            cost=part(pooled.EffectiveCost, pooled.before, pooled.after),
        )
    )
    return Sql(parts.group_by("currency").aggregate(cost=parts.cost.sum().fill_null(0)))
