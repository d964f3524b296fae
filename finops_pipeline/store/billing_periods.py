"""The FOCUS dataset BillingPeriod: each invoicing period, when it was delivered, if it is open.

Closed is a period some days after its end, by provider, as seen from the source's latest delivery:
so the same lake gives the same file (FOCUS 1.4, "BillingPeriod").
"""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import Column, tables

COLUMNS = (
    Column("BillingPeriodCreated", "Date/Time", False, "First delivery of the period."),
    Column("BillingPeriodEnd", "Date/Time", False, "End of the period, exclusive."),
    Column("BillingPeriodLastUpdated", "Date/Time", False, "Latest delivery of the period."),
    Column("BillingPeriodStart", "Date/Time", False, "Start of the period."),
    Column("BillingPeriodStatus", "String", False, "Open or Closed.", ("Open", "Closed")),
    Column("InvoiceIssuerName", "String", False, "Who invoices the period."),
)


def billing_periods(bound: str, days_to_close: Mapping[str, int]) -> ir.Table:
    """The dataset from the charges bound to that name, by issuer and period.

    `days_to_close` tells for each source how many days after its end a period is closed.
    """
    charges = ibis.table(ibis_schema(tables()["focus_costs"]), name=bound)
    days = ibis.cases(
        *((charges.x_Source == name, number) for name, number in sorted(days_to_close.items())),
        else_=max(days_to_close.values(), default=0),
    ).cast("int64")
    latest = charges.group_by(latest_source="x_Source").aggregate(
        latest=charges.x_DeliveredAt.max()
    )
    timed = charges.mutate(days_to_close=days)
    of_source = timed.join(latest, timed.x_Source == latest.latest_source)
    periods = of_source.group_by("InvoiceIssuerName", "BillingPeriodStart", "BillingPeriodEnd")
    found = periods.aggregate(
        BillingPeriodCreated=of_source.x_DeliveredAt.min(),
        BillingPeriodLastUpdated=of_source.x_DeliveredAt.max(),
        latest=of_source.latest.max(),
        days=of_source.days_to_close.max(),
    )
    closed = found.latest.epoch_seconds() >= (
        found.BillingPeriodEnd.epoch_seconds() + found.days * 86_400
    )
    status = closed.ifelse("Closed", "Open")
    return found.mutate(BillingPeriodStatus=status).select(*(c.name for c in COLUMNS))
