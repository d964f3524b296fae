"""FOCUS 1.0 to 1.4 as anyone delivers it to FOCUS 1.2: column by column, gaps filled.

The base of every provider's FOCUS format as well; those give their own words for what a provider
leaves out. What is filled follows FOCUS 1.2 ("Columns"), and `x_FilledColumns` names it. Columns
of the report are text here.
"""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.tables import focus_columns, read_facts
from finops_pipeline.engine.functions import is_json, json_text, parse_time
from finops_pipeline.normalize.expressions import Rule, filled, month_start, next_month

# Parsed once for each row, as `number <column>`; each must be a number or empty.
NUMBERS = tuple(c.name for c in focus_columns() if c.type == "Decimal")

# What may be filled: a provider's empty column of these is named in `x_FilledColumns`.
FILLED = (
    "BillingAccountId", "BillingAccountType", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeFrequency", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "PricingCurrency", "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "ProviderName",
    "PublisherName", "RegionName", "ResourceType", "ServiceCategory", "ServiceName",
    "ServiceSubcategory",
)  # fmt: skip
# The same as these where the pricing currency is the billing currency.
_IN_PRICING_CURRENCY = {
    f"PricingCurrency{name}": name
    for name in ("ContractedUnitPrice", "EffectiveCost", "ListUnitPrice")
}
_CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
_FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")
_AS_DELIVERED = (
    "AvailabilityZone", "BillingAccountName", "CapacityReservationId",
    "CapacityReservationStatus", "ChargeDescription", "CommitmentDiscountCategory",
    "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountStatus",
    "CommitmentDiscountType", "ConsumedUnit", "InvoiceId",
    "PricingCategory", "PricingUnit", "RegionId", "ResourceId", "ResourceName", "SkuId",
    "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName",
    "SubAccountType",
)  # fmt: skip


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by, and which columns are empty."""
    billing = row["BillingCurrency"].strip()
    same_currency = (row["PricingCurrency"].strip().coalesce(billing) == billing).fill_null(False)
    return {
        "key_service": row["ServiceName"],
        "key_region": row["RegionId"],
        "key_unit": row["PricingUnit"],
        "key_currency": row["BillingCurrency"].strip(),
        "key_scope": row["SubAccountId"],
        "start": parse_time(row["ChargePeriodStart"]),
        "end": parse_time(row["ChargePeriodEnd"]),
        "period_start": parse_time(row["BillingPeriodStart"]),
        "period_end": parse_time(row["BillingPeriodEnd"]),
        **{f"no {name}": row[name].isnull() for name in FILLED},
        **{
            # There is always an effective cost, be it filled itself.
            f"no {name}": same_currency
            & row[name].isnull()
            & (row[of].notnull() | (of == "EffectiveCost"))
            for name, of in _IN_PRICING_CURRENCY.items()
        },
        "same_currency": same_currency,
        "no ServiceCategory": _delivered_category(row).isnull(),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    time = "expected a time such as 2026-08-01T10:00:00Z"
    return [
        Rule(
            "ChargePeriodEnd",
            row["ChargePeriodEnd"],
            f"{time}, not before the start of the charge period",
            (row.end >= row.start).fill_null(False),
        ),
        *(
            Rule(name, row[name], f"{time}, or nothing", row[name].isnull() | parsed.notnull())
            for name, parsed in (
                ("BillingPeriodStart", row.period_start),
                ("BillingPeriodEnd", row.period_end),
            )
        ),
        Rule(
            "ChargeCategory",
            row["ChargeCategory"],
            f"expected one of: {', '.join(_CATEGORIES)}",
            row["ChargeCategory"].isnull() | row.category.notnull(),
        ),
    ]


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, and its ChargeCategory; null for one that is unknown."""
    given = _one_of(row["ChargeCategory"], _CATEGORIES)
    return {
        "is_correction": (row["ChargeClass"].strip().lower() == "correction").fill_null(False),
        "category": row["ChargeCategory"].isnull().ifelse("Usage", given),
    }


def columns(row: ir.Table, provider: str = "Unknown") -> dict[str, ir.Value]:
    """The FOCUS columns, and our x_ columns. `provider` is who provides where nobody is named."""
    billed = row["number BilledCost"]
    effective = row["number EffectiveCost"].coalesce(billed)
    # Bought in advance, a charge is billed and has no effective cost; what it is paid with later
    # has one and is not billed.
    bought = row.category == "Purchase"
    contracted = row["number ContractedCost"].coalesce(bought.ifelse(billed, effective))
    provided = row["ProviderName"].coalesce(row["PublisherName"]).fill_null(provider)
    account = row["BillingAccountId"].coalesce(row["SubAccountId"]).fill_null("unknown")
    service = row["ServiceName"].coalesce(row["ChargeDescription"]).fill_null("Other")
    currency = row["PricingCurrency"].coalesce(row.key_currency)
    has_tags = (is_json(row["Tags"]) & row["Tags"].strip().startswith("{")).fill_null(False)
    numbers = {name: row[f"number {name}"] for name in NUMBERS}
    same = numbers | {"EffectiveCost": effective}
    return {
        **{name: row[name] for name in _AS_DELIVERED},
        **numbers,
        "BilledCost": billed,
        "BillingAccountId": account,
        "BillingAccountName": row["BillingAccountName"].coalesce(account),
        "BillingAccountType": row["BillingAccountType"].fill_null("Billing Account"),
        "BillingPeriodEnd": row.period_end.coalesce(
            next_month(row.period_start.coalesce(row.start))
        ),
        "BillingPeriodStart": row.period_start.coalesce(month_start(row.start)),
        "ChargeCategory": row.category,
        "ChargeClass": row.is_correction.ifelse("Correction", ibis.null(str)),
        "ChargeFrequency": _frequency(row),
        # FOCUS: no unit without a quantity.
        "CommitmentDiscountUnit": numbers["CommitmentDiscountQuantity"]
        .notnull()
        .ifelse(row["CommitmentDiscountUnit"], ibis.null(str)),
        "ContractedCost": contracted,
        "EffectiveCost": effective,
        "InvoiceIssuerName": row["InvoiceIssuerName"].coalesce(provided),
        "ListCost": row["number ListCost"].coalesce(contracted),
        "PricingCurrency": currency,
        **{
            name: numbers[name].coalesce(
                row.same_currency.ifelse(same[of], ibis.null(same[of].type()))
            )
            for name, of in _IN_PRICING_CURRENCY.items()
        },
        "ProviderName": provided,
        "PublisherName": row["PublisherName"].coalesce(provided),
        # FOCUS: a name where there is an identifier.
        "RegionName": row["RegionName"].coalesce(row.region_name_found, row["RegionId"]),
        "ResourceType": row["ResourceType"].coalesce(
            row["ResourceId"].notnull().ifelse(service, ibis.null(str))
        ),
        "ServiceCategory": service_category(row),
        "ServiceName": service,
        "ServiceSubcategory": service_subcategory(row),
        "Tags": has_tags.ifelse(row["Tags"], "{}"),
        "x_FilledColumns": filled({name: row[f"no {name}"] for name in FILLED}),
        "x_IsCorrection": row.is_correction,
        "x_OtherColumns": with_tags(
            row.other_columns, has_tags.ifelse(ibis.null(str), row["Tags"])
        ),
        "x_ScopeId": row["SubAccountId"],
        "x_ScopeName": row["SubAccountName"],
        "x_ScopePath": row.scope_path_found.coalesce(row["SubAccountName"], row["SubAccountId"]),
    }


def with_tags(others: ir.StringValue, tags: ir.StringValue) -> ir.StringValue:
    """The columns that have no place of their own, and tags that are no JSON object: as text."""
    rest = (others == "{}").ifelse("}", "," + others.substr(1))
    both = '{"Tags":' + json_text(tags) + rest
    return tags.isnull().ifelse(others.nullif("{}"), both)


def service_category(row: ir.Table) -> ir.StringValue:
    """The category delivered, if it is one of FOCUS, else the catalogue's, else Other."""
    delivered = _delivered_category(row)
    category: ir.StringValue = delivered.coalesce(row.service_category_found).fill_null("Other")
    return category


def _delivered_category(row: ir.Table) -> ir.StringValue:
    known = tuple(dict.fromkeys(category for category, _ in _services()))
    return _one_of(row["ServiceCategory"], known)


def service_subcategory(row: ir.Table) -> ir.StringValue:
    """The subcategory delivered, if it is one of the category; else the catalogue's or Other."""
    category = service_category(row)
    pairs = [f"{of}|{name}" for of, name in _services()]
    delivered = (category + "|" + row["ServiceSubcategory"]).isin(pairs).fill_null(False)
    looked_up = (category == row.service_category_found).fill_null(False)
    return ibis.cases(
        (delivered, row["ServiceSubcategory"]),
        (looked_up, row.service_subcategory_found),
        else_="Other (" + category + ")",
    )


def _frequency(row: ir.Table) -> ir.StringValue:
    """FOCUS forbids Usage-Based for a purchase."""
    bought = row.category == "Purchase"
    given = _one_of(row["ChargeFrequency"], _FREQUENCIES)
    return ibis.cases(
        (bought & (given == "Usage-Based"), "One-Time"),
        (given.notnull(), given),
        (bought, "One-Time"),
        else_="Usage-Based",
    )


def _one_of(text: ir.StringValue, words: tuple[str, ...]) -> ir.StringValue:
    """The word that a text is, whatever its case; null when it is none."""
    lowered = text.strip().lower()
    return ibis.cases(*((lowered == word.lower(), word) for word in words), else_=ibis.null(str))


@cache
def _services() -> tuple[tuple[str, str], ...]:
    rows = read_facts("contracts/data/focus_1_2_services.csv")
    return tuple((row["category"], row["subcategory"]) for row in rows)
