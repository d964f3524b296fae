"""GCP's detailed billing export to FOCUS 1.2, one line a column.

What a row costs, and the credits that are rows of their own, come from the reading
(`ingest/gcp_rows.py`). `cost` is at contract prices and before credits, so it is ContractedCost;
net of discounts it is what is billed and, since Google charges commitments by the hour and
prepays nothing, also what is effective. Columns of the report are text here.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.engine.functions import parse_time
from finops_pipeline.normalize.expressions import (
    Rule,
    filled,
    focus_unit,
    month_start,
    next_month,
)
from finops_pipeline.normalize.gcp import PROVIDER, invoice_period, resource_type, usage_unit

# Parsed once for each row, as `number <column>`; each must be a number or empty.
NUMBERS = (
    "cost",
    "net cost",
    "cost_at_list",
    "currency_conversion_rate",
    "price.effective_price",
    "price.list_price",
    "price.pricing_unit_quantity",
    "usage.amount",
    "usage.amount_in_pricing_units",
)
# What one kind of cost is in FOCUS; regular cost is usage.
_CATEGORIES = {"tax": "Tax", "adjustment": "Adjustment", "rounding_error": "Adjustment"}
_COMMITMENTS = {
    "Usage": "Resource-based committed use discount",
    "Spend": "Spend-based committed use discount",
}


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by, and the invoice month."""
    start = parse_time(row["usage_start_time"])
    invoiced = invoice_period(row["invoice.month"])
    return {
        "key_service": row["service.description"],
        "key_region": row["location.region"].coalesce(row["location.location"]),
        "key_unit": row["usage.pricing_unit"],
        "key_currency": row["currency"].strip(),
        "key_scope": row["project.id"],
        "start": start,
        "end": parse_time(row["usage_end_time"]),
        "period_start": invoiced[0].coalesce(month_start(start)),
        "period_end": invoiced[1].coalesce(next_month(start)),
        "kind_of_cost": row["cost_type"].strip().lower(),
        "is_credit": row["credit type"].notnull(),
        "usage_unit_by_rule": focus_unit(row["usage.unit"]),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    return [
        Rule(
            "usage_end_time",
            row["usage_end_time"],
            "expected a time such as 2026-08-01T10:00:00Z, not before the start of the usage",
            (row.end >= row.start).fill_null(False),
        ),
        Rule(
            "invoice.month",
            row["invoice.month"],
            "expected a month such as 202608, or nothing",
            row["invoice.month"].isnull()
            | row["invoice.month"].strip().re_search(r"^[0-9]{4}(0[1-9]|1[0-2])$"),
        ),
        Rule(
            "credits",
            row["credits"],
            "expected a list of JSON objects, each with a name and an amount that is a number",
            row["problem"].isnull(),
        ),
    ]


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, and its ChargeCategory."""
    adjusted = row["adjustment_info.id"].coalesce(
        row["adjustment_info.mode"], row["adjustment_info.type"]
    )
    of_cost = ibis.cases(
        *((row.kind_of_cost == name, category) for name, category in _CATEGORIES.items()),
        else_="Usage",
    )
    return {
        "is_correction": adjusted.notnull() | (row.kind_of_cost == "adjustment").fill_null(False),
        "category": row.is_credit.ifelse("Credit", of_cost),
    }


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns that the format decides, and our x_ columns."""
    net = row["number net cost"]
    contracted = row.is_credit.ifelse(net, row["number cost"])
    at_list = row.is_credit.ifelse(net, row["number cost_at_list"])
    usage = row.category == "Usage"
    sold = (row["transaction_type"].strip().upper() == "GOOGLE") | (
        row["invoice.publisher_type"].strip().upper() == "GOOGLE"
    )
    publisher = sold.fill_null(False).ifelse(ibis.null(str), row["seller_name"])
    service = row["service.description"].coalesce(row["sku.description"]).fill_null("Other")
    account = row["billing_account_id"].fill_null("unknown")
    resource = row["resource.global_name"].coalesce(row["resource.name"])
    corrects = row.is_correction & (row.start < row.period_start).fill_null(False)
    return {
        **_priced(row, usage),
        **_committed(row, usage),
        "AvailabilityZone": row["location.zone"],
        "BilledCost": net,
        "BillingAccountId": account,
        "BillingAccountName": account,
        "BillingAccountType": ibis.literal("Billing Account"),
        "BillingPeriodEnd": row.period_end,
        "BillingPeriodStart": row.period_start,
        "ChargeCategory": row.category,
        "ChargeClass": corrects.ifelse("Correction", ibis.null(str)),
        "ChargeDescription": row.is_credit.ifelse(row["credit name"], row["sku.description"]),
        "ChargeFrequency": usage.ifelse("Usage-Based", "One-Time"),
        "ContractedCost": contracted,
        "EffectiveCost": net,
        "InvoiceIssuerName": ibis.literal(PROVIDER),
        "ListCost": at_list.coalesce(contracted),
        "ProviderName": ibis.literal(PROVIDER),
        "PublisherName": publisher.fill_null(PROVIDER),
        "RegionId": row["location.region"].coalesce(row["location.location"]),
        "RegionName": row.region_name_found.coalesce(
            row["location.region"], row["location.location"]
        ),
        "ResourceId": resource,
        "ResourceName": row["resource.name"],
        "ResourceType": resource_type(resource, service),
        "ServiceName": service,
        "SubAccountId": row["project.id"],
        "SubAccountName": row["project.name"].coalesce(row["project.id"]),
        "SubAccountType": row["project.id"].notnull().ifelse("Project", ibis.null(str)),
        "Tags": row["all tags"].fill_null("{}"),
        "x_CostType": row["cost_type"],
        "x_Credits": row.is_credit.ifelse(ibis.null(str), _listed(row["credits"])),
        "x_CreditType": row["credit type"],
        "x_FilledColumns": filled(
            {
                "BillingAccountName": row["billing_account_id"].notnull(),
                "BillingPeriodEnd": row["invoice.month"].isnull(),
                "BillingPeriodStart": row["invoice.month"].isnull(),
                "InvoiceIssuerName": row["currency"].notnull(),
                "ListCost": at_list.isnull(),
            }
        ),
        "x_IsCorrection": row.is_correction,
        "x_ProviderExchangeRate": row["number currency_conversion_rate"],
        "x_ReferenceNumber": row["content"],
        "x_ScopeId": row["project.id"],
        "x_ScopeName": row["project.name"],
        "x_ScopePath": row["scope path"],
    }


def _priced(row: ir.Table, usage: ir.BooleanValue) -> dict[str, ir.Value]:
    """Quantities, units, prices and SKU: of usage alone, as only it has a price.

    A price for more than one unit is left out: FOCUS has prices of one.
    """
    single = (row["number price.pricing_unit_quantity"].coalesce(1) == 1).fill_null(False)
    quantity = _only(usage, row["number usage.amount_in_pricing_units"])
    consumed = _only(usage, row["number usage.amount"])
    unit_of_usage = usage_unit(row["usage.unit"], row.usage_unit_by_rule)
    contracted = row["number price.effective_price"]
    at_list = row["number price.list_price"]
    contracted = _only(usage & single & (contracted >= 0), contracted)
    at_list = _only(usage & single & (at_list >= 0), at_list)
    of_sku = row.category != "Tax"
    sku = _only(of_sku, row["sku.id"])
    return {
        "ConsumedQuantity": consumed,
        "ConsumedUnit": _only(consumed.notnull(), unit_of_usage.fill_null("Units")),
        "ContractedUnitPrice": contracted,
        "ListUnitPrice": at_list,
        "PricingCurrency": row.key_currency,
        "PricingCurrencyContractedUnitPrice": contracted,
        "PricingCurrencyEffectiveCost": row["number net cost"],
        "PricingCurrencyListUnitPrice": at_list,
        "PricingQuantity": quantity,
        "PricingUnit": _only(quantity.notnull(), row.unit.fill_null("Units")),
        "SkuId": sku,
        "SkuMeter": _only(sku.notnull(), row["sku.description"]),
        "SkuPriceId": _only(usage, sku),
    }


def _committed(row: ir.Table, usage: ir.BooleanValue) -> dict[str, ir.Value]:
    """What a committed use discount covered. Its quantity is known where it covered all."""
    kind_of = _only(usage, row["commitment type"])
    covered = kind_of.notnull()
    identity = row["subscription.instance_id"].coalesce(
        row["commitment id"], row["commitment name"]
    )
    whole = covered & (kind_of == "Usage") & (row["number net cost"] == 0)
    fee = row["sku.description"].strip().lower().startswith("commitment")
    priced = ibis.cases((covered | fee.fill_null(False), "Committed"), else_="Standard")
    return {
        "CommitmentDiscountCategory": kind_of,
        "CommitmentDiscountId": _only(covered, identity),
        "CommitmentDiscountName": _only(covered, row["commitment name"]),
        "CommitmentDiscountQuantity": _only(
            whole.fill_null(False), row["number usage.amount_in_pricing_units"]
        ),
        "CommitmentDiscountStatus": _only(covered, ibis.literal("Used")),
        "CommitmentDiscountType": ibis.cases(
            *((kind_of == name, said) for name, said in _COMMITMENTS.items()),
            else_=ibis.null(str),
        ),
        "CommitmentDiscountUnit": _only(
            whole.fill_null(False) & row["number usage.amount_in_pricing_units"].notnull(),
            row.unit.fill_null("Units"),
        ),
        "PricingCategory": _only(usage, priced),
    }


def _listed(text: ir.StringValue) -> ir.StringValue:
    """A list that holds something; null for none."""
    return text.strip().nullif("[]").nullif("")


def _only(where: ir.BooleanValue, value: ir.Value) -> ir.Value:
    """The value where something holds, else null."""
    return where.ifelse(value, ibis.null(value.type()))
