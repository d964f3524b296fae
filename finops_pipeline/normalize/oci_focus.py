"""OCI FOCUS reports (`FOCUS Reports/`) to FOCUS 1.2, one line a column.

Oracle delivers the column names of FOCUS 1.0-preview with `oci_` columns beside them and leaves
several columns empty; newer names are accepted too. Columns of the report are text here.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.engine.functions import is_json, parse_time
from finops_pipeline.normalize.expressions import Rule, filled, required_text
from finops_pipeline.normalize.focus import with_tags
from finops_pipeline.normalize.oci import charge_category, finished, resource_type

# Parsed once for each row, as `number <column>`; each must be a number or empty.
NUMBERS = (
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
    "UsageQuantity",
    "ConsumedQuantity",
    "oci_UnitPriceOverage",
    "oci_BilledQuantityOverage",
    "oci_CostOverage",
    "oci_AttributedUsage",
    "oci_AttributedCost",
)
# The delivered categories that say more than our own finding would.
_CATEGORIES = ("Purchase", "Tax", "Credit")


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by."""
    return {
        "key_service": row["ServiceName"],
        "key_region": row["RegionId"].coalesce(row["Region"]),
        "key_unit": row["PricingUnit"].coalesce(row["UsageUnit"], row["ConsumedUnit"]),
        "key_currency": row["BillingCurrency"].strip(),
        "key_scope": row["oci_CompartmentId"],
        "start": parse_time(row["ChargePeriodStart"]),
        "end": parse_time(row["ChargePeriodEnd"]),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    return [
        required_text("oci_ReferenceNumber", row["oci_ReferenceNumber"]),
        Rule(
            "ChargePeriodEnd",
            row["ChargePeriodEnd"],
            "expected a time such as 2026-08-01T10:00Z after the start of the charge period",
            (row.end > row.start).fill_null(False),
        ),
        required_text("ServiceName", row["ServiceName"]),
    ]


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, and its ChargeCategory.

    Oracle's files call corrections adjustments; FOCUS 1.2 knows them by ChargeClass.
    """
    correction = row["oci_BackReferenceNumber"].notnull() | (
        row["ChargeClass"] == "Correction"
    ).fill_null(False)
    found = charge_category(row["ServiceName"], row["ChargeDescription"], row.is_refund, correction)
    delivered = row["ChargeCategory"].isin(_CATEGORIES).fill_null(False)
    return {
        "is_correction": correction,
        "category": delivered.ifelse(row["ChargeCategory"], found),
    }


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns that the format decides, and our x_ columns."""
    cost = row["number BilledCost"]
    # Oracle leaves EffectiveCost at 0 (seen in files and in its own loader): then it is the cost.
    effective = row["number EffectiveCost"].nullif(0).fill_null(cost)
    list_cost = row["number ListCost"]
    list_price = row["number ListUnitPrice"]
    none = ibis.null(list_price.type())
    list_price_or_none = (list_price >= 0).ifelse(list_price, none)  # FOCUS: no negative price
    priced = row["number PricingQuantity"]
    consumed = row["number ConsumedQuantity"].coalesce(row["number UsageQuantity"])
    account = row["BillingAccountId"].coalesce(row["SubAccountId"]).fill_null("unknown")
    sku = row["SkuId"]
    usage = row.category == "Usage"
    provider = row["ProviderName"].coalesce(row["Provider"]).fill_null("Oracle")
    has_tags = (is_json(row["Tags"]) & row["Tags"].strip().startswith("{")).fill_null(False)
    return finished(
        row,
        {
            "AvailabilityZone": row["AvailabilityZone"],
            "BilledCost": cost,
            "BillingAccountId": account,
            "BillingAccountName": row["BillingAccountName"].coalesce(account),
            "BillingAccountType": ibis.literal("Subscription"),
            "ChargeCategory": row.category,
            "ChargeDescription": row["ChargeDescription"],
            "ChargeFrequency": _frequency(row["ChargeFrequency"], row.category),
            "ConsumedQuantity": usage.ifelse(consumed, ibis.null(consumed.type())),
            "ConsumedUnit": (usage & consumed.notnull()).ifelse(row.unit, ibis.null(str)),
            "ContractedCost": cost,  # not delivered; the billed cost is at contracted prices
            # Not delivered; it is the list price where nothing was taken off.
            "ContractedUnitPrice": (list_cost.coalesce(cost) == cost).ifelse(
                list_price_or_none, none
            ),
            "EffectiveCost": effective,
            "InvoiceIssuerName": row["InvoiceIssuerName"]
            .coalesce(row["InvoiceIssuer"])
            .fill_null("Oracle"),
            "ListCost": list_cost.coalesce(cost),
            "ListUnitPrice": list_price_or_none,
            "PricingQuantity": priced,
            "PricingUnit": priced.notnull().ifelse(row.unit, ibis.null(str)),
            "ProviderName": provider,
            "PublisherName": row["PublisherName"].coalesce(row["Publisher"], provider),
            "ResourceId": row["ResourceId"],
            "ResourceName": row["ResourceName"],
            "ResourceType": row["ResourceType"].coalesce(
                resource_type(row["ResourceId"], row["ServiceName"])
            ),
            "ServiceName": row["ServiceName"],
            "SkuId": sku,
            "SkuMeter": sku.notnull().ifelse(row["ChargeDescription"], ibis.null(str)),
            "SkuPriceId": row["SkuPriceId"].coalesce(sku),
            "SubAccountId": row["SubAccountId"],
            "SubAccountName": row["SubAccountName"].coalesce(row["SubAccountId"]),
            "SubAccountType": row["SubAccountId"].notnull().ifelse("Tenancy", ibis.null(str)),
            "Tags": has_tags.ifelse(row["Tags"], "{}"),
            "x_AttributedCost": row["number oci_AttributedCost"],
            "x_AttributedUsage": row["number oci_AttributedUsage"],
            "x_BackReferenceNumber": row["oci_BackReferenceNumber"],
            "x_ScopeId": row["oci_CompartmentId"],
            "x_ScopeName": row["oci_CompartmentName"],
            "x_IsCorrection": row.is_correction,
            "x_OtherColumns": with_tags(
                row.other_columns, has_tags.ifelse(ibis.null(str), row["Tags"])
            ),
            "x_OverageCost": row["number oci_CostOverage"],
            "x_OverageFlag": row["oci_OverageFlag"],
            "x_OverageQuantity": row["number oci_BilledQuantityOverage"],
            "x_OverageUnitPrice": row["number oci_UnitPriceOverage"],
            "x_FilledColumns": filled({"ListCost": row["ListCost"].isnull()}),
            "x_ReferenceNumber": row["oci_ReferenceNumber"],
        },
    )


def _frequency(text: ir.StringValue, category: ir.StringValue) -> ir.StringValue:
    """FOCUS spells `Usage-Based`, OCI `Usage-based`; FOCUS forbids it for a purchase."""
    lowered = text.strip().lower()
    return ibis.cases(
        (lowered == "recurring", "Recurring"),
        ((lowered == "one-time") | (category == "Purchase"), "One-Time"),
        else_="Usage-Based",
    )
