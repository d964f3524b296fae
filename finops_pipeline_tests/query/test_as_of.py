"""Figures as they were known at a time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query import CostQuery, QueryError, ask
from finops_pipeline_tests.query.made_lake import charge, home_with, store


def now() -> datetime:
    """A moment that no commit shares: the log counts in milliseconds."""
    time.sleep(0.005)
    moment = datetime.now(UTC)
    time.sleep(0.005)
    return moment


def test_each_version_is_found_at_its_time(tmp_path: Path, engine: DuckDBEngine) -> None:
    before = now()
    home = home_with(tmp_path, [charge("1"), charge("2", ServiceName="Storage")])
    first = now()
    store(home, [charge("5"), charge("7", x_BusinessUnit="other")])
    second = now()

    def total(as_of: datetime | None) -> Decimal | None:
        return ask(home, engine, CostQuery(as_of=as_of)).total

    assert (total(first), total(second), total(None)) == (3, 12, 12)
    there = first.astimezone(datetime.now().astimezone().tzinfo)
    assert total(there) == total(first.replace(tzinfo=None)) == 3

    early = ask(home, engine, CostQuery(by=("service",), as_of=before))
    assert early.rows == () and early.as_of == before
    assert "The lake held no cost at" in early.note and "later time" in early.note


def test_the_owner_of_then_is_pruned_by_the_files_of_then(
    tmp_path: Path, engine: DuckDBEngine
) -> None:
    home = home_with(tmp_path, [charge("1", x_BusinessUnit="old")])
    first = now()
    store(home, [charge("1", x_BusinessUnit="new")])
    query = {"filters": {"owner": "old"}}
    assert ask(home, engine, CostQuery(**query, as_of=first)).total == 1
    assert ask(home, engine, CostQuery(**query)).note == "No charge matches."


def test_an_empty_lake_says_what_to_do(tmp_path: Path, engine: DuckDBEngine) -> None:
    for as_of in (None, datetime.now(UTC) - timedelta(days=1)):
        answer = ask(Home(tmp_path), engine, CostQuery(by=("owner",), as_of=as_of))
        assert (answer.rows, answer.total, answer.currency) == ((), Decimal(0), None)
        assert "finops run" in answer.note


def test_what_was_vacuumed_is_said_to_be_gone(tmp_path: Path, engine: DuckDBEngine) -> None:
    home = home_with(tmp_path, [charge("1")])
    first = now()
    old = home.table("allocated_costs").files()
    store(home, [charge("2")])
    Path(home.table("allocated_costs").location(old[0])).unlink()
    with pytest.raises(QueryError, match="was vacuumed; ask as of a later time"):
        ask(home, engine, CostQuery(as_of=first))
