"""Answers of Cost Management's Query to FOCUS 1.2: cost by day, as fine as was grouped.

An answer has the cost as billed and up to two groupings; what they do not tell is filled and named
in `x_FilledColumns`. Which charge type is which category is Microsoft's "Convert Cost Management
data to FOCUS". Columns of the answer are text here.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.engine.functions import json_text, parse_time
from finops_pipeline.normalize.expressions import Rule, filled, joined_objects, json_object

NUMBERS = ("Cost", "UsageQuantity")
_MICROSOFT = "Microsoft"
# What an answer has no column for, whatever is grouped by.
_NEVER = ("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName")
# Read for the mapping, and kept as delivered: no column of ours takes them.
_KEPT = ("ChargeType", "MeterCategory", "PricingModel")
_CATEGORIES = {
    "usage": "Usage", "purchase": "Purchase", "credit": "Credit", "tax": "Tax",
    "unusedreservation": "Usage", "unusedsavingsplan": "Usage", "refund": "Purchase",
}  # fmt: skip
_PRICING = {
    "ondemand": "Standard", "spot": "Dynamic", "reservation": "Committed",
    "savingsplan": "Committed",
}  # fmt: skip
_FREQUENCIES = {
    "onetime": "One-Time", "recurring": "Recurring", "usagebased": "Usage-Based",
}  # fmt: skip


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by, and what a resource's identifier tells."""
    resource = row["ResourceId"].strip().lower().nullif("").nullif("unassigned")
    day = parse_time(row["UsageDate"])
    account = _part(resource, r"^/subscriptions/([^/]+)").coalesce(
        row["SubscriptionId"].strip().lower().re_replace("^/subscriptions/", "").nullif("")
    )
    return {
        "key_service": row["ServiceName"].coalesce(row["MeterCategory"]),
        "key_region": row["ResourceLocation"].nullif("Unassigned").replace(" ", ""),
        "key_unit": row["UnitOfMeasure"],
        "key_currency": row["Currency"].strip(),
        "key_scope": "/subscriptions/" + account,
        "start": day,
        "end": day + ibis.interval(days=1),
        "resource": resource,
        "resource_type": _part(resource, "/providers/([^/]+/[^/]+)/").coalesce(
            row["ResourceType"].strip().lower()
        ),
        "resource_name": _part(resource, "/providers/[^/]+/.*/([^/]+)$"),
        "group": _part(resource, "^/subscriptions/[^/]+/resourcegroups/([^/]+)").coalesce(
            row["ResourceGroupName"].strip().lower()
        ),
        "kept": json_object([(name, row[name]) for name in _KEPT]),
        "unused": row["ChargeType"].strip().lower().startswith("unused").fill_null(False),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    return []


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, and its ChargeCategory.

    Without a charge type, less than nothing is money given back: a credit (FOCUS 1.2).
    """
    told = row["ChargeType"].strip().lower()
    untold = row.is_refund.ifelse("Credit", "Usage")
    return {
        "is_correction": (told == "refund").fill_null(False),
        "category": told.isnull().ifelse(untold, _word(told, _CATEGORIES, "Adjustment")),
    }


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns, and our x_ columns."""
    none = ibis.null(str)
    cost = row["number Cost"]
    account = row["key_scope"]
    payer = row["BillingAccountId"].coalesce(account).fill_null("unknown")
    service = row["key_service"].fill_null("Other")
    benefit = row["BenefitId"].nullif("")
    kind_of = benefit.lower()
    used = (row.category == "Usage") & row["UsageQuantity"].notnull()
    quantity = used.ifelse(row["number UsageQuantity"], ibis.null("decimal(38, 18)"))
    place = row.scope_path_found.coalesce(row["SubscriptionName"], account)
    missing = {
        "BillingAccountId": row["BillingAccountId"].isnull(),
        "ChargeCategory": row["ChargeType"].isnull(),
        "ChargeDescription": row["Product"].coalesce(row["Meter"]).isnull(),
        "ChargeFrequency": row["Frequency"].isnull(),
        **{name: ibis.literal(True) for name in _NEVER},
        "PublisherName": row["PublisherName"].isnull(),
        "ServiceCategory": ibis.literal(True),
        "ServiceName": row["ServiceName"].isnull(),
        "ServiceSubcategory": ibis.literal(True),
    }
    return {
        "BilledCost": cost,
        "BillingAccountId": payer,
        "BillingAccountName": row["BillingAccountName"].coalesce(payer),
        "BillingAccountType": ibis.literal("Billing Account"),
        "ChargeCategory": row.category,
        "ChargeClass": row.is_correction.ifelse("Correction", none),
        "ChargeDescription": row["Product"].coalesce(row["Meter"], service),
        "ChargeFrequency": _frequency(row),
        "CommitmentDiscountCategory": _commitment(kind_of, "Usage", "Spend"),
        "CommitmentDiscountId": benefit,
        "CommitmentDiscountName": row["BenefitName"],
        "CommitmentDiscountStatus": benefit.isnull().ifelse(
            none, (row.category == "Usage").ifelse(row["unused"].ifelse("Unused", "Used"), none)
        ),
        "CommitmentDiscountType": _commitment(kind_of, "Reservation", "Savings Plan"),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": quantity.notnull().ifelse(row.unit, none),
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceId": row["InvoiceId"],
        "InvoiceIssuerName": ibis.literal(_MICROSOFT),
        "ListCost": cost,
        "PricingCategory": _word(row["PricingModel"].strip().lower(), _PRICING, None),
        "PricingCurrency": row.key_currency,
        "PricingCurrencyEffectiveCost": cost,
        "ProviderName": ibis.literal(_MICROSOFT),
        "PublisherName": row["PublisherName"].fill_null(_MICROSOFT),
        "ResourceId": row["resource"],
        "ResourceName": row["resource_name"],
        "ResourceType": row["resource"]
        .notnull()
        .ifelse(row["resource_type"].coalesce(service), none),
        "ServiceName": service,
        "SkuMeter": row["Meter"],
        "SubAccountId": account,
        "SubAccountName": row["SubscriptionName"].coalesce(account),
        "SubAccountType": account.notnull().ifelse("Subscription", none),
        "Tags": _tag(row),
        "x_FilledColumns": filled(missing),
        "x_IsCorrection": row.is_correction,
        "x_OtherColumns": joined_objects(row["kept"], row.other_columns).nullif("{}"),
        "x_ScopeId": row["group"]
        .isnull()
        .ifelse(account, account.fill_null("") + "/resourceGroups/" + row["group"]),
        "x_ScopeName": row["group"].coalesce(row["SubscriptionName"]),
        "x_ScopePath": row["group"]
        .isnull()
        .ifelse(place, (place + "/").fill_null("") + row["group"]),
    }


def _part(text: ir.StringValue, pattern: str) -> ir.StringValue:
    """What the pattern's group finds; null where it finds nothing."""
    found: ir.StringValue = text.re_extract(pattern, 1).nullif("")
    return found


def _word(text: ir.StringValue, words: dict[str, str], or_else: str | None) -> ir.StringValue:
    rest = ibis.null(str) if or_else is None else ibis.literal(or_else)
    return ibis.cases(*((text == told, word) for told, word in words.items()), else_=rest)


def _frequency(row: ir.Table) -> ir.StringValue:
    """FOCUS forbids Usage-Based for a purchase."""
    bought = row.category == "Purchase"
    told = _word(row["Frequency"].strip().lower(), _FREQUENCIES, None)
    usual = bought.ifelse("One-Time", "Usage-Based")
    frequency: ir.StringValue = (
        (bought & (told == "Usage-Based")).fill_null(False).ifelse("One-Time", told.coalesce(usual))
    )
    return frequency


def _commitment(benefit: ir.StringValue, reservation: str, plan: str) -> ir.StringValue:
    return ibis.cases(
        (benefit.contains("/microsoft.capacity/"), reservation),
        (benefit.contains("/microsoft.billingbenefits/"), plan),
        else_=ibis.null(str),
    )


def _tag(row: ir.Table) -> ir.StringValue:
    """The tag that was grouped by, as a JSON object."""
    value = json_text(row["TagValue"]).fill_null("null")
    tag = "{" + json_text(row["TagKey"].nullif("")) + ":" + value + "}"
    found: ir.StringValue = tag.fill_null("{}")
    return found
