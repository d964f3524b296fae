"""The bank's rates, a currency at a time, are those of its whole history; a rates file is exact."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import pytest
from currency_converter import CurrencyConverter, RateNotFoundError

from finops_pipeline.config import ConfigError
from finops_pipeline.normalize.rates import Rates, last_ecb_day, read_rates


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


def test_a_rates_file_of_either_direction(tmp_path: Path) -> None:
    """The direction of the conversion wins over the other way round, whichever is first."""
    path = tmp_path / "rates.csv"
    path.write_text(
        "date,from,to,rate\n2025-01-02,EUR,USD,1.6\n2025-01-02, USD ,EUR,0.5\n"
        "2025-01-02,USD,EUR,0.50\n2025-01-03,EUR,USD,1.6\n2025-01-03,EUR,CHF,9\n"
        "2025-01-03,EUR,JPY,99999999.999999999999\n"
    )
    assert read_rates(path, "EUR") == {
        ("USD", date(2025, 1, 2)): Decimal("0.5"),
        ("USD", date(2025, 1, 3)): Decimal("0.625"),
        ("CHF", date(2025, 1, 3)): Decimal("0.111111111111"),
        ("JPY", date(2025, 1, 3)): Decimal("0.00000001"),
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2025-01-02,USD", "line 2: has more or fewer values"),
        ("2025-01-02,USD,EUR,0,5", "line 2: has more or fewer values"),
        ("2025-01-02,usd,EUR,0.5", "line 2: from 'usd': expected a code of ISO 4217"),
        ("2025-01-02,USD,Euro,0.5", "line 2: to 'Euro': expected a code of ISO 4217"),
        ("2025-01-02,EUR,EUR,0.5", "line 2: rate '0.5': expected 1 from EUR to EUR"),
        ("2025-01-02,USD,EUR,0.5\n2025-01-02,USD,EUR,0.7", "line 3: 2025-01-02 has two rates"),
        ("2025-01-02,USD,EUR,0.0000000000001", "expected a number between"),
        ("2025-01-02,EUR,USD,0.0000000100000001", "expected a number between"),
        ("2025-01-02,EUR,USD,99999999.9999999999999", "expected a number between"),
        ("2025-01-02,EUR,USD,1e99999", "expected a number between"),
        ("2025-01-02,EUR,USD,NaN", "expected a number between"),
        ('2025-01-02,USD,EUR,"0.5', "no CSV"),
        ("2025-01-02,USD,EUR,\xe9", "not UTF-8 at byte 37"),
    ],
)
def test_a_rates_file_that_cannot_be_meant_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_bytes(f"date,from,to,rate\n{line}\n".encode("latin-1"))
    with pytest.raises(ConfigError) as refused:
        read_rates(path, "EUR")
    assert said in str(refused.value) and str(path) in str(refused.value)


def test_a_rates_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such rates file"):
        read_rates(tmp_path, "EUR")
