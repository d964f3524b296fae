"""`finops costs`, `rejected`, `export` and `doctor`: formats, wrong use, and an empty lake."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from finops_pipeline_tests.cli.place import Place, row


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where reports were run."""
    made = Place(tmp_path_factory.mktemp("shop"))
    made.deliver("one", row("1.005"), row("2", team="", day="2025-01-03"))
    made.configure()
    here = Path.cwd()
    os.chdir(made.folder)  # away from this project's own dagster.yaml
    try:
        assert made.finops("run").exit_code == 0
    finally:
        os.chdir(here)
    return made


def test_json_and_csv_stand_alone_on_stdout(shop: Place) -> None:
    asked = ("costs", "--by", "day,tag:team", "--order", "name")
    as_json = shop.finops(*asked, "--format", "json")
    as_csv = shop.finops(*asked, "--format", "csv")
    assert (as_json.exit_code, as_csv.exit_code) == (0, 0)
    assert not as_json.stderr and not as_csv.stderr
    rows = json.loads(as_json.stdout)["rows"]
    assert [tuple(r.values()) for r in rows] == [
        ("2025-01-02", "web", "1.005"), ("2025-01-03", None, "2"),
    ]  # fmt: skip
    assert list(csv.DictReader(io.StringIO(as_csv.stdout))) == [
        {k: v or "" for k, v in r.items()} for r in rows
    ]


def test_the_table_is_for_people(shop: Place) -> None:
    done = shop.finops("costs", "--by", "tag:team")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["web", "1.01"] in lines and ["(none)", "2.00"] in lines and ["total", "3.01"] in lines


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--from", "2025-01-03"], "2"),
        (["--to", "2025-01-02"], "1.005"),
        (["--where", "tag:team=web"], "1.005"),
        (["--where", "day=2025-01-02,2025-01-03"], "3.005"),
        (["--exclude", "tag:team=web"], "2"),
        (["--where", "owner=nobody"], "0"),
        (["--as-of", "2030-01-01T00:00:00Z"], "3.005"),
    ],
)
def test_what_is_asked_is_summed(shop: Place, arguments: list[str], expected: str) -> None:
    done = shop.finops("costs", "--format", "json", *arguments)
    assert done.exit_code == 0, done.stderr
    assert Decimal(json.loads(done.stdout)["total"]) == Decimal(expected)


def test_before_anything_was_known_there_is_a_word_instead_of_a_figure(shop: Place) -> None:
    done = shop.finops("costs", "--as-of", "2020-01-01")
    assert done.exit_code == 0
    assert "held no cost at 2020-01-01" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["costs", "--by", "colour"], "dimension 'colour' is unknown; allowed: account, "),
        (["costs", "--where", "colour=red"], "dimension 'colour' is unknown; allowed: account, "),
        (["costs", "--where", "owner"], "--where 'owner': expected dimension=value"),
        (["costs", "--metric", "Cost"], "allowed: EffectiveCost, BilledCost"),
        (["costs", "--currency", "dollars"], "currency 'dollars' is unknown"),
        (["costs", "--order", "size"], "allowed: cost, name"),
        (["costs", "--top", "3"], "name a dimension to group by"),
        (["costs", "--from", "2025-02-01", "--to", "2025-01-01"], "ends before it starts"),
        (["rejected", "--from", "2025-02-01", "--to", "2025-01-01"], "ends too early"),
        (["export", "--out", "x.parquet", "--from", "2026-01-01"], "no charges from 2026-01-01"),
        (["export", "--out", "x.parquet", "--source", "acme-aws"], "the lake holds acme-oci"),
        (["export", "--out", "x.xlsx"], ".parquet"),
        (["explain", "short"], "short"),
        (["statement", "--month", "2025-1"], "no date written as YYYY-MM"),
        (["statement", "--month", "2025-01", "--owner", "x"], "there is cost of: unallocated"),
    ],
)
def test_wrong_use_names_what_is_allowed(shop: Place, arguments: list[str], expected: str) -> None:
    done = shop.finops(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ") and expected in done.stderr
    assert not done.stdout


def test_an_empty_lake_says_what_to_do(place: Place) -> None:
    table = place.finops("costs")
    assert table.exit_code == 0 and "run `finops run`" in table.stdout
    answer = json.loads(place.finops("costs", "--format", "json").stdout)
    assert answer["rows"] == [] and "finops run" in answer["note"]
    assert "no row was rejected" in place.finops("rejected").stdout
    assert json.loads(place.finops("rejected", "--format", "json").stdout) == []
    export = place.finops("export", "--out", "x.parquet")
    assert export.exit_code == 2 and "finops run" in export.stderr


def test_doctor_finds_a_good_directory_good(place: Place) -> None:
    place.deliver("one", row(), on=datetime.now(UTC).date())
    done = place.finops("doctor")
    assert "FAIL acme-oci" not in done.stdout and "ok   acme-oci" in done.stdout
    found = json.loads(place.finops("doctor", "--format", "json").stdout)
    assert {f["place"] for f in found} == {"pipeline", "acme-oci"}
    assert all(set(f) == {"place", "name", "ok", "detail", "remedy"} for f in found)
    # Only the age of the installed exchange rates may be wrong, and that is the day's doing.
    assert {f["name"] for f in found if not f["ok"]} <= {"exchange rates"}

    (place.folder / "rates.csv").write_text("date,from,to,rate\n", encoding="utf-8")
    place.configure(rates="rates.csv")
    assert place.finops("doctor").exit_code == 0


def test_doctor_says_how_to_mend_a_missing_directory(place: Place) -> None:
    shutil.rmtree(place.folder / "reports")
    (place.folder / "home").write_text("a file", encoding="utf-8")

    done = place.finops("doctor")
    assert done.exit_code == 1
    assert "FAIL acme-oci" in done.stdout and str(place.folder / "reports") in done.stdout

    found = place.finops("doctor", "--format", "json")
    assert found.exit_code == 1
    bad = {(f["place"], f["name"]): f["remedy"] for f in json.loads(found.stdout) if not f["ok"]}
    assert all(bad.values())
    assert "is a file; remove it" in bad["pipeline", "home"]
    assert any(where == "acme-oci" for where, _ in bad)


def test_doctor_finds_old_reports_old(place: Place) -> None:
    place.deliver("one", row())
    done = place.finops("doctor")
    assert done.exit_code == 1
    assert "the newest is of 2025-01-03" in done.stdout and "Look at what copies" in done.stdout


def test_doctor_finds_a_cluster_that_only_one_of_two_files_names(place: Place) -> None:
    place.deliver("one", row(), on=datetime.now(UTC).date())
    rules = {
        "owners": [{"name": "web"}],
        "clusters": [{"name": n, "match": {"ServiceName": "OKE"}} for n in ("prod-1", "prod-2")],
    }
    (place.folder / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    usage = [{"name": n, "opencost": "exports"} for n in ("prod-1", "prod2")]
    place.configure(rules="rules.yaml", clusters=usage)
    done = place.finops("doctor", "--format", "json")
    assert done.exit_code == 1, done.stderr
    found = {f["detail"]: f["remedy"] for f in json.loads(done.stdout) if f["name"] == "cluster"}
    assert found.keys() == {"prod-1", "prod-2", "prod2"} and not found["prod-1"]
    assert "its usage splits nothing" in found["prod2"]
    assert "where its usage comes from" in found["prod-2"]


def test_statements_have_the_totals_of_costs(shop: Place) -> None:
    done = shop.finops("statement", "--month", "2025-01", "--format", "json")
    assert done.exit_code == 0, done.stderr
    told = {s["owner"]: s["now"] for s in json.loads(done.stdout)["statements"]}
    asked = shop.finops(
        "costs", "--by", "owner", "--where", "month=2025-01", "--format", "json"
    )  # fmt: skip
    assert told == {r["owner"]: r["EffectiveCost"] for r in json.loads(asked.stdout)["rows"]}
    assert shop.finops("statement", "--month", "2025-01").stdout.count("because of") == 1
    page = shop.finops("statement", "--month", "2025-01", "--format", "html")
    assert page.stdout.startswith("<!DOCTYPE html>")


def test_what_nobody_owns_is_told(shop: Place) -> None:
    done = shop.finops("unallocated", "--format", "json")
    assert done.exit_code == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["total"], content["by"]["service"]) == (
        "3.005", [{"value": "COMPUTE", "cost": "3.005"}],
    )  # fmt: skip
    less = shop.finops("unallocated", "--from", "2025-01-03")
    assert less.exit_code == 0 and less.stdout.startswith("Unallocated: 2.00 USD\n")


def test_tags_without_rules_say_what_to_write(shop: Place) -> None:
    done = shop.finops("tags")
    assert done.exit_code == 0 and "write `tags` into rules.yaml" in done.stdout
    assert json.loads(shop.finops("tags", "--format", "json").stdout)["tags"] == []
