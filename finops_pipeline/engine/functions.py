"""Functions that engines spell in their own way, as Ibis values: times, numbers, JSON, hashes.

Here DuckDB's are named; everything else in an expression is plain Ibis. They are called and not
used as decorators, because Ibis brings no types and a decorator would lose ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, RATE, SHARE

# As providers write them; a time without zone is UTC.
TIME_FORMATS = [
    "%Y-%m-%dT%H:%MZ",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.%gZ",
    "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S.%fZ",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%d %H:%M:%S.%f UTC",
    "%Y-%m-%d",
]
# Databases and Python write a space, or a fraction, before the offset; PostgreSQL its hours alone.
ZONED_FORMATS = [
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y-%m-%dT%H:%M%z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S.%f%z",
]


def _one(a: Any) -> Any: ...


def _two(a: Any, b: Any) -> Any: ...


def _builtin(name: str, arguments: tuple[Any, ...], result: Any) -> Any:
    shape = _one if len(arguments) == 1 else _two
    return ibis.udf.scalar.builtin(shape, name=name, signature=(arguments, result))


_try_strptime = _builtin("try_strptime", (str, list[str]), "timestamp('UTC', 6)")
_to_json = _builtin("to_json", (str,), str)
_json_valid = _builtin("json_valid", (str,), "bool")
_json_extract_string = _builtin("json_extract_string", (str, str), str)
_md5 = _builtin("md5", (str,), str)
# By the function's name, since Ibis cannot type a product whose operands fit into neither.
_rate_product = _builtin("multiply", ("decimal(18, 18)", "decimal(20, 12)"), "decimal(38, 30)")
_share_product = _builtin("multiply", ("decimal(24, 6)", "decimal(13, 12)"), "decimal(37, 18)")


def parse_time(text: ir.StringValue) -> ir.TimestampValue:
    """The instant that a text names, in UTC; null when it names none.

    The day is parsed on its own too, because strptime turns 30 February into 2 March, and takes
    `infinity` for a time. Times with an offset are a call of their own, because DuckDB gives the
    offset of one row to the next rows that have none. A microsecond is the finest there is; more
    digits, as .NET writes them, are cut.
    """
    fine = text.length() > len("2026-08-01T10:00:00.123456")
    text = fine.ifelse(text.re_replace(r"(\.\d{6})\d+", r"\1"), text)
    day = text.strip().left(10).try_cast("date")
    real_day = day.between(ibis.date(1, 1, 1), ibis.date(9999, 12, 31)).fill_null(False)
    none = ibis.null("timestamp('UTC', 6)")
    time = _try_strptime(text, TIME_FORMATS).coalesce(_try_strptime(text, ZONED_FORMATS))
    parsed: ir.TimestampValue = real_day.ifelse(time, none)
    return parsed


def parse_number(text: ir.StringValue) -> ir.DecimalValue:
    """The number that a text is, at 18 digits after the point, half up; null when it is none.

    Null too for what DuckDB reads as another number than it says: 1_000 as a thousand, and with an
    exponent no fraction digit after the 38th, so that 0.<40 zeros>5e41 would be nothing. With an
    exponent 40 characters are read, more than any decimal128 needs.
    """
    long = text.length() > 40
    misread = long.ifelse(text.re_search("[_eE]"), text.contains("_"))
    return misread.ifelse(ibis.null(str), text).try_cast(MONEY)


def countable(value: ir.DecimalValue) -> ir.DecimalValue:
    """The number where it may be summed; null where a few such would overflow every sum."""
    return value.between(-(10**14), 10**14).ifelse(value, ibis.null(MONEY))


def json_text(text: ir.StringValue) -> ir.StringValue:
    """A text as a JSON string with its quotes; null stays null."""
    quoted: ir.StringValue = _to_json(text)
    return quoted


def is_json(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a text is JSON; null stays null."""
    found: ir.BooleanValue = _json_valid(text)
    return found


def json_member(text: ir.StringValue, key: str) -> ir.StringValue:
    """The member of a JSON object as text; null where the object has none of that name.

    By JSON pointer, because DuckDB reads a bare key that starts with `$` or `/` as a path.
    """
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    member: ir.StringValue = _json_extract_string(text, pointer)
    return member


def text_hash(values: Sequence[ir.Value]) -> ir.StringValue:
    """A hash of values in order, 32 hexadecimal digits; null differs from empty text."""
    parts = [v.cast(str).fill_null("\x00") for v in values]
    hashed: ir.StringValue = _md5(ibis.literal("\x1f").join(parts))
    return hashed


def small_product(part: ir.DecimalValue, factor: ir.DecimalValue) -> ir.DecimalValue:
    """The exact product of a part below 1 and a rate, `decimal(38, 30)`."""
    product: ir.DecimalValue = _rate_product(part.cast("decimal(18, 18)"), factor.cast(RATE))
    return product


def share_product(part: ir.DecimalValue, share: ir.DecimalValue) -> ir.DecimalValue:
    """The exact product of an amount of 6 digits after the point and a share of 12."""
    product: ir.DecimalValue = _share_product(part.cast("decimal(24, 6)"), share.cast(SHARE))
    return product
