"""Lines of cost at two times side by side, as expressions over the files that `diff.py` binds.

Why a line changed is in `moves.py`.
"""

from __future__ import annotations

from decimal import Decimal

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.query.compile import conditions_of, value_of
from finops_pipeline.query.dimensions import TABLE, dimension
from finops_pipeline.query.model import CostQuery

COMPARED = "compared lines"  # what `compared` is made under
# The allocated files of both times, and how each counts: before, after.
SIDES = {"unchanged costs": (1, 1), "costs then": (1, 0), "costs now": (0, 1)}

_ZERO = ibis.literal(Decimal(0)).cast(MONEY)


def _names(query: CostQuery) -> list[str]:
    return [f"d{i}" for i in range(len(query.by))]


def compared(query: CostQuery) -> ir.Table:
    """Every line at both times, by currencies too."""
    lacking = ("without_before", "without_after")
    sides = []
    for name, (before, after) in SIDES.items():
        costs = ibis.table(ibis_schema(tables()[TABLE]), name=name)
        if conditions := conditions_of(costs, query):
            costs = costs.filter(conditions)
        value = costs[query.column]
        cost, none = value.fill_null(_ZERO), value.isnull().cast("int64")
        zero = ibis.literal(0, "int64")
        dims = zip(_names(query), query.by, strict=True)
        sides.append(
            costs.select(
                **{n: value_of(costs, dimension(b)) for n, b in dims},
                billing=costs.BillingCurrency,
                reporting=costs.x_ReportingCurrency,
                before=cost if before else _ZERO,
                after=cost if after else _ZERO,
                without_before=none if before else zero,
                without_after=none if after else zero,
            )
        )
    rows = ibis.union(*sides)
    return rows.group_by([*_names(query), "billing", "reporting"]).agg(
        **{n: rows[n].sum().cast(MONEY) for n in ("before", "after")},
        **{n: rows[n].sum() for n in lacking},
    )


def totals_of(query: CostQuery) -> ir.Table:
    """The totals at both times, by billing and reporting currency."""
    lines = ibis.table(compared(query).schema(), name=COMPARED)
    sums = ("before", "after", "without_before", "without_after")
    return lines.group_by("billing", "reporting").agg(**{n: lines[n].sum() for n in sums})


def lines_of(query: CostQuery) -> ir.Table:
    """The lines that are not the same at both times."""
    lines = ibis.table(compared(query).schema(), name=COMPARED)
    sums = {"before": lines.before.sum(), "after": lines.after.sum()}
    summed = lines.group_by(_names(query)).agg(**sums) if query.by else lines.agg(**sums)
    return summed.filter(summed.before != summed.after)
