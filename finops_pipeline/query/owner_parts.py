"""What each step of a daily figure is worth to each owner, as expressions (`diff.py` binds them).

Shares are rounded on running totals, as `store/allocated.py` has it: a step is worth to an owner
what the owner's part is after it less what it was before, and so every step is what it really
changed. Which steps there are, and why, is in `moves.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, SHARE, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.store.allocated import part

# The names that decisions and shares are bound to.
OWNERSHIP = {"then": "ownership then", "now": "ownership now"}
SHARES = {"then": "shares then", "now": "shares now"}

STAYED = "stayed"  # what is in the figures of both moments
RULES, SHARED = "rules", "shares"  # the causes of what stayed and has other owners

_PLACE = {"x_Cluster": "cluster", "x_Namespace": "namespace", "x_Workload": "workload"}
OWNED = {"x_BusinessUnit", "x_Tier", "x_Rule", "x_Pool", *_PLACE}  # what decisions and shares say


def running(entries: ir.Table, carried: tuple[str, ...]) -> ir.Table:
    """Each daily figure from nothing to what it is: `below` and `upto` of each cause.

    What stayed comes first, the causes in the order of their names.
    """
    rows = entries.group_by([*carried, "figure", "ownership_id", "kind", "report_id"]).agg(
        amount=entries.amount.sum().cast(MONEY)
    )
    so_far = ibis.cumulative_window(
        group_by="figure",
        order_by=[
            ibis.desc(rows.kind == STAYED),
            ibis.asc(rows.kind),
            ibis.asc(rows.report_id, nulls_first=True),
        ],
    )
    upto = rows.amount.sum().over(so_far).cast(MONEY)
    return rows.mutate(upto=upto).mutate(below=lambda t: (t.upto - t.amount).cast(MONEY))


def at_owners(figures: ir.Table, moment: str) -> ir.Table:
    """The steps with the decisions of a moment; what stayed is moved by rules, or by shares."""
    decided, rules = decisions(moment), _changed_rules()
    owned = figures.join(
        decided,
        [
            figures.x_Source == decided.source,
            figures.x_ChargeDay == decided.charge_day,
            figures.ownership_id == decided.ownership_id,
        ],
    ).drop("source", "charge_day")
    owned = owned.left_join(
        rules,
        [owned.x_Source == rules.rules_source, owned.x_ChargeDay == rules.rules_day],
    )
    stayed = owned.rules_source.notnull().ifelse(RULES, SHARED)
    return owned.mutate(kind=(owned.kind == STAYED).ifelse(stayed, owned.kind))


def owner_parts(
    owned: ir.Table, moment: str, sign: int, carried: tuple[str, ...]
) -> tuple[ir.Table, ir.Table]:
    """What each step is worth to each owner: all of it, or the owner's part of the pool's."""
    direct, shares = owned.filter(owned.owner.notnull()), _shares(moment)
    pooled = owned.filter(owned.pool.notnull()).join(
        shares,
        [
            owned.x_Source == shares.share_source,
            owned.x_ChargeDay == shares.share_day,
            owned.pool == shares.share_pool,
            owned.pool_part == shares.share_pool_part,
        ],
    )
    told = {column: direct[column] for column in _PLACE.values()}
    shared = {column: pooled[f"share_{column}"] for column in _PLACE.values()}
    shared["cluster"] = shared["cluster"].coalesce(pooled.cluster)
    none, whole = (ibis.literal(Decimal(n)).cast(SHARE) for n in (0, 1))
    return (
        _part(direct, direct.owner, none, whole, told, sign, carried),
        _part(
            pooled,
            pooled.share_owner,
            pooled.share_before,
            pooled.share_after,
            shared,
            sign,
            carried,
        ),
    )


def _part(
    rows: ir.Table,
    owner: ir.Value,
    before: ir.DecimalValue,
    after: ir.DecimalValue,
    place: Mapping[str, ir.Value],
    sign: int,
    carried: tuple[str, ...],
) -> ir.Table:
    effect = part(rows.upto, before, after) - part(rows.below, before, after)
    return rows.select(
        *carried,
        "kind",
        "report_id",
        x_BusinessUnit=owner,
        x_Tier="tier",
        x_Rule="rule",
        x_Pool="pool",
        **{name: place[column] for name, column in _PLACE.items()},
        effect=(effect if sign > 0 else -effect).cast(MONEY),
    )


def decisions(moment: str) -> ir.Table:
    """The decisions that the figures of a moment rest on."""
    decided = ibis.table(ibis_schema(tables()["ownership"]), name=OWNERSHIP[moment])
    return decided.select(
        "source",
        "charge_day",
        "ownership_id",
        "owner",
        "pool",
        "pool_part",
        *_PLACE.values(),
        "tier",
        "rule",
        "rule_set",
    )


def _changed_rules() -> ir.Table:
    """The sources and days whose owners were decided by other rules then than now."""
    sets = [decisions(m).select("source", "charge_day", "rule_set").distinct() for m in OWNERSHIP]
    then, now = sets
    both = then.join(now, ["source", "charge_day"])
    return both.filter(both.rule_set != both.rule_set_right).select(
        rules_source="source", rules_day="charge_day"
    )


def _shares(moment: str) -> ir.Table:
    shares = ibis.table(ibis_schema(tables()["shares"]), name=SHARES[moment])
    return shares.select(
        "share_before",
        "share_after",
        share_source="source",
        share_day="charge_day",
        share_pool="pool",
        share_pool_part="pool_part",
        share_owner="owner",
        **{f"share_{column}": column for column in _PLACE.values()},
    )
