"""Answers of AWS Cost Explorer (GetCostAndUsage) to FOCUS 1.2, one line a column.

A row is the sum of a day (or month) and a group, so it has costs and no quantity, price or
resource. UnblendedCost is what is invoiced, BilledCost in FOCUS; NetAmortizedCost, or else
AmortizedCost, is EffectiveCost. Everything that FOCUS wants and no answer has is filled as the
specification allows and named in `x_FilledColumns`. Columns of the report are text here.

Source of the rules: AWS Cost Management User Guide, "Exploring your data using Cost Explorer"
(cost types, charge types), and FOCUS 1.2, "Columns".
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.engine.functions import parse_time
from finops_pipeline.normalize.expressions import Rule, filled

# Parsed once for each row, as `number <column>`; each must be a number or empty.
NUMBERS = ("UnblendedCost", "AmortizedCost", "NetAmortizedCost")

# Charge types of Cost Explorer (RECORD_TYPE); every other is usage or a discount on it.
_RECORD_TYPES = {
    "Credit": "Credit",
    "Other out-of-cycle charges": "Purchase",
    "Out-of-cycle charges": "Purchase",
    "Recurring": "Purchase",
    "Recurring reservation fee": "Purchase",
    "Refund": "Credit",
    "RIFee": "Purchase",
    "SavingsPlanRecurringFee": "Purchase",
    "SavingsPlanUpfrontFee": "Purchase",
    "Tax": "Tax",
    "Upfront": "Purchase",
    "Upfront reservation fee": "Purchase",
}
_NAMED_AS_SERVICE = {"Tax": "Tax", "Refund": "Credit", "AWS Credits": "Credit"}
_COMMITMENTS = "Savings Plans"  # part of the names of services that sell them
_NO_REGION = ("NoRegion", "No Region")
_ALWAYS_FILLED = (
    "BillingAccountId", "BillingAccountType", "ChargeFrequency", "ContractedCost",
    "InvoiceIssuerName", "ListCost", "PricingCurrency", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceSubcategory",
)  # fmt: skip


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by."""
    region = row["Region"].isin(_NO_REGION).fill_null(False)
    return {
        "key_service": row["Service"],
        "key_region": region.ifelse(ibis.null(str), row["Region"]),
        "key_unit": ibis.null(str),
        "key_currency": row["Currency"].strip(),
        "key_scope": row["LinkedAccount"],
        "start": parse_time(row["Start"]),
        "end": parse_time(row["End"]),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    return [
        Rule(
            "End",
            row["End"],
            "expected a day such as 2026-08-02 after the start of the period",
            (row.end > row.start).fill_null(False),
        )
    ]


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """The ChargeCategory: by charge type, else by service; what is given back is a credit.

    Answers know no corrections: they are as of the time they were asked for.
    """
    none = ibis.null(str)
    told = _word(row["RecordType"], _RECORD_TYPES).coalesce(
        row["RecordType"].notnull().ifelse("Usage", none)
    )
    service = _word(row["Service"], _NAMED_AS_SERVICE).coalesce(
        row["Service"].contains(_COMMITMENTS).fill_null(False).ifelse("Purchase", none)
    )
    found = row.is_refund.ifelse("Credit", "Usage")
    return {"is_correction": ibis.literal(False), "category": told.coalesce(service, found)}


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns, and our x_ columns."""
    billed = row["number UnblendedCost"]
    effective = row["number NetAmortizedCost"].coalesce(row["number AmortizedCost"])
    account = row["LinkedAccount"]
    named = row["LinkedAccountName"].coalesce(account)
    provider = ibis.literal("AWS")
    bought = row.category == "Purchase"
    was_filled = {
        **dict.fromkeys(_ALWAYS_FILLED, ibis.literal(True)),
        "ChargeCategory": row["RecordType"].isnull(),
        "EffectiveCost": effective.isnull(),
        "ServiceName": row["Service"].isnull(),
    }
    return {
        "BilledCost": billed,
        # An answer does not name the account that pays; the place that was asked is one.
        "BillingAccountId": account.fill_null("unknown"),
        "BillingAccountName": named.fill_null("unknown"),
        "BillingAccountType": ibis.literal("Billing Account"),
        "ChargeCategory": row.category,
        "ChargeDescription": row["RecordType"],
        "ChargeFrequency": bought.ifelse("Recurring", "Usage-Based"),
        "ContractedCost": billed,
        "EffectiveCost": effective.coalesce(billed),
        "InvoiceIssuerName": provider,
        "ListCost": billed,
        "PricingCurrency": row.key_currency,
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceName": row["Service"].fill_null("Other"),
        "SubAccountId": account,
        "SubAccountName": named,
        "SubAccountType": account.notnull().ifelse("Account", ibis.null(str)),
        "Tags": row.tag_columns,
        "x_FilledColumns": filled({name: was_filled[name] for name in sorted(was_filled)}),
        "x_IsCorrection": row.is_correction,
        "x_ScopeId": account,
        "x_ScopeName": row["LinkedAccountName"],
        "x_ScopePath": row.scope_path_found.coalesce(named),
    }


def _word(text: ir.StringValue, words: dict[str, str]) -> ir.StringValue:
    """What a word becomes; null for any other."""
    cases = ((text == word, becomes) for word, becomes in words.items())
    return ibis.cases(*cases, else_=ibis.null(str))
