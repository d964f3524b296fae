"""`warehouse.duckdb`: a view for each table that holds something, a comment for each column."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.store.catalogue import (
    begin_catalogue,
    catalogue_is_current,
    publish_catalogue,
    refresh_catalogue,
)

BUDGETS = tables()["budget_status"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home below a folder whose name needs care, with a table of one day."""
    made = Home(tmp_path / "O'Brien, 100 % ; --")
    add(made, "2025-01-01", "1.5")
    return made


def add(home: Home, day: str, spent: str) -> None:
    """Let a day hold one row, in place of what it held."""
    table = home.table("budget_status")
    values = dict.fromkeys(BUDGETS.names) | {"budget": "b", "spent": Decimal(spent)}
    rows = pa.Table.from_pylist([values], schema=arrow_schema(BUDGETS))
    table.replace([(day,)], [table.write(LakeFile((day,), f"made-of-{spent}"), rows)])


def refresh(home: Home) -> dict[str, int]:
    with duckdb.connect(str(home.warehouse)) as connection:
        return refresh_catalogue(home, connection)


def ask(home: Home, sql: str) -> list[tuple[object, ...]]:
    """As any client of DuckDB would, with nothing but the file."""
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def spent(home: Home) -> list[Decimal]:
    return sorted(row[0] for row in ask(home, "SELECT spent FROM budget_status"))  # type: ignore[type-var, misc]


def test_there_is_a_view_for_each_table_with_data(home: Home) -> None:
    found = refresh(home)
    assert found == dict.fromkeys(tables(), 0) | {"budget_status": 1}
    assert ask(home, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal") == [
        ("budget_status", BUDGETS.description)
    ]


def test_every_column_has_its_comment(home: Home) -> None:
    refresh(home)
    comments = ask(
        home,
        "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'budget_status' "
        "ORDER BY column_index",
    )
    assert comments == [(c.name, c.description) for c in BUDGETS.columns]


def test_views_show_what_is_committed_and_no_more(home: Home) -> None:
    refresh(home)
    add(home, "2025-01-02", "2.5")
    add(home, "2025-01-01", "0.000000000000000001")
    table = home.table("budget_status")
    table.write(LakeFile(("2025-01-03",), "never-committed"), pa.Table.from_pylist(
        [dict.fromkeys(BUDGETS.names)], schema=arrow_schema(BUDGETS)
    ))  # fmt: skip
    assert spent(home) == [Decimal("1.5")]

    refresh(home)

    assert spent(home) == [Decimal("1e-18"), Decimal("2.5")]


def test_a_table_that_lost_its_data_loses_its_view(home: Home) -> None:
    refresh(home)
    home.table("budget_status").replace([("2025-01-01",)], [])
    refresh(home)
    assert ask(home, "SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_it_is_known_whether_the_views_are_current(home: Home) -> None:
    assert not catalogue_is_current(home)
    refresh(home)
    assert catalogue_is_current(home)
    add(home, "2025-01-02", "2.5")
    assert not catalogue_is_current(home)
    refresh(home)
    assert catalogue_is_current(home)
    home.warehouse.write_bytes(b"no database")
    assert not catalogue_is_current(home)


def test_nothing_to_show_needs_no_catalogue(tmp_path: Path) -> None:
    assert catalogue_is_current(Home(tmp_path / "nowhere"))


def test_a_clients_own_view_is_left_alone(home: Home) -> None:
    refresh(home)
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT '/x.parquet' AS file FROM budget_status")
    assert catalogue_is_current(home)
    refresh(home)
    assert ask(home, "SELECT file FROM mine") == [("/x.parquet",)]


def test_a_client_that_has_it_open_holds_up_nothing(home: Home) -> None:
    refresh(home)
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(c.execute('SELECT spent FROM budget_status').fetchall()[0][0], flush=True); "
        "sys.stdin.readline(); "
        "print(c.execute('SELECT spent FROM budget_status').fetchall()[0][0], flush=True)"
    )
    command = [sys.executable, "-c", script, str(home.warehouse)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        assert client.stdin
        assert client.stdout
        assert Decimal(client.stdout.readline()) == Decimal("1.5")
        add(home, "2025-01-01", "2.5")
        begin_catalogue(home)
        with duckdb.connect(str(home.warehouse_draft)) as connection:
            refresh_catalogue(home, connection)
        publish_catalogue(home)
        assert spent(home) == [Decimal("2.5")]
        client.stdin.write("\n")
        client.stdin.flush()
        assert Decimal(client.stdout.readline()) == Decimal("1.5")
