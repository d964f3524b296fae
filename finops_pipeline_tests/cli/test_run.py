"""`finops run` on reports that the project never saw: what it says, keeps, and exits with."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from finops_pipeline import console
from finops_pipeline.cli import app
from finops_pipeline_tests.cli.place import Place, finops, row


def total(place: Place, *arguments: str) -> Decimal:
    """What `finops costs` says in the billing currency."""
    done = place.finops("costs", "--currency", "USD", "--format", "json", *arguments)
    assert done.exit_code == 0, done.stderr
    return Decimal(json.loads(done.stdout)["total"])


def shown(place: Place, sql: str) -> list[Any]:
    """What a SQL client sees."""
    with duckdb.connect(str(place.folder / "home" / "warehouse.duckdb"), read_only=True) as c:
        return c.execute(sql).fetchall()


def test_reports_are_run_and_json_stands_alone_on_stdout(place: Place) -> None:
    place.deliver("one", row("1.5"), row("0.000000000000000001", team="search"))
    place.deliver("two", row("2", day="2025-01-03"))

    first = finops(place.folder, ["run", "--format", "json"])  # a process of its own

    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == {
        "delivered": {"acme-oci": 2},
        "rebuilt": {"acme-oci": ["2025-01-02", "2025-01-03"]},
        "company_days": ["2025-01-02", "2025-01-03"],
        "findings": [],
        "problems": [],
    }
    assert "Traceback" not in first.stderr and "Warning" not in first.stderr
    assert total(place) == Decimal("3.500000000000000001")

    before = place.versions()
    again = place.finops("run")
    assert again.exit_code == 0
    assert "nothing new" in again.stderr and not again.stdout
    assert place.versions() == before


def test_with_nothing_new_no_large_library_is_loaded(place: Place) -> None:
    place.deliver("one", row("1.5"))
    assert place.finops("run").exit_code == 0
    script = (
        "import atexit, sys; from finops_pipeline.cli import main; "
        "atexit.register(lambda: print(*{m.partition('.')[0] for m in sys.modules})); "
        "sys.argv = ['finops', 'run']; main()"
    )
    again = subprocess.run(
        [sys.executable, "-c", script], cwd=place.folder, capture_output=True, text=True
    )
    assert again.returncode == 0 and "nothing new" in again.stderr, again.stderr
    loaded = set(again.stdout.split())
    assert {"pyarrow", "deltalake", "finops_pipeline"} <= loaded
    assert not loaded & {"pandas", "dagster", "oci", "boto3", "requests", "pandera", "pyspark"}


def test_an_unreadable_report_is_told_until_it_is_mended(place: Place) -> None:
    place.deliver("good", row("1.5"))
    place.deliver_bytes("bad", b"no gzip, no CSV")

    for said in ("2 new reports", "nothing new"):
        done = place.finops("run")
        assert done.exit_code == 1
        assert said in done.stderr
        (problem,) = [p for p in done.stderr.splitlines() if p.startswith("problem: ")]
        assert "acme-oci: bad.csv.gz: " in problem
        assert total(place) == Decimal("1.5")
    assert shown(place, "SELECT name FROM reports WHERE status = 'unreadable'") == [("bad.csv.gz",)]

    place.deliver("bad", row("2.5"), on=date(2025, 1, 4))
    mended = place.finops("run")
    assert mended.exit_code == 0, mended.stderr
    assert total(place) == 4


def test_the_catalogue_shows_a_report_that_brought_no_cost(place: Place) -> None:
    place.deliver("good", row("1.5"))
    assert place.finops("run").exit_code == 0
    place.deliver_bytes("bad", b"no gzip, no CSV")

    assert place.finops("run").exit_code == 1

    assert len(shown(place, "SELECT * FROM reports")) == 2


def test_a_catalogue_that_was_lost_is_made_again(place: Place) -> None:
    place.deliver("good", row("1.5"))
    assert place.finops("run").exit_code == 0
    (place.folder / "home" / "warehouse.duckdb").unlink()

    assert place.finops("run").exit_code == 0

    assert len(shown(place, "SELECT * FROM allocated_costs")) == 1


def test_a_rejected_row_is_listed_with_its_place(place: Place) -> None:
    place.deliver("mixed", row("1.5"), row("125x"))

    done = place.finops("run", "--format", "json")

    assert done.exit_code == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert "2025-01-02" in problem and "1 rows rejected" in problem and "finops rejected" in problem
    assert f"problem: {problem}" in done.stderr
    assert total(place) == Decimal("1.5")

    listed = place.finops("rejected", "--format", "json")
    assert listed.exit_code == 0
    (found,) = json.loads(listed.stdout)
    assert (found["report"], found["report_row"]) == ("mixed.csv.gz", "2")
    assert (found["column"], found["value"]) == ("cost/myCost", "125x")
    assert found["reason"]
    assert "mixed.csv.gz" in place.finops("rejected").stdout
    assert place.finops("rejected", "--format", "csv").stdout.count("\n") == 2
    other = place.finops("rejected", "--from", "2025-01-03", "--format", "json")
    assert json.loads(other.stdout) == []


def test_a_missing_rate_is_told_by_run_and_by_costs(place: Place) -> None:
    place.deliver("one", row("1.5"), row("700", currency="ARS"))

    for _ in range(2):
        done = place.finops("run")
        assert done.exit_code == 1
        assert "2025-01-02: ARS: 1 charges have no exchange rate" in done.stderr
        assert "`rates:` in finops.yaml" in done.stderr

    costs = place.finops("costs", "--format", "json")
    assert costs.exit_code == 1
    answer = json.loads(costs.stdout)
    assert answer["total"] == "1.5"
    assert answer["without_rate"] == [{"currency": "ARS", "rows": 1, "cost": "700"}]
    assert "700.00 ARS, no exchange rate known" in costs.stderr

    (place.folder / "rates.csv").write_text("date,from,to,rate\n2025-01-02,ARS,USD,0.001\n")
    place.configure(rates="rates.csv")
    done = place.finops("run")
    assert done.exit_code == 0, done.stderr
    assert place.finops("costs", "--format", "csv").stdout == "EffectiveCost\n2.2\n"


def test_only_the_days_asked_for_are_rebuilt(place: Place) -> None:
    days = ("2025-01-01", "2025-01-02", "2025-01-03")
    place.deliver("one", *(row("1", day=d) for d in days))

    done = place.finops("run", "--from", days[1], "--to", days[1], "--format", "json")

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["rebuilt"] == {"acme-oci": [days[1]]}
    assert total(place) == 1
    assert place.finops("run").exit_code == 0
    assert total(place) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--source", "acme-aws"], "no source is named 'acme-aws'; finops.yaml has: acme-oci"),
        (["--from", "2025-01-03", "--to", "2025-01-02"], "from 2025-01-03 to 2025-01-02 ends"),
        (["--from", "January"], "January"),
        (["--format", "xml"], "xml"),
    ],
)
def test_wrong_use_of_run(place: Place, arguments: list[str], expected: str) -> None:
    done = place.finops("run", *arguments)
    assert done.exit_code == 2
    assert expected in done.stderr and not done.stdout
    assert not (place.folder / "home").exists()


def test_no_source_is_wrong_use(place: Place) -> None:
    place.configure(sources=[])
    done = place.finops("run")
    assert done.exit_code == 2 and "`sources:`" in done.stderr


def test_a_wrong_rules_file_is_wrong_use(place: Place) -> None:
    place.configure(rules="rules.yaml")
    (place.folder / "rules.yaml").write_text("owner: [a]", encoding="utf-8")
    done = place.finops("run")
    assert done.exit_code == 2
    assert str(place.folder / "rules.yaml") in done.stderr and "owner" in done.stderr


def test_what_a_report_says_commands_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.say("acme: [red]x[/] :a: \x1b[2J\n  and more")
    assert (
        capsys.readouterr().err == "acme: [red]x[/] :a: \N{REPLACEMENT CHARACTER}[2J\n  and more\n"
    )


@pytest.mark.parametrize("marker", [None, "{"])
def test_a_demo_is_not_put_over_something_else(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "X" / "demo").mkdir(parents=True)
    if marker:
        (tmp_path / "X" / "demo" / "demo.json").write_text(marker, encoding="utf-8")
    done = CliRunner().invoke(app, ["demo", "--home", str(tmp_path / "X")])
    assert done.exit_code == 2
    assert "is not a demo" in done.stderr and "--home" in done.stderr


def test_a_demo_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "X").write_text("a file", encoding="utf-8")
    done = CliRunner().invoke(app, ["demo", "--home", str(tmp_path / "X")])
    assert done.exit_code == 2
    assert "cannot be written to" in done.stderr
