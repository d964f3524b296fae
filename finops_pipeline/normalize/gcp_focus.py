"""GCP's FOCUS export to FOCUS 1.2: the columns it lacks are filled, see `focus.py`.

Costs are net of credits as Google nets them; the credits are kept in `x_Credits`. Labels and tags
become Tags in the reading (`ingest/gcp_rows.py`), as does what identifies a row.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.normalize import focus
from finops_pipeline.normalize.expressions import Rule, filled, focus_unit
from finops_pipeline.normalize.gcp import PROVIDER, resource_type, usage_unit

NUMBERS = (*focus.NUMBERS, "x_CurrencyConversionRate")
_FILLED = tuple(sorted((*focus.FILLED, "BillingAccountName", "Tags")))


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by, and which columns are empty."""
    # Google leaves ServiceCategory, InvoiceIssuerName, BillingAccountName, InvoiceId,
    # ChargeFrequency, ResourceType, Tags and all of commitments out.
    return {
        **focus.keys(row),
        "no BillingAccountName": row["BillingAccountName"].isnull(),
        "no Tags": row["Tags"].isnull(),
        "usage_unit_by_rule": focus_unit(row["ConsumedUnit"]),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy: as any FOCUS row."""
    return focus.rules(row)


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, and its ChargeCategory."""
    return focus.kind(row)


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns, and our x_ columns."""
    known = focus.columns(row, PROVIDER)
    service, resource = known["ServiceName"], row["ResourceId"]
    return {
        **known,
        "ConsumedUnit": usage_unit(row["ConsumedUnit"], row.usage_unit_by_rule),
        "PricingUnit": row["PricingUnit"].notnull().ifelse(row.unit, ibis.null(str)),
        "ResourceType": row["ResourceType"].coalesce(resource_type(resource, service)),
        "SubAccountType": row["SubAccountType"].coalesce(
            row["SubAccountId"].notnull().ifelse("Project", ibis.null(str))
        ),
        "Tags": row["no Tags"].ifelse(row["all tags"].fill_null("{}"), known["Tags"]),
        "x_CostType": row["x_CostType"],
        "x_Credits": row["x_Credits"].strip().nullif("[]"),
        "x_FilledColumns": filled({name: row[f"no {name}"] for name in _FILLED}),
        "x_ProviderExchangeRate": row["number x_CurrencyConversionRate"],
        "x_ReferenceNumber": row["content"],
        "x_ScopePath": row["scope path"].coalesce(known["x_ScopePath"]),
    }
