"""Files of the lake that are cut short, or gone: told without a traceback, and made again."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline_tests.cli.place import Place, row

ROWS = (row("1.5"), row("2", "2025-01-03"), row("4", "2025-01-04"), row("x", "2025-01-04"))
MADE_AGAIN = (
    "focus_costs", "rejected_rows", "conservation", "ownership", "allocated_costs", "daily_totals",
    "daily_costs", "monthly_costs",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.configure()
    place.deliver("0001", *ROWS)
    assert place.finops("run").exit_code == 1  # a row is rejected
    return place


def figures(place: Place) -> dict[str, Decimal]:
    answer = place.finops("costs", "--by", "day,service,owner", "--format", "json")
    return {r["day"]: Decimal(r["EffectiveCost"]) for r in json.loads(answer.stdout)["rows"]}


def lake(place: Place) -> dict[str, bytes]:
    root = place.folder / "home" / "lake"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.parquet")}


def of_table(place: Place, name: str) -> list[Path]:
    return sorted((place.folder / "home" / "lake" / name).rglob("*=*/*.parquet"))


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_what_is_made_from_the_archive_is_made_again(place: Place, how: str) -> None:
    before, files = figures(place), lake(place)
    assert before == {"2025-01-02": Decimal("1.5"), "2025-01-03": 2, "2025-01-04": 4}
    for name in MADE_AGAIN:
        (first, *_) = of_table(place, name)
        if how == "cut":
            first.write_bytes(first.read_bytes()[:100])
        else:
            first.unlink()
    result = place.finops("run", "--full")
    assert "Traceback" not in result.output
    assert "is damaged or gone, and is made again" in result.output
    assert figures(place) == before
    assert {n for n, content in lake(place).items() if files.get(n) != content} == set()
    assert lake(place).keys() == files.keys()
    versions = place.versions()
    place.finops("run", "--full")
    assert place.versions() == versions


@pytest.mark.parametrize("name", MADE_AGAIN)
def test_a_table_that_is_gone_is_made_again(place: Place, name: str) -> None:
    before = figures(place)
    shutil.rmtree(place.folder / "home" / "lake" / name)
    place.finops("run", "--full")
    assert figures(place) == before
    assert "nothing new" in place.finops("run").output


def test_an_empty_commit_takes_no_day_out_of_the_figures(place: Place) -> None:
    # What a power cut may leave of a file that was not on the disk yet.
    before = figures(place)
    shutil.rmtree(place.folder / "home" / "lake" / "rejected_rows")
    log = place.folder / "home" / "lake" / "focus_costs" / "_delta_log"
    sorted(log.glob("*.json"))[-1].write_bytes(b"")
    place.finops("run")
    assert figures(place) == before


@pytest.mark.parametrize("name", ["focus_costs", "reports"])
def test_a_log_that_is_cut_is_told(place: Place, name: str) -> None:
    root = place.folder / "home" / "lake" / name
    newest = sorted((root / "_delta_log").glob("*.json"))[-1]
    newest.write_bytes(newest.read_bytes()[:300])
    result = place.finops("run")
    said = " ".join(result.output.split())
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert f"{root}: the log of this table of the lake is damaged. Restore" in said
    assert ("move it away and run" in said) == (name != "reports")
    if name == "focus_costs":  # the cure that is told is one
        shutil.move(root, place.folder / "away")
        place.finops("run", "--full")
        assert sum(figures(place).values()) == Decimal("7.5")


@pytest.mark.parametrize("name", ["focus_costs", "reports"])
@pytest.mark.parametrize("command", [("run",), ("export", "--out", "out.csv"), ("rejected",)])
def test_a_file_that_is_cut_is_told(place: Place, name: str, command: tuple[str, ...]) -> None:
    (file, *_) = of_table(place, name)
    file.write_bytes(file.read_bytes()[:100])
    (place.folder / "home" / "warehouse.duckdb").unlink()
    result = place.finops(*command)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if command[0] == "run" or (command[0], name) == ("export", "focus_costs"):
        said = "".join(result.output.split())
        assert result.exit_code == 1
        assert f"{file}:thisfileofthelakeisdamagedorgone." in said
        assert ("finopsrun--full" in said) == (name == "focus_costs")
        assert ("restoreitfromabackup" in said) == (name == "reports")
