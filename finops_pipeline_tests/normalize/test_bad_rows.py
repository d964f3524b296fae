"""Rows that break the contract: each is named with report, row, column, value and reason.

All of them stand in one report between good rows, so that each run shows too that none costs
another its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline_tests.normalize.pipeline import (
    DELIVERED,
    NAMES,
    Outcome,
    Pipeline,
    assert_balanced,
    line,
    lines,
    report,
    total,
)

NUMBER = "a plain number below 10^12"
TIME = "a time such as 2026-08-01T10:00Z"
BAD: dict[str, tuple[str, str, str]] = {
    # case: column, value, what the reason says
    "text": ("cost", "twelve", NUMBER),
    "comma": ("cost", "1,234.5", NUMBER),
    "decimal comma": ("cost", "1,5", NUMBER),
    "underscore": ("cost", "1_000", NUMBER),
    "underscore in exponent": ("cost", "1e1_0", NUMBER),
    "longer than is read right": ("cost", "0." + "0" * 40 + "5e41", NUMBER),
    "currency sign": ("cost", "$5", NUMBER),
    "not a number": ("cost", "NaN", NUMBER),
    "infinite": ("cost", "inf", NUMBER),
    "hexadecimal": ("cost", "0x10", NUMBER),
    "two points": ("cost", "1.2.3", NUMBER),
    "empty cost": ("cost", "", NUMBER),
    "too large": ("cost", "10000000000000", NUMBER),
    "too large by nothing": ("cost", "1000000000000", NUMBER),
    "too large below zero": ("cost", "-1e12", NUMBER),
    "larger than any column": ("cost", "99999999999999999999999", NUMBER),
    "empty reference": ("ref", "", "expected a value; it is empty"),
    "empty service": ("service", "", "expected a value; it is empty"),
    "30 February": ("start", "2026-02-30T10:00Z", TIME),
    "year 9999": ("start", "9999-12-31T10:00Z", TIME),
    "before the first day": ("start", "2019-12-31T10:00Z", TIME),
    "no time": ("start", "yesterday", TIME),
    "hour 25": ("start", "2026-09-09T25:00Z", TIME),
    "empty start": ("start", "", TIME),
    "end before start": ("end", "2026-09-09T09:00Z", "after the start"),
    "end at start": ("end", "2026-09-09T10:00Z", "after the start"),
    "end is 30 February": ("end", "2026-02-30T11:00Z", "after the start"),
    "end without end": ("end", "infinity", "after the start"),
    "empty end": ("end", "", "after the start"),
    "no such currency": ("currency", "ZZZ", "ISO 4217"),
    "currency in lower case": ("currency", "usd", "ISO 4217"),
    "empty currency": ("currency", "", "ISO 4217"),
}  # fmt: skip
FORMATS: tuple[str, ...] = ("oci_cost_csv", "oci_focus")


@dataclass(frozen=True)
class Ran:
    format: str
    outcome: Outcome


@pytest.fixture(scope="module", params=FORMATS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Bad rows at the even numbers, good ones (cost 1) at the odd."""
    format_: str = request.param
    rows = []
    for number, (column, value, _) in enumerate(BAD.values()):
        rows.append(line(format_, ref=f"good-{number}", cost="1"))
        rows.append(line(format_, **{"ref": f"bad-{number}", "cost": "3", column: value}))
    pipeline = Pipeline(tmp_path_factory.mktemp("bad"), format_)
    pipeline.deliver("day/bad.csv.gz", lines(*rows))
    return Ran(format_, pipeline.run())


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named(ran: Ran, case: str) -> None:
    column, value, reason = BAD[case]
    row = 2 * list(BAD).index(case) + 2
    found = [r for r in ran.outcome.rejected if r["report_row"] == row]
    assert len(found) == 1
    assert found[0]["report"] == "day/bad.csv.gz"
    assert found[0]["column"] == NAMES[ran.format][column]
    assert (found[0]["value"] or "") == value
    assert reason in found[0]["reason"]
    assert found[0]["currency"] == (value if column == "currency" else "USD")
    if column != "cost":
        assert found[0]["cost"] == 3
    # Where the day cannot be told, the row stands on the day that it was delivered on.
    assert (found[0]["charge_day"] == DELIVERED) == (column == "start")


def test_nothing_else_is_lost(ran: Ran) -> None:
    assert_balanced(ran.outcome)
    assert ran.outcome.costs == {f"good-{i}": Decimal(1) for i in range(len(BAD))}
    assert len(ran.outcome.rejected) == len(BAD)
    assert total(ran.outcome, "delivered_rows") == 2 * len(BAD)
    # Costs that can be read are delivered: 10^13 too (10^12 and its negative make nothing).
    readable = sum(3 for column, _, _ in BAD.values() if column != "cost")
    assert total(ran.outcome, "delivered_cost") == len(BAD) + readable + 10**13


GOOD_COSTS = {
    "-3.5": "-3.5",
    "35.2E-7": "0.00000352",
    "1e3": "1000",
    "1E+2": "100",
    "-5e-2": "-0.05",
    "+5": "5",
    ".5": "0.5",
    "5.": "5",
    "  7.25 ": "7.25",
    "0": "0",
    "-0": "0",
    "007.10": "7.1",
    "0.123456789012345678": "0.123456789012345678",
    "-0.123456789012345678": "-0.123456789012345678",
    "0.1000000000000000000000000": "0.1",
    "999999999999.999999999999999999": "999999999999.999999999999999999",
    "-999999999999.999999999999999999": "-999999999999.999999999999999999",
    "1e-18": "0.000000000000000001",
}
ROUNDED_COSTS = {
    "0.1234567890123456785": "0.123456789012345679",
    "0.1234567890123456784999999": "0.123456789012345678",
    "-0.1234567890123456785": "-0.123456789012345679",
    "-0.1234567890123456784": "-0.123456789012345678",
    "0.12345678901234567850000000000000000001": "0.123456789012345679",
    "1.5E-18": "0.000000000000000002",
    "-5E-19": "-0.000000000000000001",
    "4.9E-19": "0",
    "1e-400": "0",
    "12345.67890123456789012e-2": "123.456789012345678901",
    "-1.234567890123456789012345678901234E-7": "-0.000000123456789012",
}


@pytest.mark.parametrize("format_", FORMATS)
def test_every_spelling_of_a_number_keeps_its_digits(tmp_path: Path, format_: str) -> None:
    pipeline = Pipeline(tmp_path, format_)
    spelled = GOOD_COSTS | ROUNDED_COSTS
    pipeline.deliver("n.csv", report([line(format_, ref=c, cost=c) for c in spelled]))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.costs == {c: Decimal(value) for c, value in spelled.items()}
    assert [entry["rounded_rows"] for entry in outcome.ledger] == [len(ROUNDED_COSTS)]


def test_many_impossible_costs_overflow_no_sum(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver(
        "a.csv", report([line(ref=f"r{i}", cost="9" * (19 + i % 2)) for i in range(40)])
    )
    pipeline.deliver("b.csv", report([line(ref="fine", cost="2")]))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.costs == {"fine": Decimal(2)}
    assert [r["value"] for r in outcome.rejected] == ["9" * (19 + i % 2) for i in range(40)]


@pytest.mark.parametrize("cost", ["1000000000000", "-100000000000000.5", "9" * 19])
@pytest.mark.parametrize("currency", ["EUR", ""])
def test_a_cost_too_large_to_convert_costs_its_row_alone(
    tmp_path: Path, currency: str, cost: str
) -> None:
    pipeline = Pipeline(tmp_path, rates={("EUR", "2026-09-09"): "1.5"})
    rows = [line(ref="a", currency="EUR", cost="2"), line(ref="b", currency=currency, cost=cost)]
    pipeline.deliver("r.csv", report(rows))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert [c["x_ReportingBilledCost"] for c in outcome.charges] == [Decimal(3)]
    assert [r["report_row"] for r in outcome.rejected] == [2]


def test_other_numbers_must_be_numbers_too(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    columns = (
        "usage/billedQuantity", "cost/unitPrice", "cost/myCostOverage", "cost/attributedCost",
    )  # fmt: skip
    pipeline.deliver("a.csv", report([line(ref=c, cost="2", **{c: "much"}) for c in columns]))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert {(r["column"], r["value"], r["cost"]) for r in outcome.rejected} == {
        (c, "much", 2) for c in columns
    }


def test_a_long_value_is_shown_cut(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("a.csv", report([line(cost="x" * 5000)]))
    [row] = pipeline.run().rejected
    assert row["value"] == "x" * 200
