"""OCI cost reports (`reports/cost-csv/`) to FOCUS 1.2, one line a column.

Oracle's own mapping is the base ("FOCUS Reports" in the Cost Management documentation); where it
leaves a column empty that FOCUS wants, the comment beside the line says what we put and why.
Columns of the report are text here; which of them must be there is in `contracts/raw.py`.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.engine.functions import parse_time
from finops_pipeline.normalize.expressions import Rule, required_text
from finops_pipeline.normalize.oci import charge_category, finished, is_true, resource_type

# Parsed once for each row, as `number <column>`; each must be a number or empty.
NUMBERS = (
    "cost/myCost",
    "usage/billedQuantity",
    "usage/billedQuantityOverage",
    "cost/unitPrice",
    "cost/unitPriceOverage",
    "cost/myCostOverage",
    "cost/attributedCost",
    "usage/attributedUsage",
)


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by."""
    return {
        "key_service": row["product/service"],
        "key_region": row["product/region"],
        "key_unit": row["cost/skuUnitDescription"].coalesce(row["cost/billingUnitReadable"]),
        "key_currency": row["cost/currencyCode"].strip(),
        "key_scope": row["product/compartmentId"],
        "start": parse_time(row["lineItem/intervalUsageStart"]),
        "end": parse_time(row["lineItem/intervalUsageEnd"]),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    end = row["lineItem/intervalUsageEnd"]
    return [
        required_text("lineItem/referenceNo", row["lineItem/referenceNo"]),
        Rule(
            "lineItem/intervalUsageEnd",
            end,
            "expected a time such as 2026-08-01T10:00Z after the start of the interval",
            (row.end > row.start).fill_null(False),
        ),
        required_text("product/service", row["product/service"]),
    ]


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, and its ChargeCategory."""
    correction = is_true(row["lineItem/isCorrection"])
    return {
        "is_correction": correction,
        "category": charge_category(
            row["product/service"], row["product/Description"], row.is_refund, correction
        ),
    }


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns that the format decides, and our x_ columns."""
    cost = row["number cost/myCost"]
    quantity = row["number usage/billedQuantity"]
    price = row["number cost/unitPrice"]
    price_or_none = (price >= 0).ifelse(price, ibis.null(price.type()))  # FOCUS: no negative price
    sku = row["cost/productSku"]
    account = row["cost/subscriptionId"].coalesce(row["lineItem/tenantId"]).fill_null("unknown")
    tenancy = row["lineItem/tenantId"]
    usage = row.category == "Usage"
    return finished(
        row,
        {
            "AvailabilityZone": row["product/availabilityDomain"],
            "BilledCost": cost,
            "BillingAccountId": account,
            "BillingAccountName": account,  # OCI gives no name; FOCUS asks for one
            "BillingAccountType": ibis.literal("Subscription"),
            "ChargeCategory": row.category,
            "ChargeDescription": row["product/Description"],
            "ChargeFrequency": ibis.literal("Usage-Based"),
            "ConsumedQuantity": usage.ifelse(quantity, ibis.null(quantity.type())),
            "ConsumedUnit": (usage & quantity.notnull()).ifelse(row.unit, ibis.null(str)),
            "ContractedCost": cost,
            "ContractedUnitPrice": price_or_none,
            "EffectiveCost": cost,
            "InvoiceIssuerName": ibis.literal("Oracle"),
            "ListCost": cost,  # the report has no list price: x_FilledColumns says so
            "ListUnitPrice": price_or_none,
            "PricingQuantity": quantity,
            "PricingUnit": quantity.notnull().ifelse(row.unit, ibis.null(str)),
            "ProviderName": ibis.literal("Oracle"),
            "PublisherName": ibis.literal("Oracle"),
            "ResourceId": row["product/resourceId"],
            "ResourceName": ibis.null(str),
            "ResourceType": resource_type(row["product/resourceId"], row["product/service"]),
            "ServiceName": row["product/service"],
            "SkuId": sku,
            "SkuMeter": sku.notnull().ifelse(row["product/Description"], ibis.null(str)),
            "SkuPriceId": sku,  # OCI has no price id; FOCUS allows the SKU's
            "SubAccountId": tenancy,
            "SubAccountName": tenancy,
            "SubAccountType": tenancy.notnull().ifelse("Tenancy", ibis.null(str)),
            "Tags": row.tag_columns,
            "x_AttributedCost": row["number cost/attributedCost"],
            "x_AttributedUsage": row["number usage/attributedUsage"],
            "x_BackReferenceNumber": row["lineItem/backreferenceNo"],
            "x_ScopeId": row["product/compartmentId"],
            "x_ScopeName": row["product/compartmentName"],
            "x_IsCorrection": row.is_correction,
            "x_OverageCost": row["number cost/myCostOverage"],
            "x_OverageFlag": row["cost/overageFlag"],
            "x_OverageQuantity": row["number usage/billedQuantityOverage"],
            "x_OverageUnitPrice": row["number cost/unitPriceOverage"],
            "x_FilledColumns": ibis.literal("ListCost,ListUnitPrice"),
            "x_ReferenceNumber": row["lineItem/referenceNo"],
        },
    )
