"""The bank's rates, a currency at a time, are those of its whole history."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext

from currency_converter import CurrencyConverter, RateNotFoundError

from finops_pipeline.normalize.rates import Rates, last_ecb_day


def test_every_currency_is_as_the_whole_history_has_it() -> None:
    whole = CurrencyConverter(decimal=True)
    rates = Rates("USD", None, 0)
    found = 0
    for number in range(0, (last_ecb_day() - date(1998, 12, 20)).days + 20, 31):
        day = date(1998, 12, 20) + timedelta(days=number)
        for currency in sorted(whole.currencies - {"USD", "EUR"}):
            rate = rates.of(currency, day)
            try:
                per_euro = [
                    whole.convert(Decimal(1), "EUR", c, date=day) for c in (currency, "USD")
                ]
            except RateNotFoundError:
                assert rate is None, (currency, day)
                continue
            with localcontext(prec=60):
                expected = (per_euro[1] / per_euro[0]).quantize(Decimal("1e-12"), ROUND_HALF_UP)
            assert rate is not None and rate.rate == expected, (currency, day)
            found += 1
    assert found > 5_000


def test_a_currency_that_the_bank_never_had_has_no_rate() -> None:
    day = last_ecb_day()
    rates = Rates("EUR", None, 7)
    assert [rates.of(code, day) for code in ("AED", "Date", "", "XXX")] == [None] * 4
    assert rates.of("USD", day) is not None
