"""To the last digit: sums against Python's Decimal over the raw text, and the conversion."""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import cache
from pathlib import Path

import ibis
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finops_pipeline.contracts.forms import MONEY, RATE
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.normalize.expressions import convert
from finops_pipeline_tests.normalize.pipeline import (
    EXACT,
    NAMES,
    Pipeline,
    assert_balanced,
    line,
    lines,
)

DIGIT_18, DIGIT_12 = Decimal("1e-18"), Decimal("1e-12")
NUMBERS = st.decimals(
    min_value=Decimal(-(10**11)), max_value=Decimal(10**11), allow_nan=False, places=24
) | st.decimals(min_value=-1, max_value=1, allow_nan=False, places=18)


@st.composite
def costs(draw: st.DrawFn) -> str:
    """A number as some program would write it."""
    number = draw(NUMBERS)
    kind = draw(st.sampled_from(["plain", "short", "E", "e", "engineering", "blanks", "plus"]))
    text = format(number, "f")
    if kind == "short" and "." in text:
        return text.rstrip("0").rstrip(".") or "0"
    if kind in "Ee":  # with an exponent, of which 40 characters are read
        written = format(number, kind)
        return written if len(written) <= 40 else text
    if kind == "engineering":
        return number.normalize(EXACT).to_eng_string(EXACT)
    if kind == "blanks":
        return f" {text} "
    return f"+{text}" if kind == "plus" and number > 0 else text


def independent_sums(content: bytes, format_: str) -> dict[tuple[str, str], Decimal]:
    """Sums by day and currency with csv, gzip and Decimal."""
    short = NAMES[format_]
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    text = gzip.decompress(content).decode()
    with localcontext(EXACT):
        for row in csv.DictReader(io.StringIO(text, newline="")):
            cost = Decimal(row[short["cost"]]).quantize(DIGIT_18, ROUND_HALF_UP)
            sums[row[short["start"]][:10], row[short["currency"]]] += cost
    return dict(sums)


ROWS = st.lists(
    st.tuples(costs(), st.integers(1, 3), st.sampled_from(["USD", "EUR", "JPY"])),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("format_", ["oci_cost_csv", "oci_focus"])
@settings(max_examples=5, deadline=None)
@given(rows=ROWS)
def test_stored_sums_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory,
    format_: str,
    rows: list[tuple[str, int, str]],
) -> None:
    content = lines(
        *(
            line(format_, ref=f"r{i}", cost=cost, start=f"2026-09-0{day}T10:00Z", currency=currency)
            for i, (cost, day, currency) in enumerate(rows)
        )
    )
    pipeline = Pipeline(tmp_path_factory.mktemp("exact"), format_)
    pipeline.deliver("a.csv.gz", content)
    outcome = pipeline.run()
    assert_balanced(outcome)
    stored: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with localcontext(EXACT):
        for c in outcome.charges:
            stored[c["x_ChargeDay"].isoformat(), c["BillingCurrency"]] += c["BilledCost"]
    expected = independent_sums(content, format_)
    assert dict(stored) == expected
    books = {(b["charge_day"].isoformat(), b["currency"]): b for b in outcome.books}
    assert {key: book["delivered_cost"] for key, book in books.items()} == expected
    assert {key: book["stored_cost"] for key, book in books.items()} == expected


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine("200MB") as opened:
        yield opened


@cache
def _converted_sql() -> Sql:
    table = ibis.table({"n": "int64", "amount": MONEY, "rate": RATE}, name="pairs")
    converted = table.select(
        "n",
        other=convert(table.amount, table.rate, ibis.literal(False)),
        same=convert(table.amount, table.rate, ibis.literal(True)),
    ).order_by("n")
    return Sql(converted)


AMOUNTS = st.integers(-(10**30) + 1, 10**30 - 1) | st.integers(-(10**20), 10**20)
RATES = (
    st.integers(1, 10**20 - 1)
    | st.integers(1, 10**13)
    | st.sampled_from([10**12 // 2, 10**12, 1, 5, 15 * 10**11, 25 * 10**10])
)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(AMOUNTS, RATES), min_size=1, max_size=80))
@example(pairs=[(10**6, 5 * 10**11), (-(10**6), 5 * 10**11), (3 * 10**6, 5 * 10**11)])
@example(pairs=[(5 * 10**5, 10**12), (-5 * 10**5, 10**12), (499999, 10**12), (-500001, 10**12)])
@example(pairs=[(10**30 - 1, 10**20 - 1), (-(10**30) + 1, 10**20 - 1), (1, 1), (-1, 1)])
def test_conversion_is_rounded_once_half_up(
    engine: DuckDBEngine, pairs: list[tuple[int, int]]
) -> None:
    with localcontext(EXACT):
        amounts = [Decimal(a).scaleb(-18) for a, _ in pairs]
        rates = [Decimal(r).scaleb(-12) for _, r in pairs]
        expected = [
            (a * r).quantize(DIGIT_12, ROUND_HALF_UP) for a, r in zip(amounts, rates, strict=True)
        ]
    engine.bind_arrow(
        "pairs",
        pa.table(
            {
                "n": list(range(len(pairs))),
                "amount": pa.array(amounts, pa.decimal128(38, 18)),
                "rate": pa.array(rates, pa.decimal128(20, 12)),
            }
        ),
    )
    found = engine.rows(_converted_sql()).to_pylist()
    assert [row["other"] for row in found] == expected
    assert [row["same"] for row in found] == amounts


def test_reporting_cost_is_the_cost_at_the_rate_of_its_day(tmp_path: Path) -> None:
    pipeline = Pipeline(
        tmp_path, rates={("EUR", "2026-09-08"): "1.123456789012", ("EUR", "2026-09-09"): "0.5"}
    )
    spelled = {"2026-09-08": "123456789012.123456789012345678", "2026-09-09": "0.000000000001"}
    pipeline.deliver(
        "a.csv.gz",
        lines(
            *(
                line(ref=day, start=f"{day}T10:00Z", end=f"{day}T11:00Z", cost=cost, currency="EUR")
                for day, cost in spelled.items()
            )
        ),
    )
    found = {c["x_ReferenceNumber"]: c for c in pipeline.run().charges}
    with localcontext(EXACT):
        first = (Decimal(spelled["2026-09-08"]) * Decimal("1.123456789012")).quantize(
            DIGIT_12, ROUND_HALF_UP
        )
    assert found["2026-09-08"]["x_ReportingBilledCost"] == first
    # A tie: half of 10^-12, up.
    assert found["2026-09-09"]["x_ReportingBilledCost"] == DIGIT_12
