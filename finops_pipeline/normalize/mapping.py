"""One report to FOCUS: the pass that reads a report's text and gives typed, checked charges.

The format's own module says which column becomes which; here stands what all formats share:
catalogue look-ups, tags, exchange, the partition, and the split into charges and rejected rows.
Deduplication across reports is elsewhere (`deduplicate.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, RATE, ibis_schema
from finops_pipeline.contracts.raw import Header, RawFormat, raw_format
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.coded import PLACE, Step
from finops_pipeline.engine.functions import countable, parse_number
from finops_pipeline.engine.sql import Sql
from finops_pipeline.ingest.rows import ROW
from finops_pipeline.normalize.expressions import (
    Rule,
    convert,
    focus_unit,
    json_object,
    lookup_key,
    month_start,
    next_month,
    number,
)

# The same on every row of a report.
CONSTANTS = ("report_name", "report_id", "delivered_at", "delivery_day", "first_day", "last_day")

_SHOWN = 200  # characters of a rejected value that are kept


@dataclass(frozen=True)
class Mapping:
    """What is done with all reports of the same header.

    `steps` make columns from columns, from the text of `report` to `mapped`, which has every row
    with the columns of `focus_costs` and whether each rule holds. `rejected`, over what the last
    step but one gives, has every row as a rejected one, in order.
    """

    steps: tuple[Step, ...]
    rules: tuple[str, ...]
    rejected: Sql

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that is done."""
        texts = [*(step.whole.text for step in self.steps), self.rejected.text]
        return hashlib.sha256(repr(texts).encode()).hexdigest()


def form_of(format_name: str) -> ModuleType:
    """A format's own module: `NUMBERS`, `keys`, `rules`, `kind` and `columns`."""
    return import_module(f"finops_pipeline.normalize.{format_name}")


def bound_columns(header: Header, format_name: str) -> dict[str, int | None]:
    """How a report's columns are bound: known ones by name, tags and others by number."""
    bound: dict[str, int | None] = {c: header.position(c) for c in raw_format(format_name).columns}
    bound |= {f"tag {i}": position for i, (_, position) in enumerate(header.tags)}
    bound |= {f"other {i}": position for i, (_, position) in enumerate(header.other)}
    return bound


def mapping(
    format_name: str, header: Header, source: str, reporting_currency: str, foreign: bool
) -> Mapping:
    """The compiled mapping of reports with this header.

    `foreign` says whether the report may hold another currency than the reporting one; where it
    does not, no exchange is compiled in. What was compiled for one header serves every other.
    """
    tags = tuple(key for key, _ in header.tags)
    others = tuple(name for name, _ in header.other)
    first, schema = _first_step(format_name, tags, others)
    further, rules, rejected = _further_steps(
        format_name, schema, source, reporting_currency, foreign
    )
    return Mapping((first, *further), rules, rejected)


@cache
def _first_step(
    format_name: str, tags: tuple[str, ...], others: tuple[str, ...]
) -> tuple[Step, ibis.Schema]:
    """From text to types: all that depends on which tags and other columns a header has."""
    report = _report(format_name, tags, others)
    typed = _typed(report, format_name, tags, others)
    schema = {name: dtype.copy(nullable=True) for name, dtype in typed.schema().items()}
    return Step(typed, report), ibis.schema(schema)


@cache
def _further_steps(
    format_name: str, schema: ibis.Schema, source: str, reporting_currency: str, foreign: bool
) -> tuple[tuple[Step, ...], tuple[str, ...], Sql]:
    """From types to charges, the names of the rules, and every row as a rejected one."""
    typed = ibis.table(schema, name="typed")
    keyed = _keyed(typed, format_name)
    keyed_row = ibis.table(keyed.schema(), name="keyed")
    found = _found(keyed_row)
    row = ibis.table(found.schema(), name="found")
    rules = [*_common_rules(row, format_name), *form_of(format_name).rules(row)]
    named = {f"rule {i}": rule.holds for i, rule in enumerate(rules)}
    charge = _charge(row, format_name, source, reporting_currency, foreign)
    rejected = row.order_by(PLACE).select(**_rejected(row, rules, format_name, source))
    steps = (
        Step(keyed, typed),
        Step(found, keyed_row),
        Step(row.select(PLACE, **charge, **named), row),
    )
    return steps, tuple(named), Sql(rejected)


def _report(format_name: str, tags: tuple[str, ...], others: tuple[str, ...]) -> ir.Table:
    """The report's text, bound as `bound_columns` says, with what is the same on all its rows."""
    text = dict.fromkeys(
        [
            *raw_format(format_name).columns,
            *(f"tag {i}" for i in range(len(tags))),
            *(f"other {i}" for i in range(len(others))),
            *CONSTANTS,
        ],
        "string",
    )
    return ibis.table({**text, ROW: "int64", PLACE: "int64"}, name="report")


def _typed(
    report: ir.Table, format_name: str, tags: tuple[str, ...], others: tuple[str, ...]
) -> ir.Table:
    """The report's text with its numbers, times and keys beside it."""
    form = form_of(format_name)
    cost = raw_format(format_name).cost
    return report.select(
        *raw_format(format_name).columns,
        PLACE,
        ROW,
        "report_name",
        "report_id",
        tag_columns=json_object([(key, report[f"tag {i}"]) for i, key in enumerate(tags)]),
        other_columns=json_object([(n, report[f"other {i}"]) for i, n in enumerate(others)]),
        delivered_at=report.delivered_at.cast("timestamp('UTC', 6)"),
        **{day: report[day].cast("date") for day in ("delivery_day", "first_day", "last_day")},
        **{f"number {column}": parse_number(report[column]) for column in form.NUMBERS},
        is_refund=(parse_number(report[cost]) < 0).fill_null(False),
        **form.keys(report),
    )


def _keyed(row: ir.Table, format_name: str) -> ir.Table:
    """The typed rows with their charge day, their kind, and what the catalogues are keyed by."""
    day = row.start.date()
    possible = day.between(row.first_day, row.last_day).fill_null(False)
    return row.mutate(
        **form_of(format_name).kind(row),
        possible_day=possible,
        charge_day=possible.ifelse(day, row.delivery_day),
        service_key=lookup_key(row.key_service),
        region_key=row.key_region.strip().lower().nullif(""),
        unit_key=row.key_unit.strip().lower(),
        # FOCUS: a quantity must have a unit, also where the report names none.
        unit_by_rule=focus_unit(row.key_unit).fill_null("Units"),
    )


def _found(row: ir.Table) -> ir.Table:
    """The keyed rows with what the catalogues know of them."""
    services = _catalogue("service", key=str, category=str, subcategory=str)
    regions = _catalogue("region", key=str, id=str, name=str)
    units = _catalogue("unit", key=str, focus=str)
    scopes = _catalogue("scope", id=str, path=str)
    rates = _catalogue("rate", currency=str, charge_day="date", rate=RATE, day="date", source=str)
    return (
        row.left_join(services, row.service_key == services.service_key_found)
        .left_join(regions, row.region_key == regions.region_key_found)
        .left_join(units, row.unit_key == units.unit_key_found)
        .left_join(scopes, row.key_scope == scopes.scope_id_found)
        .left_join(
            rates,
            [
                row.key_currency == rates.rate_currency_found,
                row.charge_day == rates.rate_charge_day_found,
            ],
        )
        .mutate(unit=lambda t: t.unit_focus_found.coalesce(t.unit_by_rule))
    )


def _catalogue(label: str, /, **columns: Any) -> ir.Table:
    """A bound catalogue; its columns are named apart from the report's."""
    return ibis.table(columns, name=f"catalogue {label}").rename(f"{label}_{{name}}_found")


def _common_rules(row: ir.Table, format_name: str) -> list[Rule]:
    raw, form = raw_format(format_name), form_of(format_name)
    return [
        Rule(
            raw.start,
            row[raw.start],
            "expected a time such as 2026-08-01T10:00Z from `first_day` of finops.yaml to the day "
            "after the report was archived",
            row.possible_day | _early(row, raw),
        ),
        Rule(
            raw.currency,
            row[raw.currency],
            "expected a currency code of ISO 4217, such as USD",
            row.rate_currency_found.notnull(),
        ),
        *(number(c, row[c], row[f"number {c}"], required=c == raw.cost) for c in form.NUMBERS),
    ]


def _early(row: ir.Table, raw: RawFormat) -> ir.BooleanValue:
    """Whether the charge starts after its delivery, in a format where one may.

    It is kept on the day of its delivery: what is bought today may begin next month.
    """
    if not raw.form.future:
        return ibis.literal(False)
    early: ir.BooleanValue = (row.start.date() > row.last_day).fill_null(False)
    return early


def _charge(
    row: ir.Table, format_name: str, source: str, reporting_currency: str, foreign: bool
) -> dict[str, ir.Value]:
    """Every column of `focus_costs`, in the order of its description."""
    table = tables()["focus_costs"]
    known: dict[str, ir.Value] = {**_shared_columns(row), **form_of(format_name).columns(row)}
    same = row.key_currency == reporting_currency
    for name in ("BilledCost", "EffectiveCost", "ListCost"):
        known[f"x_Reporting{name}"] = (
            convert(known[name], row.rate_rate_found, same) if foreign else known[name]
        )
    known["x_ReportingCurrency"] = ibis.literal(reporting_currency)
    known["x_Source"] = ibis.literal(source)
    schema = ibis_schema(table)
    return {
        name: known[name].cast(schema[name]) if name in known else ibis.null(schema[name])
        for name in table.names
    }


def _shared_columns(row: ir.Table) -> dict[str, ir.Value]:
    none = ibis.null(str)
    return {
        "BillingCurrency": row.key_currency,
        "BillingPeriodStart": month_start(row.start),
        "BillingPeriodEnd": next_month(row.start),
        "ChargePeriodStart": row.start,
        "ChargePeriodEnd": row.end,
        "RegionId": row.region_id_found.coalesce(row.region_key),
        "RegionName": row.region_name_found.coalesce(row.region_key),
        "ServiceCategory": row.service_category_found.fill_null("Other"),
        "ServiceSubcategory": row.service_subcategory_found.fill_null("Other (Other)"),
        "x_ScopePath": row.scope_path_found,
        "x_OtherColumns": (row.other_columns != "{}").ifelse(row.other_columns, none),
        "x_Report": row.report_name,
        "x_ReportId": row.report_id,
        "x_ReportRow": row.report_row,
        "x_DeliveredAt": row.delivered_at,
        "x_ExchangeRate": row.rate_rate_found,
        "x_ExchangeRateDate": row.rate_day_found,
        "x_ExchangeRateSource": row.rate_source_found,
        "x_ChargeDay": row.charge_day,
    }


def _rejected(
    row: ir.Table, rules: list[Rule], format_name: str, source: str
) -> dict[str, ir.Value]:
    """Every column of `rejected_rows`: the first rule that a row breaks speaks for it."""
    raw = raw_format(format_name)
    cases = [(~rule.holds, rule) for rule in rules]
    return {
        "source": ibis.literal(source),
        "charge_day": row.charge_day,
        "report_id": row.report_id,
        "report": row.report_name,
        "report_row": row.report_row,
        "column": ibis.cases(*((broken, rule.column) for broken, rule in cases)),
        "value": ibis.cases(*((broken, rule.text) for broken, rule in cases)).left(_SHOWN),
        "reason": ibis.cases(*((broken, rule.expected) for broken, rule in cases)),
        "currency": row[raw.currency].strip().fill_null(""),
        "cost": countable(row[f"number {raw.cost}"]).cast(MONEY),
    }
