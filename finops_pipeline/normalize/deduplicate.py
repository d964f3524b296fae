"""Charge days of one source: which of their staged rows stand, and which are superseded.

A charge is known by its tenancy and reference number; of several rows of one charge the one that
was delivered latest stands (by delivery time, then report name, then row). A charge without a
number is never the same as another. Where the number is made of what a row says, equal rows of
one export are charges of their own, and those of another export are the same again: the nth of an
export is one with the nth of every other. With the policy `replace` a correction stands instead of
the row it refers back to. What a report's rows mean is elsewhere (the mapping); here rows are only
chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.sql import Sql

_KEY = ("charge_day", "tenancy", "reference_number")
# BigQuery writes an export as files that it numbers from 000000000000; a time is no such number.
_PART = r"0{6}[0-9]{6}"


@cache
def superseded_sql(corrections: str, by_content: bool = False) -> Sql:
    """The rows of the table `candidates` that do not stand, as `superseded_rows`, in order.

    `by_content` says that reference numbers are made of what rows say.
    """
    rows = _candidates()
    columns = tables()["superseded_rows"].names
    repeated = _repeated_content(rows) if by_content else _repeated(rows)
    lost = repeated.select(columns)
    if corrections == "replace":
        standing = rows.anti_join(repeated, ["report_id", "report_row"])
        lost = lost.union(_corrected(standing).select(columns))
    return Sql(lost.order_by("charge_day", "report_id", "report_row"))


def _candidates() -> ir.Table:
    staged = ibis.table(ibis_schema(tables()["focus_costs"]), name="candidates")
    numbered = staged.filter(staged.x_ReferenceNumber.notnull())
    return numbered.select(
        source=numbered.x_Source,
        charge_day=numbered.x_ChargeDay,
        tenancy=numbered.SubAccountId.fill_null(""),
        reference_number=numbered.x_ReferenceNumber,
        back_reference=numbered.x_BackReferenceNumber,
        is_correction=numbered.x_IsCorrection,
        delivered_at=numbered.x_DeliveredAt,
        report=numbered.x_Report,
        report_id=numbered.x_ReportId,
        report_row=numbered.x_ReportRow,
        currency=numbered.BillingCurrency,
        cost=numbered.BilledCost,
    )


def _repeated(rows: ir.Table) -> ir.Table:
    """Rows of a charge that a later row of the same charge replaces."""
    return _but_latest(_of_several(rows), _KEY)


def _repeated_content(rows: ir.Table) -> ir.Table:
    """Rows that an export repeats which another has.

    An export is a report, or all parts of one that were delivered on the same day: parts that an
    earlier export left behind, having more of them, are another.
    """
    in_order = ibis.window(
        group_by=[*_KEY, "export"], order_by=[ibis.asc("report"), ibis.asc("report_row")]
    )
    exports = _of_several(rows).mutate(
        export=lambda t: t.report.re_replace(_PART, "*") + " " + t.delivered_at.date().cast(str)
    )
    numbered = exports.mutate(occurrence=ibis.row_number().over(in_order))
    return _but_latest(numbered, (*_KEY, "occurrence"))


def _of_several(rows: ir.Table) -> ir.Table:
    several = rows.group_by(*_KEY).having(rows.count() > 1).aggregate()
    return rows.semi_join(several, _KEY)


def _but_latest(of_several: ir.Table, key: Sequence[str]) -> ir.Table:
    """All rows but the latest of each key, with what replaces them."""
    latest_first = ibis.window(
        group_by=key,
        order_by=[ibis.desc("delivered_at"), ibis.desc("report"), ibis.desc("report_row")],
    )
    ranked = of_several.mutate(
        place=ibis.row_number().over(latest_first),
        by_report_id=of_several.report_id.first().over(latest_first),
        by_report_row=of_several.report_row.first().over(latest_first),
        by_cost=of_several.cost.first().over(latest_first),
    )
    return ranked.filter(ranked.place > 0).mutate(
        reason=(ranked.cost == ranked.by_cost).ifelse("repeated", "restated")
    )


def _corrected(rows: ir.Table) -> ir.Table:
    """Rows in whose place a correction stands.

    A correction is itself corrected only by a later one, so that corrections that refer to each
    other in a circle never vanish together. Of several corrections of one row those of the latest
    report stand: a correction may take more than one line.
    """
    corrections = rows.filter(rows.is_correction & rows.back_reference.notnull())
    by = corrections.rename("by_{name}")
    referred = rows.join(
        by,
        [
            rows.charge_day == by.by_charge_day,
            rows.tenancy == by.by_tenancy,
            rows.reference_number == by.by_back_reference,
        ],
    )
    itself = (referred.report_id == referred.by_report_id) & (
        referred.report_row == referred.by_report_row
    )
    referred = referred.filter(~itself & (~referred.is_correction | _later(referred)))
    siblings = corrections.join(
        by,
        [
            corrections.charge_day == by.by_charge_day,
            corrections.tenancy == by.by_tenancy,
            corrections.back_reference == by.by_back_reference,
        ],
    )
    siblings = siblings.filter((siblings.report_id != siblings.by_report_id) & _later(siblings))
    latest = ibis.window(
        group_by=["report_id", "report_row"],
        order_by=[ibis.desc("by_delivered_at"), ibis.desc("by_report"), ibis.desc("by_report_row")],
    )
    found = referred.union(siblings)
    ranked = found.mutate(place=ibis.row_number().over(latest))
    return ranked.filter(ranked.place == 0).mutate(reason=ibis.literal("corrected"))


def _later(pair: ir.Table) -> ir.BooleanValue:
    """Whether the `by_` row was delivered after the other: by time, then name, then row."""
    same_time = pair.by_delivered_at == pair.delivered_at
    same_report = pair.by_report == pair.report
    found: ir.BooleanValue = (pair.by_delivered_at > pair.delivered_at) | (
        same_time
        & ((pair.by_report > pair.report) | (same_report & (pair.by_report_row > pair.report_row)))
    )
    return found
