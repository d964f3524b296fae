"""What both OCI formats have in common: corrections, kinds of charge, types of resource."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.normalize.expressions import month_start

_NOT_OF_TAX = (
    "PricingQuantity", "PricingUnit", "ContractedUnitPrice", "ListUnitPrice", "SkuId", "SkuMeter",
    "SkuPriceId",
)  # fmt: skip


def is_true(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a flag is set: `true` in any case."""
    return (text.strip().lower() == "true").fill_null(False)


def charge_category(
    service: ir.StringValue,
    description: ir.StringValue,
    refund: ir.BooleanValue,
    correction: ir.BooleanValue,
) -> ir.StringValue:
    """FOCUS ChargeCategory of an OCI row: Usage unless it says that it is tax or a credit.

    A negative row that corrects nothing is money given back, which FOCUS calls a credit
    (FOCUS 1.2, ChargeCategory); a correction keeps the category of what it corrects. OCI reports
    carry no tax today, so tax is known by its service or description alone.
    """
    named = service.fill_null("").upper() + " " + description.fill_null("").upper()
    tax = named.re_search(r"^TAX |^VAT |\b(SALES|VALUE ADDED|WITHHOLDING) TAX\b|\bVAT\b|\bGST\b")
    return ibis.cases((correction, "Usage"), (refund, "Credit"), (tax, "Tax"), else_="Usage")


def resource_type(resource_id: ir.StringValue, service: ir.StringValue) -> ir.StringValue:
    """The type that an OCID names (`ocid1.instance.…`), else the service; null with no resource.

    FOCUS 1.2: ResourceType must not be null when ResourceId is not.
    """
    named = resource_id.startswith("ocid1.").ifelse(resource_id.split(".")[1], service)
    return resource_id.notnull().ifelse(named.nullif("").coalesce(service), ibis.null(str))


def finished(row: ir.Table, known: dict[str, ir.Value]) -> dict[str, ir.Value]:
    """A format's columns, with those that follow from them."""
    later_month = month_start(row.delivered_at) > month_start(row.start)
    correction = (known["x_IsCorrection"] & later_month).ifelse("Correction", ibis.null(str))
    priced = known["ChargeCategory"].isin(("Usage", "Purchase"))
    taxed = known["ChargeCategory"] == "Tax"  # FOCUS: tax has no price, no quantity and no SKU
    untaxed = {
        name: taxed.ifelse(ibis.null(known[name].type()), known[name]) for name in _NOT_OF_TAX
    }
    return {
        **known,
        **untaxed,
        "ChargeClass": correction,
        "PricingCategory": priced.ifelse("Standard", ibis.null(str)),
        # Billing and pricing currency of OCI are one.
        "PricingCurrency": row.key_currency,
        "PricingCurrencyContractedUnitPrice": untaxed["ContractedUnitPrice"],
        "PricingCurrencyListUnitPrice": untaxed["ListUnitPrice"],
        "PricingCurrencyEffectiveCost": known["EffectiveCost"],
    }
