"""Azure's FOCUS exports (1.0, 1.0r2, 1.2-preview) to FOCUS 1.2: what differs from `focus.py`.

Microsoft names the gaps of its dataset, and what to put there, in its "FOCUS conformance summary";
where that and FOCUS 1.2 agree they are filled here and named in `x_FilledColumns`.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from finops_pipeline.engine.functions import is_json
from finops_pipeline.normalize import focus
from finops_pipeline.normalize.expressions import Rule, filled, joined_objects, json_object

NUMBERS = focus.NUMBERS
_MICROSOFT = "Microsoft"
_NO_SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
# Read for the mapping, and kept as delivered: no column of ours takes them.
_KEPT = ("x_PublisherCategory", "x_ResourceType", "x_SkuMeterCategory", "x_SkuMeterSubcategory")
# What stands for nothing, by column ("FOCUS conformance summary", incorrect data).
_NOTHING = {
    "RegionId": ("Unassigned",),
    "RegionName": ("Unassigned",),
    "SkuPriceId": ("-2",),
    "SubAccountName": ("Unassigned",),
}
_FILLED = tuple(sorted((*focus.FILLED, "ChargeDescription")))


def keys(row: ir.Table) -> dict[str, ir.Value]:
    """What the catalogues are looked up by, and which columns are empty."""
    group = row["x_ResourceGroupName"].nullif("Unassigned")
    return {
        **focus.keys(row),
        "key_service": _service(row),
        "key_region": _something(row, "RegionId")
        .coalesce(_something(row, "RegionName"))
        .replace(" ", ""),
        "group": group,
        "kept": json_object([(name, row[name]) for name in _KEPT]),
        "no RegionName": row["RegionName"].isnull() & row["RegionId"].notnull(),
        "no ResourceType": row["ResourceType"].isnull()
        & row["x_ResourceType"].coalesce(row["ResourceId"]).notnull(),
    }


def rules(row: ir.Table) -> list[Rule]:
    """What each row must satisfy, beside numbers, a known currency and a possible day."""
    return focus.rules(row)


def kind(row: ir.Table) -> dict[str, ir.Value]:
    """Whether the row is a correction, its ChargeCategory, and the row's text as it is meant."""
    account = row["SubAccountId"].strip().lower()
    contracted = _placeholder(row, "ContractedCost", "ContractedUnitPrice")
    list_cost = _placeholder(row, "ListCost", "ListUnitPrice")
    return {
        **focus.kind(row),
        **{name: _something(row, name) for name in _NOTHING},
        "ServiceName": row.key_service,
        "ResourceType": row["ResourceType"].coalesce(row["x_ResourceType"]),
        "SubAccountId": (account == _NO_SUBSCRIPTION).ifelse(ibis.null(str), row["SubAccountId"]),
        "SkuPriceDetails": _braced(row["SkuPriceDetails"], or_else=ibis.null(str)),
        "Tags": _braced(row["Tags"], or_else=row["Tags"]),
        **_unless(contracted, row, "ContractedCost", "ContractedUnitPrice"),
        **_unless(list_cost, row, "ListCost", "ListUnitPrice"),
        "no ContractedCost": row["no ContractedCost"] | contracted,
        "no ListCost": row["no ListCost"] | list_cost,
        "other_columns": joined_objects(row["kept"], row.other_columns),
    }


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns, and our x_ columns."""
    known = focus.columns(row, provider=_MICROSOFT)
    account = known["SubAccountId"]
    place = row.scope_path_found.coalesce(known["SubAccountName"], account)
    group = row["group"]
    empty = {name: row[f"no {name}"] for name in focus.FILLED}
    empty["ChargeDescription"] = row["ChargeDescription"].isnull()
    return {
        **known,
        # Empty on what a savings plan did not use, and on charges of no product.
        "ChargeDescription": known["ChargeDescription"].coalesce(
            known["SkuMeter"], known["ServiceName"]
        ),
        # Found by its name where only that is delivered; FOCUS has no name without an identifier.
        "RegionId": known["RegionId"].coalesce(row.region_id_found),
        "SubAccountType": known["SubAccountType"].coalesce(
            account.notnull().ifelse("Subscription", ibis.null(str))
        ),
        "x_FilledColumns": filled({name: empty[name] for name in _FILLED}),
        "x_ScopeId": group.isnull().ifelse(
            account, account.fill_null("") + "/resourceGroups/" + group
        ),
        "x_ScopeName": group.coalesce(known["SubAccountName"]),
        "x_ScopePath": group.isnull().ifelse(place, (place + "/").fill_null("") + group),
    }


def _service(row: ir.Table) -> ir.StringValue:
    """The service, which is empty on purchases: a vendor's name, or the group of the meter."""
    vendor = (row["x_PublisherCategory"].strip().lower() == "vendor").fill_null(False)
    bought = vendor.ifelse(row["PublisherName"], row["x_SkuMeterSubcategory"])
    service: ir.StringValue = row["ServiceName"].coalesce(
        bought, row["x_SkuMeterSubcategory"], row["x_SkuMeterCategory"]
    )
    return service


def _placeholder(row: ir.Table, cost: str, price: str) -> ir.BooleanValue:
    """Whether a cost of 0 stands for an unknown one: no price, and yet something to pay.

    So it is on charges of the marketplace and on reservations; FOCUS 1.2 ("Null handling") wants
    no 0 for what is not known.
    """
    paid = row["number EffectiveCost"].coalesce(row["number BilledCost"])
    owed = (paid != 0) | (row["number BilledCost"] != 0)
    none = (row[f"number {cost}"] == 0) & (row[f"number {price}"].fill_null(0) == 0)
    found: ir.BooleanValue = (none & owed).fill_null(False)
    return found


def _unless(condition: ir.BooleanValue, row: ir.Table, *numbers: str) -> dict[str, ir.Value]:
    """Columns that are no number where the condition holds, neither as text nor parsed."""
    names = [name for number in numbers for name in (number, f"number {number}")]
    return {name: condition.ifelse(ibis.null(row[name].type()), row[name]) for name in names}


def _something(row: ir.Table, name: str) -> ir.StringValue:
    """A column without the words that stand for nothing there."""
    text: ir.StringValue = row[name]
    for word in _NOTHING[name]:
        text = text.nullif(word)
    return text


def _braced(text: ir.StringValue, or_else: ir.StringValue) -> ir.StringValue:
    """A JSON object, whose outer braces Azure may leave out; `or_else` where it is none."""
    bare = "{" + text + "}"
    whole = (is_json(text) & text.strip().startswith("{")).fill_null(False)
    found: ir.StringValue = ibis.cases(
        (whole, text), (is_json(bare).fill_null(False), bare), else_=or_else
    )
    return found
