"""Expressions that the mapping of more than one report format needs.

Pure functions of Ibis values; what each format maps to what is in its own module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, RATE
from finops_pipeline.engine.functions import json_text, small_product

# No charge in any currency is as large; from here the exact products overflow.
LARGEST_COST = 10**12

_TIMES = ("Year", "Month", "Day", "Hour", "Minute", "Second")
_TIME = "|".join(_TIMES)
_SIZES = {
    "KB": "Kilobyte",
    "MB": "Megabyte",
    "GB": "Gigabyte",
    "TB": "Terabyte",
    "GiB": "Gibibyte",
    "TiB": "Tebibyte",
}
_MOVES = "outbound|transfer|process|retriev"  # data that moves has no time
_UNIT = rf"^[A-Za-z][A-Za-z0-9]*( [A-Za-z][A-Za-z0-9]*)*(-({_TIME})s|/({_TIME}))$"
# The rule of data/README.md for a unit that oci_units.csv lacks: what is found, what it becomes.
_UNIT_STEPS = (
    (r"\([^)]*\)", " "),
    (r",(\d\d\d)\b", r"\1"),
    (r"[^A-Za-z0-9]+", " "),
    (r"^ | $", ""),
    (r"(?i)^ten thousand\b", "10000"),
    (r"(?i)^(?:one )?million\b", "1000000"),
    (r"(?i)^(?:one|per|each) ", ""),
    (rf"(?i)^(\w+ )?((?:{_TIME})s?) (.+)$", r"\1\3 \2"),  # ONE HOURS OCPUS: the time goes last
    (r"(?i)^(\d+) ?k\b", r"\1000"),
    (r"(?i)^(\d+) ?(?:m|mil|million)\b", r"\1000000"),
    (r"^1 ", ""),
    (r"(?i)\b(?:of|per) ", ""),
    (r" \d\w*", ""),
    *((rf"(?i)\b(?:{short}|{name})s?\b", short) for short, name in _SIZES.items()),
    (rf"(?i)^((?:\d+ )?[KMGT]i?B) .*(?:{_MOVES}).*$", r"\1"),
    (rf"(?i)^([KMGT]i?B) .+ ((?:{_TIME})s?)$", r"\1 \2"),
    (rf"(?i)^(\d+ .+) (?:{_TIME})s?$", r"\1"),  # there is no block over time
    (rf"(?i)^(.*[A-Za-z]) ({_TIME})s?$", r"\1-\2s"),
    (rf"(?i)((?:[^ps\W]|[^b\W]p))s-({_TIME})s$", r"\1-\2s"),  # singular; Mbps stays
    *((rf"(?i)(^|-){time}s?$", rf"\1{time}s") for time in _TIMES),
    (r"^\d*\w?$", "Units"),
    (r"([^sS])$", r"\1s"),
    (r"\b([KMGT]i?B)s$", r"\1"),
)


@dataclass(frozen=True)
class Rule:
    """What a row must satisfy: the column, its text, what is expected, and the test."""

    column: str
    text: ir.StringValue
    expected: str
    holds: ir.BooleanValue


def required_text(column: str, text: ir.StringValue) -> Rule:
    """The column must not be empty."""
    return Rule(column, text, "expected a value; it is empty", text.notnull())


def number(
    column: str, text: ir.StringValue, value: ir.DecimalValue, required: bool = False
) -> Rule:
    """The text must be a number that the lake can hold, or empty unless it is required."""
    fits = ((value > -LARGEST_COST) & (value < LARGEST_COST)).fill_null(False)
    return Rule(
        column,
        text,
        "expected a plain number below 10^12, such as 12.5, -3 or 3.5E-4, without thousands "
        "separators, currency signs or words",
        fits if required else text.isnull() | fits,
    )


def json_object(pairs: Sequence[tuple[str, ir.StringValue]]) -> ir.StringValue:
    """A JSON object of the pairs whose value is not null, in order; '{}' when there is none."""
    if not pairs:
        return ibis.literal("{}")
    members = [
        ("," + json_text(ibis.literal(key)) + ":" + json_text(value)).fill_null("")
        for key, value in pairs
    ]
    joined = members[0]
    for member in members[1:]:
        joined = joined + member
    return "{" + joined.substr(1) + "}"


def joined_objects(first: ir.StringValue, second: ir.StringValue) -> ir.StringValue:
    """Two JSON objects with different members as one; null where one of them is."""
    both = first.substr(0, first.length() - 1) + "," + second.substr(1)
    return ibis.cases((first == "{}", second), (second == "{}", first), else_=both)


def filled(columns: Mapping[str, ir.BooleanValue]) -> ir.StringValue:
    """The names of the columns that were filled, joined by commas; null when none was."""
    parts = [was.ifelse("," + name, "") for name, was in columns.items()]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + part
    names: ir.StringValue = joined.substr(1).nullif("")
    return names


def lookup_key(text: ir.StringValue) -> ir.StringValue:
    """A name as the catalogues are keyed: upper case, with blanks for `_` and `-`."""
    return text.strip().upper().translate("_-", "  ")


def focus_unit(text: ir.StringValue) -> ir.StringValue:
    """A unit in FOCUS's unit format: as it is when it has that form, else as the rule makes it."""
    made = text
    for found, becomes in _UNIT_STEPS:
        made = made.re_replace(found, becomes)
    return text.re_search(_UNIT).ifelse(text, made)


def month_start(time: ir.TimestampValue) -> ir.TimestampValue:
    """The first instant of the UTC month."""
    return time.truncate("M").cast("timestamp('UTC', 6)")


def next_month(time: ir.TimestampValue) -> ir.TimestampValue:
    """The first instant of the next UTC month."""
    return (month_start(time) + ibis.interval(months=1)).cast("timestamp('UTC', 6)")


def convert(
    amount: ir.DecimalValue, rate: ir.DecimalValue, same: ir.BooleanValue
) -> ir.DecimalValue:
    """The amount in the reporting currency: exact product, rounded once, half up at 12 digits.

    `same` says that both currencies are one: then nothing is rounded. The product of 18 and 12
    digits after the point does not fit 38 digits, so amount and product are both taken apart,
    toward zero, so that a tie keeps the side it is on. Null for an amount that no charge may have:
    its row is rejected, but not before it comes here.
    """
    possible = (amount > -LARGEST_COST) & (amount < LARGEST_COST)
    amount = possible.ifelse(amount, ibis.null(MONEY))
    size = amount.abs()
    high = _down(size, 6)
    low = size - high
    narrow_rate = rate.cast(RATE)
    first = high.cast("decimal(18, 6)") * narrow_rate  # decimal(38, 18)
    first_kept = _down(first, 12)
    rest = (first - first_kept).cast("decimal(38, 30)") + small_product(low, rate)
    total = first_kept.cast(MONEY) + rest.cast("decimal(38, 12)").cast(MONEY)
    signed = (amount < 0).ifelse(-total, total)
    return same.ifelse(amount, signed).cast(MONEY)


def _down(value: ir.DecimalValue, digits: int) -> ir.DecimalValue:
    """A value that is not negative, cut (not rounded) after `digits` digits."""
    rounded = value.cast(f"decimal(38, {digits})")
    unit = ibis.literal("0." + "0" * (digits - 1) + "1").cast(f"decimal(38, {digits})")
    return (rounded.cast(MONEY) > value.cast(MONEY)).ifelse(rounded - unit, rounded).cast(MONEY)
