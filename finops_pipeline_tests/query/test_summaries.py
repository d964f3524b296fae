"""Roll-ups answer as the costs themselves do, and only where they were made from just those."""

from __future__ import annotations

import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query import CostQuery, ask
from finops_pipeline.query.sources import files_to_read
from finops_pipeline.store.summaries import SUMMARIES, Summaries
from finops_pipeline_tests.query.made_lake import Charge, charge, home_with, store
from finops_pipeline_tests.query.test_as_of import now
from finops_pipeline_tests.query.test_random import CHARGES, QUERIES


def rolled_up(home: Home, engine: DuckDBEngine) -> Home:
    """The home with its roll-ups made."""
    summaries = Summaries(home, engine)
    summaries.run(summaries.stale_months())
    assert Summaries(home, engine).stale_months() == []
    return home


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(charges=CHARGES, query=QUERIES)
def test_a_rolled_up_lake_gives_the_same_answer(
    engine: DuckDBEngine, charges: list[Charge], query: dict[str, Any]
) -> None:
    if not query["by"]:
        query["top"] = None
    asked = CostQuery(**query)
    with tempfile.TemporaryDirectory() as folder:
        home = home_with(Path(folder), charges)
        plain = ask(home, engine, asked)
        assert set(files_to_read(home, asked)) <= {"allocated_costs"}
        again = ask(rolled_up(home, engine), engine, asked)
    assert again == plain


def which(home: Home, **query: Any) -> set[str]:
    return set(files_to_read(home, CostQuery(**query)))


def test_the_smallest_table_that_suffices_is_read(
    tmp_path: Path, engine: DuckDBEngine, charges: list[Charge]
) -> None:
    home = rolled_up(home_with(tmp_path, charges), engine)
    month, day, rows = "monthly_costs", "daily_costs", "allocated_costs"
    assert which(home) == which(home, by="resource,tag:env,month") == {month}
    assert which(home, by="day,service,owner") == {day}
    assert which(home, by="day,resource") == {rows}
    assert which(home, by="service", filters={"day": "2025-03-02"}) == {day}
    assert which(home, by="service", since="2025-03-02") == {day, month}
    assert which(home, by="resource", since="2025-03-02") == {rows, month}
    assert which(home, since="2025-03-01", until="2025-03-31") == {month}
    assert which(home, since="2025-05-01") == set()


def files_of(month: str, home: Home) -> dict[str, int]:
    """The roll-ups' files of a month, and when each was written."""
    paths = (Path(home.table(n).location(f)) for n in SUMMARIES for f in home.table(n).files(month))
    return {str(p): p.stat().st_mtime_ns for p in paths}


def test_a_late_roll_up_is_not_read(tmp_path: Path, engine: DuckDBEngine) -> None:
    april = date(2025, 4, 1)
    first = [charge("1"), charge("2", april)]
    home = rolled_up(home_with(tmp_path, first), engine)
    before = now()
    store(home, [*first, charge("5", april, ServiceName="Storage")])
    assert which(home, by="resource") == {"monthly_costs", "allocated_costs"}
    assert ask(home, engine, CostQuery(by=("month",))).total == Decimal(8)
    assert Summaries(home, engine).stale_months() == ["2025-04"]

    then = CostQuery(as_of=before)
    assert set(files_to_read(home, then)) == {"monthly_costs"}
    assert ask(home, engine, then).total == Decimal(3)

    versions = {n: home.table(n).version() for n in SUMMARIES}
    untouched = files_of("2025-03", home)
    rolled_up(home, engine)
    rolled_up(home, engine)
    assert files_of("2025-03", home) == untouched, "only the month of the late charge is rolled up"
    assert {n: home.table(n).version() for n in SUMMARIES} == {
        n: v + 1 for n, v in versions.items()
    }
    assert which(home) == {"monthly_costs"}


def test_a_month_that_vanished_leaves_its_roll_ups(tmp_path: Path, engine: DuckDBEngine) -> None:
    home = rolled_up(home_with(tmp_path, [charge("1"), charge("2", date(2025, 4, 1))]), engine)
    store(home, [charge("1")])
    rolled_up(home, engine)
    assert [f.partition for f in home.table("monthly_costs").files()] == [("2025-03",)]
    assert ask(home, engine, CostQuery()).total == 1
