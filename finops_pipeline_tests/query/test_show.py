"""Table, JSON and CSV, as they are printed."""

from __future__ import annotations

import json
from decimal import Decimal
from textwrap import dedent

import pytest

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query import Answer, CostQuery, ask
from finops_pipeline.query.show import plain, rounded, show, warnings
from finops_pipeline_tests.query.made_lake import charge, home_with

D = Decimal


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_with(
        tmp_path_factory.mktemp("home"),
        [
            charge("1234567.885", ServiceName="Compute, bare [red]metal[/]"),
            charge("-0.004", ServiceName="Rounding", ResourceId="r\x1b[2J"),
            charge("100.10", ServiceName="Storage"),
            charge("1234.5", rate=None, ServiceName="Storage", BillingCurrency="BRL"),
        ],
    )


@pytest.fixture(scope="module")
def answer(shown: Home, engine: DuckDBEngine) -> Answer:
    return ask(shown, engine, CostQuery(by=("service", "resource"), top=2))


def text(golden: str) -> str:
    return dedent(golden).lstrip("\n")


def test_table(answer: Answer) -> None:
    assert show(answer) == text(
        """
          service                       resource   EffectiveCost USD
         ────────────────────────────────────────────────────────────
          Compute, bare [red]metal[/]   (none)          1,234,567.89
          Storage                       (none)               *100.10
          (other)                                               0.00
         ────────────────────────────────────────────────────────────
          total                                        *1,234,667.98
        Not in these sums: 1 row of 1,234.50 BRL, no exchange rate known.
        """
    )


def test_csv(answer: Answer) -> None:
    assert show(answer, "csv") == text(
        """
        service,resource,EffectiveCost
        "Compute, bare [red]metal[/]",,1234567.885
        Storage,,100.1
        (other),(other),-0.004
        """
    )


def test_json(answer: Answer) -> None:
    assert show(answer, "json") == text(
        """
        {
          "query": {
            "metric": "EffectiveCost",
            "by": [
              "service",
              "resource"
            ],
            "filters": {},
            "exclude": {},
            "since": null,
            "until": null,
            "currency": "reporting",
            "top": 2,
            "order": "cost",
            "as_of": null
          },
          "columns": [
            "service",
            "resource",
            "EffectiveCost"
          ],
          "rows": [
            {
              "service": "Compute, bare [red]metal[/]",
              "resource": null,
              "EffectiveCost": "1234567.885"
            },
            {
              "service": "Storage",
              "resource": null,
              "EffectiveCost": "100.1"
            },
            {
              "service": "(other)",
              "resource": "(other)",
              "EffectiveCost": "-0.004"
            }
          ],
          "total": "1234667.981",
          "currency": "USD",
          "without_rate": [
            {
              "currency": "BRL",
              "rows": 1,
              "cost": "1234.5"
            }
          ],
          "note": "",
          "problems": [
            "Not in these sums: 1 row of 1,234.50 BRL, no exchange rate known."
          ]
        }
        """
    )


def test_a_value_from_a_bill_cannot_command_the_terminal(shown: Home, engine: DuckDBEngine) -> None:
    answer = ask(shown, engine, CostQuery(by=("resource",)))
    assert "\x1b" not in show(answer) and "r\N{REPLACEMENT CHARACTER}[2J" in show(answer)
    assert json.loads(show(answer, "json"))["rows"][1]["resource"] == "r\x1b[2J"


def test_a_narrow_table_keeps_every_character_of_money(answer: Answer) -> None:
    assert "1,234,567.89" in show(answer, width=40)


def test_only_the_sum(shown: Home, engine: DuckDBEngine) -> None:
    answer = ask(shown, engine, CostQuery(currency="BRL"))
    assert show(answer) == text(
        """
          EffectiveCost BRL
         ───────────────────
                   1,234.50
        Only charges billed in BRL count.
        """
    )
    assert show(answer, "csv") == "EffectiveCost\n1234.5\n"
    assert warnings(answer) == []


def test_nothing(engine: DuckDBEngine, shown: Home) -> None:
    answer = ask(shown, engine, CostQuery(by=("owner",), filters={"owner": "nobody"}))
    assert show(answer) == "No charge matches.\n"
    assert show(answer, "csv") == "owner,EffectiveCost\n"
    told = json.loads(show(answer, "json"))
    assert (told["rows"], told["total"], told["currency"]) == ([], "0", None)


@pytest.mark.parametrize(
    ("amount", "full", "short"),
    [
        ("0E-18", "0", "0.00"),
        ("-0", "0", "0.00"),
        ("100", "100", "100.00"),
        ("1E+3", "1000", "1,000.00"),
        ("1E-18", "0.000000000000000001", "0.00"),
        ("2.675", "2.675", "2.68"),
        ("-2.675", "-2.675", "-2.68"),
        (
            "12345678901234567890.995000000000000000",
            "12345678901234567890.995",
            "12,345,678,901,234,567,891.00",
        ),
    ],
)
def test_amounts(amount: str, full: str, short: str) -> None:
    assert (plain(D(amount)), rounded(D(amount))) == (full, short)
