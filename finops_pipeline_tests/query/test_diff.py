"""What changed between two knowledge times, and why: worked examples of each cause."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.scopes import Scope, store_scopes
from finops_pipeline.query import CostQuery, QueryError
from finops_pipeline.query.diff import BY, Diff, diff
from finops_pipeline_tests.query.history import History, charge, day, moment

RULES = """
owners: [web, data]
tags: [{key: team, aliases: {shop: web}}]
pools: [{name: net, match: {ServiceName: [NETWORK]}, drivers: cost}]
"""
RATE = "2025-01-01,EUR,USD,1.1"


@pytest.fixture
def known(tmp_path: Path) -> Iterator[History]:
    """A company with rules, a rate, and one report of day 2."""
    made = History(tmp_path)
    made.rules(RULES)
    made.rates(RATE)
    made.deliver("first", charge("shop", "10", "a"), charge("data", "30", "b"))
    made.step()
    yield made


def compare(
    history: History,
    engine: DuckDBEngine,
    then: datetime,
    now: datetime | None = None,
    **query: object,
) -> Diff:
    asked = CostQuery.model_validate({"by": BY, **query})
    return diff(history.pipeline.home, engine, asked, then, now)


def told(found: Diff) -> dict[tuple[str | None, ...], list[tuple[str, str | None, Decimal]]]:
    """The causes by line, reports by the start of their names."""
    return {
        line.names: [
            (c.kind, c.report and c.report.rpartition("/")[2].partition(".")[0], c.change)
            for c in line.causes
        ]
        for line in found.lines
    }


def line(day_: int, owner: str, service: str = "COMPUTE") -> tuple[str, str, str]:
    return (day(day_).isoformat(), service, owner)


def test_nothing_changed(known: History, engine: DuckDBEngine) -> None:
    found = compare(known, engine, known.steps[0][0])
    assert found.lines == ()
    assert found.before == found.after == 40
    assert found.change == 0


def test_new_charges_come_from_their_report(known: History, engine: DuckDBEngine) -> None:
    known.deliver("late", charge("web", "2.5", "c"), charge("web", "1", "d", on=3))
    known.step()
    found = compare(known, engine, known.steps[0][0])
    assert told(found) == {
        line(2, "web"): [("new", "late", Decimal("2.5"))],
        line(3, "web"): [("new", "late", Decimal(1))],
    }
    assert (found.before, found.after, found.currency) == (40, Decimal("43.5"), "USD")
    assert [(i.before, i.after) for i in found.lines] == [(10, Decimal("12.5")), (0, 1)]
    assert found.lines[0].causes[0].delivered_at == datetime(2025, 1, 9, tzinfo=UTC)
    earlier = compare(known, engine, known.steps[0][0], known.steps[0][0])
    assert earlier.lines == ()


def test_a_restated_charge_names_the_later_report(known: History, engine: DuckDBEngine) -> None:
    known.deliver("restating", charge("web", "7", "a"), on=10)
    known.step()
    assert told(compare(known, engine, known.steps[0][0])) == {
        line(2, "web"): [("restated", "restating", Decimal(-3))]
    }


def test_a_correction_says_so(known: History, engine: DuckDBEngine) -> None:
    known.deliver("fix", charge("web", "-4", "fix-1", back="a"), on=10)
    known.step()
    assert told(compare(known, engine, known.steps[0][0])) == {
        line(2, "web"): [("corrected", "fix", Decimal(-4))]
    }


def test_a_correction_that_replaces_says_so(tmp_path: Path, engine: DuckDBEngine) -> None:
    known = History(tmp_path, corrections="replace")
    known.deliver("first", charge("shop", "10", "a"))
    known.step()
    known.deliver("fix", charge("web", "4", "fix-1", back="a"), on=10)
    known.step()
    assert told(compare(known, engine, known.steps[0][0])) == {
        line(2, "unallocated"): [("corrected", "fix", Decimal(-6))]
    }


def test_a_rewritten_report_takes_and_brings(known: History, engine: DuckDBEngine) -> None:
    known.deliver("first", charge("data", "30", "b"), charge("data", "5", "e"), on=11)
    known.step()
    assert told(compare(known, engine, known.steps[0][0])) == {
        line(2, "web"): [("rewritten", "first", Decimal(-10))],
        line(2, "data"): [("rewritten", "first", Decimal(5))],
    }


def test_other_rules(known: History, engine: DuckDBEngine) -> None:
    known.rules(RULES.replace("shop: web", "shop: data"))
    known.step()
    found = compare(known, engine, known.steps[0][0])
    assert told(found) == {
        line(2, "data"): [("rules", None, Decimal(10))],
        line(2, "web"): [("rules", None, Decimal(-10))],
    }
    assert found.change == 0


def test_rules_move_what_stayed_and_reports_bring_the_rest(
    known: History, engine: DuckDBEngine
) -> None:
    known.rules(RULES.replace("shop: web", "shop: data"))
    known.deliver("late", charge("shop", "2", "c"))
    known.step()
    assert told(compare(known, engine, known.steps[0][0])) == {
        line(2, "data"): [("rules", None, Decimal(10)), ("new", "late", Decimal(2))],
        line(2, "web"): [("rules", None, Decimal(-10))],
    }


def test_another_exchange_rate(known: History, engine: DuckDBEngine) -> None:
    known.deliver("euros", charge("web", "100", "c", currency="EUR"))
    then = known.step()
    known.rates(RATE.replace("1.1", "1.25"))
    known.step()
    assert told(compare(known, engine, then)) == {
        line(2, "web"): [("exchange rate", None, Decimal(15))]
    }
    assert compare(known, engine, then, currency="EUR").lines == ()


def test_a_rate_that_was_missing(known: History, engine: DuckDBEngine) -> None:
    known.deliver("pesos", charge("web", "1000", "c", currency="ARS"))
    then = known.step()
    known.rates(RATE, "2025-01-02,ARS,USD,0.001")
    known.step()
    found = compare(known, engine, then)
    assert told(found) == {line(2, "web"): [("exchange rate", None, Decimal(1))]}
    assert found.without_rate == {"ARS": (1, 0)}


def test_another_mapping(known: History, engine: DuckDBEngine) -> None:
    found = [Scope("ocid1.compartment.oc1..web", "new", "r"), Scope("r", "root", None)]
    store_scopes(known.pipeline.home.table("compartments"), "acme", found)
    known.step()
    assert told(compare(known, engine, known.steps[0][0], by=("scope",))) == {
        ("root/new",): [("mapping", None, Decimal(40))],
        (None,): [("mapping", None, Decimal(-40))],
    }


def test_a_pool_is_split_otherwise_when_direct_cost_changes(
    known: History, engine: DuckDBEngine
) -> None:
    known.deliver("net", charge(None, "8", "n", service="NETWORK"))
    then = known.step()
    known.deliver("late", charge("web", "20", "c"))
    known.step()
    # web : data was 10 : 30 and is 30 : 30, so of 8 web bears 4 and not 2.
    found = told(compare(known, engine, then))
    assert found.pop(line(2, "web")) == [("new", "late", Decimal(20))]
    assert {k[0::2]: v for k, v in found.items()} == {
        (day(2).isoformat(), "web"): [("shares", None, Decimal(2))],
        (day(2).isoformat(), "data"): [("shares", None, Decimal(-2))],
    }


def test_lines_left_out_are_summed_with_their_causes(known: History, engine: DuckDBEngine) -> None:
    known.deliver(
        "late", *(charge("web", cost, cost, on=n) for n, cost in ((3, "9"), (4, "5"), (5, "2")))
    )
    known.step()
    found = compare(known, engine, known.steps[0][0], by=("day",), top=1)
    assert told(found) == {
        (day(3).isoformat(),): [("new", "late", Decimal(9))],
        ("(other)",): [("new", "late", Decimal(7))],
    }
    assert sum(i.change for i in found.lines) == found.change == 16


def test_only_what_is_asked_for(known: History, engine: DuckDBEngine) -> None:
    known.deliver("late", charge("web", "2", "c"), charge("data", "3", "d", on=3))
    known.step()
    then = known.steps[0][0]
    assert told(compare(known, engine, then, by=(), filters={"owner": "web"})) == {
        (): [("new", "late", Decimal(2))]
    }
    assert told(compare(known, engine, then, by=("tag:team",), since=day(3))) == {
        ("data",): [("new", "late", Decimal(3))]
    }
    whole = compare(known, engine, then, by=("owner",), filters={"day": day(2).isoformat()})
    assert (whole.before, whole.after) == (40, 42)


def test_what_cannot_be_compared_is_refused(known: History, engine: DuckDBEngine) -> None:
    then = known.steps[0][0]
    with pytest.raises(QueryError, match="units"):
        compare(known, engine, then, metric="ConsumedQuantity", by=("unit",))
    with pytest.raises(QueryError, match="lies before"):
        compare(known, engine, moment(), then)
    with pytest.raises(QueryError, match="held no cost at 2020-01-01"):
        compare(known, engine, then.replace(year=2020, month=1, day=1))


def test_a_time_between_two_commits_is_no_in_between_state(
    known: History, engine: DuckDBEngine
) -> None:
    known.deliver("late", charge("web", "2", "c"))
    between = known.step(until="normalize")
    known.step()
    assert compare(known, engine, known.steps[0][0], between).lines == ()
    assert told(compare(known, engine, between)) == {line(2, "web"): [("new", "late", Decimal(2))]}
