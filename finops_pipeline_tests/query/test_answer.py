"""Sums, filters, periods, top, currencies: against plain Python over the same rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query import Answer, CostQuery, QueryError, ask
from finops_pipeline.query.dimensions import dimensions
from finops_pipeline.query.sources import files_to_read
from finops_pipeline_tests.query.made_lake import READS, Charge, charge, expected, home_with, read

D = Decimal
Asks = Callable[..., Answer]


@pytest.fixture
def asks(home: Home, engine: DuckDBEngine) -> Asks:
    def asked(**fields: Any) -> Answer:
        return ask(home, engine, CostQuery(**fields))

    return asked


def sums(answer: Answer) -> dict[tuple[Any, ...], Any]:
    assert len({row[:-1] for row in answer.rows}) == len(answer.rows)
    return {row[:-1]: row[-1] for row in answer.rows}


def test_every_dimension_is_tested() -> None:
    assert list(READS) == list(dimensions())


@pytest.mark.parametrize(
    "name", [*READS, "tag:env", "tag:Env", "tag:a/b~c", "tag:$x", "tag:missing"]
)
def test_groups_by_each_dimension(asks: Asks, charges: list[Charge], name: str) -> None:
    answer = asks(by=(name,))
    assert sums(answer) == expected(charges, (name,), "x_ReportingEffectiveCost")
    assert answer.total == sum(c["x_ReportingEffectiveCost"] or 0 for c in charges)
    assert answer.columns == (name, "EffectiveCost")


@pytest.mark.parametrize("name", [*READS, "tag:env", "tag:a/b~c", "tag:$x"])
def test_filters_and_excludes_each_value_of_each_dimension(
    asks: Asks, charges: list[Charge], name: str
) -> None:
    for value in {read(c, name) for c in charges}:
        asked = "(none)" if value is None else value
        for field, keeps in (("filters", True), ("exclude", False)):
            left = [c for c in charges if (read(c, name) == value) == keeps]
            answer = asks(by="resource,day", **{field: {name: asked}})
            assert sums(answer) == expected(
                left, ("resource", "day"), "x_ReportingEffectiveCost"
            ), (field, value)


def test_tags_that_differ_only_in_case_are_two_columns(asks: Asks) -> None:
    assert ("prod", "other", D("10.000000000000000001")) in asks(by=("tag:env", "tag:Env")).rows


def test_a_tag_value_that_is_no_text_is_shown_as_text(asks: Asks) -> None:
    assert sums(asks(by="tag:n", filters={"tag:n": "3"})) == {("3",): D(7)}


def test_several_values_and_several_dimensions(asks: Asks, charges: list[Charge]) -> None:
    answer = asks(
        by="service",
        filters={"owner": ("retail", "shared's"), "month": "2025-03"},
        exclude={"day": "2025-03-01", "tag:env": ("nothing", "else")},
    )
    left = [c for c in charges if c["x_ChargeDay"] == date(2025, 3, 2)]
    assert sums(answer) == expected(left, ("service",), "x_ReportingEffectiveCost")


def test_gross_cost_excludes_credits_and_taxes(asks: Asks, charges: list[Charge]) -> None:
    gross = asks(exclude={"charge_category": ("Credit", "Tax")})
    left = [c for c in charges if c["ChargeCategory"] == "Usage"]
    assert gross.total == sum(c["x_ReportingEffectiveCost"] or 0 for c in left)
    assert gross.rows == ((gross.total,),)


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        (None, None, (1, 2, 32)),
        ("2025-03-02", None, (2, 32)),
        (None, "2025-03-02", (1, 2)),
        ("2025-03-02", "2025-03-02", (2,)),
    ],
)
def test_both_ends_of_a_period_are_in_it(
    asks: Asks, since: str | None, until: str | None, days: tuple[int, ...]
) -> None:
    found = {
        date.fromisoformat(str(row[0])) for row in asks(by="day", since=since, until=until).rows
    }
    assert {(day - date(2025, 2, 28)).days for day in found} == set(days)


def test_only_files_that_can_matter_are_read(home: Home) -> None:
    table = home.table("allocated_costs")

    def folders(**fields: Any) -> set[str]:
        read = files_to_read(home, CostQuery(**fields))
        files = read.pop("allocated_costs", [])
        assert not read  # this lake has no roll-ups
        return {Path(table.location(f)).parent.relative_to(table.root).as_posix() for f in files}

    aws = "x_Source=acme-aws/ProviderName=AWS/x_ChargeDay=2025-04-01/x_BusinessUnit=retail"
    assert folders(filters={"provider": "AWS"}) == {aws}
    assert folders(filters={"month": "2025-04"}, exclude={"source": "acme-oci"}) == {aws}
    assert len(folders(since="2025-03-02", until="2025-03-31")) == 2
    assert len(folders(exclude={"owner": ("retail", "unallocated")})) == 1
    assert len(folders(exclude={"month": "2025-04"})) == len(folders(until="2025-03-31")) == 3
    assert folders(filters={"day": "2024-01-01"}) == set()


def test_top_keeps_the_costliest_and_sums_the_rest(asks: Asks) -> None:
    answer = asks(by="service", top=1, exclude={"currency": "BRL"})
    compute = D("10.000000000000000001") + D("0.005") - 3 + 4 + 22
    assert answer.rows == (("Compute", compute), ("(other)", D(7)))
    assert answer.total == compute + 7
    assert asks(by="service", top=2, exclude={"currency": "BRL"}).rows[-1] == (
        "Object Storage",
        D(7),
    )


def test_other_knows_that_it_lacks_a_rate(asks: Asks) -> None:
    answer = asks(by="service", top=2)
    assert [row[0] for row in answer.rows] == ["Compute", "Object Storage", "(other)"]
    assert answer.incomplete == {0, 2}


def test_order_by_name_has_no_value_last_and_other_after_it(asks: Asks) -> None:
    assert [r[0] for r in asks(by="resource", order="name").rows] == ["bucket-1", "vm-1", None]
    assert [r[0] for r in asks(by="resource").rows] == [None, "vm-1", "bucket-1"]
    assert [r[0] for r in asks(by="resource", order="name", top=2).rows] == [
        "vm-1",
        None,
        "(other)",
    ]


def test_missing_rates_are_reported_with_what_they_hide(asks: Asks) -> None:
    answer = asks(by="currency")
    assert answer.without_rate == {"BRL": (2, D("1234.5"))}
    assert [answer.rows[i][0] for i in answer.incomplete] == ["BRL"]
    assert asks(filters={"currency": ("USD", "EUR")}).without_rate == {}
    assert asks(metric="ListCost").without_rate == {"BRL": (2, D(2469))}


def test_a_billing_currency_counts_only_what_is_billed_in_it(asks: Asks) -> None:
    answer = asks(by="service", currency="BRL")
    assert answer.rows == (("Block Volume", D(1000)), ("Compute", D("234.5")))
    assert (answer.currency, answer.without_rate) == ("BRL", {})
    assert answer.note == "Only charges billed in BRL count."
    assert asks(currency="EUR", metric="ContractedCost").total == 60


def test_two_reporting_currencies_are_never_added(tmp_path: Path, engine: DuckDBEngine) -> None:
    home = home_with(
        tmp_path, [charge("1"), charge("2", date(2025, 3, 2), x_ReportingCurrency="EUR")]
    )
    with pytest.raises(QueryError, match="converted to EUR and USD, which do not add up"):
        ask(home, engine, CostQuery())
    assert ask(home, engine, CostQuery(until=date(2025, 3, 1))).total == 1
    assert ask(home, engine, CostQuery(currency="USD")).total == 3


def test_quantities_have_one_unit_or_no_total(asks: Asks) -> None:
    answer = asks(metric="ConsumedQuantity", by="unit", filters={"currency": ("USD", "EUR")})
    assert sums(answer) == {
        ("GB",): D(35),
        ("Hours",): 5 * (D("10.000000000000000001") + D("0.005") + 20),
    }
    assert (answer.total, answer.currency) == (None, None)
    assert answer.note == "No total: quantities of different units do not add up."
    one = asks(metric="ConsumedQuantity", by="service", filters={"unit": "GB"}, top=1)
    assert (one.rows, one.total) == ((("Object Storage", D(35)),), D(35))


def test_sums_beyond_28_digits_are_exact(tmp_path: Path, engine: DuckDBEngine) -> None:
    costs = ["12345678901234567890.000000000000000001", "0.000000000000000003", "-1"]
    home = home_with(
        tmp_path, [charge(c, ListCost=D(0), ContractedCost=D(0), ConsumedQuantity=D(0),
                          ServiceName=f"s{i}") for i, c in enumerate(costs)],
    )  # fmt: skip
    answer = ask(home, engine, CostQuery(by=("service",), top=1))
    assert answer.total == D("12345678901234567889.000000000000000004")
    assert answer.rows[1] == ("(other)", D("-0.999999999999999997"))


def test_nothing_matches(asks: Asks) -> None:
    for fields in ({"filters": {"service": "Quantum"}}, {"since": "2030-01-01"}):
        answer = asks(by="service", **fields)
        assert (answer.rows, answer.total, answer.note) == ((), D(0), "No charge matches.")
    assert asks(filters={"service": "Quantum"}).rows == ()


@pytest.mark.parametrize("hostile", ["'; DROP VIEW asked_costs; --", "\\", '"', "%", "$1", "{}"])
def test_values_are_values(asks: Asks, hostile: str) -> None:
    for name in ("service", f"tag:{hostile}", "tag:env", "owner"):
        assert asks(by=name, filters={name: hostile}).note == "No charge matches."
