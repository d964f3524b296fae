"""What an explained figure rests on, as expressions over the tables that `explain.py` binds.

They are the same for every figure, so their text is made once: to make it takes longer than to run.
"""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.sql import Sql
from finops_pipeline.store.allocated import GROUP

FIGURES = "explained figures"


def bound(name: str) -> str:
    """The name that the engine binds the files of a table to."""
    return f"explained {name}"


def of_table(name: str) -> ir.Table:
    """A table of the lake as it is bound."""
    return ibis.table(ibis_schema(tables()[name]), name=bound(name))


@cache
def charges_sql() -> Sql:
    """The charges that the figures sum, by all that figures are grouped by."""
    charges, schema = of_table("focus_costs"), ibis_schema(tables()["allocated_costs"])
    figure = ibis.table({name: schema[name] for name in GROUP}, name=FIGURES)
    same = [charges[name].identical_to(figure[name]) for name in GROUP]
    found = charges.semi_join(figure, same)
    return Sql(found.order_by("ChargePeriodStart", "x_Report", "x_ReportRow"))


@cache
def decisions_sql() -> Sql:
    """The decisions that the figures rest on."""
    decisions, figure = of_table("ownership"), ibis.table({"x_OwnershipId": str}, name=FIGURES)
    return Sql(decisions.semi_join(figure, decisions.ownership_id == figure.x_OwnershipId))


@cache
def shares_sql() -> Sql:
    """All shares of the figures' pools, in order."""
    shares, figure = of_table("shares"), ibis.table({"x_Pool": str}, name=FIGURES)
    return Sql(shares.semi_join(figure, shares.pool == figure.x_Pool).order_by("position"))
