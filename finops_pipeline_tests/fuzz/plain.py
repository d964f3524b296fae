"""A second reading of reports, with nothing but gzip, csv and Decimal: the other side of a test.

It reads what is plainly well-formed and says None of all else, and of a time it says plainly when
it is one, when it is none, and when it would rather not tell (`UNSURE`).
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import TypeVar

LONGEST_FIELD = 1 << 24
_BLANKS = " \t\n\r\v\f"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGITS = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_TIME = re.compile(
    _DIGITS + r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{3}(?:[0-9]{3})?(?=Z))?)?"
    r"(Z|(?<=:[0-9]{2}:[0-9]{2})[+-][0-9]{2}:[0-9]{2})?| ([0-9]{2}):([0-9]{2}):([0-9]{2}))?"
)
_EXACT = Context(prec=200)
UNSURE = date.min
K = TypeVar("K")

Sums = dict[tuple[date, str], tuple[int, Decimal]]


@dataclass(frozen=True)
class Window:
    """The days that charges may lie on, and the day that takes all other rows."""

    delivery: date
    first: date
    last: date


def records(content: bytes, longest_line: int) -> list[list[str]] | None:
    """The records of a report, its header first; None when it is not well-formed throughout."""
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode("utf-8").removeprefix("\ufeff")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    csv.field_size_limit(LONGEST_FIELD)
    try:
        found = [r for r in csv.reader(io.StringIO(text, newline=""), strict=True) if r]
    except csv.Error:
        return None
    if not found or any(len(r) != len(found[0]) for r in found):
        return None
    if any(sum(len(f.encode()) + f.count('"') + 3 for f in r) > longest_line for r in found):
        return None
    return found


def position(header: Sequence[str], column: str) -> int:
    """Where a column stands, whatever its case and the blanks around it."""
    return [name.strip().lower() for name in header].index(column.lower())


def cost_of(text: str | None) -> Decimal:
    """The amount that counts: 18 digits, half up; zero for what is none or is beyond 10^14.

    With an exponent, 40 characters and 20 digits before the point are read; of an exponent beyond
    20 this reading is not sure (the engine reads some and takes others for no number): NaN.
    """
    given, text = text or "", (text or "").strip(_BLANKS)
    if not _NUMBER.fullmatch(text):
        return Decimal(0)
    mantissa, _, exponent = text.lower().partition("e")
    whole = mantissa.split(".")[0].lstrip("+-0")
    if exponent and (len(given) > 40 or len(whole) > 20):
        return Decimal(0)
    try:
        if exponent and int(exponent) > 20 and mantissa.strip("+-0."):
            return Decimal("NaN")
        amount = Decimal(text)
    except InvalidOperation:  # an exponent of more than 18 digits
        return Decimal(0)
    if not amount or not -20 < amount.adjusted() < 16:
        return Decimal(0)
    context = Context(prec=len(text) + 60)
    amount = amount.quantize(Decimal("1e-18"), ROUND_HALF_UP, context)
    return amount if abs(amount) <= 10**14 else Decimal(0)


def day_of(text: str | None, window: Window) -> date:
    """The charge day of a start, UNSURE when this reading does not know."""
    day = _utc_day(text or "")
    if day is None:
        return window.delivery
    if day is UNSURE or window.first <= day <= window.last:
        return day
    return window.delivery


def _utc_day(text: str) -> date | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return UNSURE if re.match(r"\s*[+-]?[0-9]", text) else None
    parts = [int(p) for p in (*found.group(1, 2, 3), *_clock(found))]
    try:
        moment = datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return UNSURE if parts[5] == 60 or parts[0] == 0 else None
    zone = found.group(7)
    if zone in (None, "Z"):
        return moment.date()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 14 or minutes > 59 or not 1 < moment.year < 9999:
        return UNSURE
    offset = timedelta(hours=hours, minutes=minutes)
    return (moment - offset if zone[0] == "+" else moment + offset).date()


def _clock(found: re.Match[str]) -> tuple[str, str, str]:
    hour, minute, second = found.group(4, 5, 6) if found.group(4) else found.group(8, 9, 10)
    return hour or "0", minute or "0", second or "0"


def sums(rows: Iterable[Mapping[str, str | None]], window: Window) -> Sums:
    """Rows and cost by charge day and currency, of rows with `start`, `cost`, `currency`."""
    found: dict[tuple[date, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for row in rows:
        key = (day_of(row["start"], window), (row["currency"] or "").strip(_BLANKS))
        count, cost = found[key]
        found[key] = (count + 1, _EXACT.add(cost, cost_of(row["cost"])))
    return dict(found)


def as_kept(found: Sums, window: Window) -> Sums:
    """The ledger's sums as the books have them: early days count where they are rejected."""
    kept: dict[tuple[date, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for (day, currency), (rows, cost) in found.items():
        key = (window.delivery if day < window.first else day, currency)
        kept[key] = (kept[key][0] + rows, _EXACT.add(kept[key][1], cost))
    return dict(kept)


def by_currency(found: Sums) -> dict[str, tuple[int, Decimal]]:
    """The same over all days: what can be said where a day is not plain."""
    summed: dict[str, tuple[int, Decimal]] = {}
    for (_, currency), (count, cost) in found.items():
        rows, amount = summed.get(currency, (0, Decimal(0)))
        summed[currency] = (rows + count, _EXACT.add(amount, cost))
    return summed


def assert_same(found: Sums, expected: Sums) -> None:
    """Both hold the same rows and amounts, by day where every day is plain."""
    if all(day is not UNSURE for day, _ in expected):
        assert _alike(found, expected), f"{found} is not {expected}"
    assert _alike(by_currency(found), by_currency(expected)), f"{found} is not {expected}"


def _alike(
    found: Mapping[K, tuple[int, Decimal]], expected: Mapping[K, tuple[int, Decimal]]
) -> bool:
    return found.keys() == expected.keys() and all(
        found[key][0] == rows and (cost.is_nan() or found[key][1] == cost)
        for key, (rows, cost) in expected.items()
    )
