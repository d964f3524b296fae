"""A clock that jumps, between runs and within one: no report is lost, doubled or out of order.

The clock of this process is set with time-machine; that of the disk and of Delta's log is the
true one. Names of reports are chosen so that their order is not that of their delivery.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from click.testing import Result

from finops_pipeline.orchestration.run import Run
from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.faults.reader import rows_of, unbalanced

DAY, YEAR = timedelta(days=1), timedelta(days=365)
FIRST = date(2025, 1, 10)
EVENING = datetime(2025, 1, 10, 18, tzinfo=UTC)
RIGHT = (EVENING, EVENING + DAY, EVENING + 2 * DAY)


def charge(day: date, cost: str, ref: str = "") -> str:
    """A charge; one with the reference of another is a later version of it."""
    told = row(cost, day=day.isoformat())
    return told.replace(f"ref-{day}-{cost}", ref or f"ref-{day}-{cost}")


def deliver(place: Place, number: int) -> None:
    """The delivery of a day: a charge of that day, and the first day's charge once more."""
    today = FIRST + number * DAY
    place.deliver("zma"[number], charge(today, f"1{number}"), charge(FIRST, f"{number + 1}", "one"),
                  on=today)  # fmt: skip


def finops(place: Place, clock: datetime) -> Result:
    """`finops run` by that clock."""
    with time_machine.travel(clock, tick=True):
        return place.finops("run")


def told(place: Place, clocks: Sequence[datetime], number: int) -> None:
    """The delivery of that number, and a run by the clock of that number."""
    deliver(place, number)
    ran = finops(place, clocks[number])
    assert ran.exit_code == 0, ran.output


def standing(place: Place) -> dict[str, Any]:
    """The figures, the reports in the order of delivery and of archiving, the events."""
    home = place.folder / "home"
    assert unbalanced(home) == []
    reports = rows_of(home, "reports")
    order = ("delivered_at", "archived_at")
    return {
        "costs": sorted((r["charge_day"], r["billed_cost"]) for r in rows_of(home, "daily_totals")),
        "rejected": sum(r["rejected_rows"] for r in rows_of(home, "conservation")),
        "delivered": [(r["name"], r["delivered_at"]) for r in _by(reports, order[0])],
        "archived": [r["name"] for r in _by(reports, order[1])],
        "events": sorted(_thresholds(home)),
    }


def _by(reports: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return sorted(reports, key=lambda r: (r[name], r["delivered_at"]))


def _thresholds(home: Path) -> list[str]:
    lines = (home / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["data"]["threshold"] for line in lines]


def placed(folder: Path) -> Place:
    """A place with a budget that is exceeded on the second day."""
    folder.mkdir()
    place = Place(folder)
    place.configure(budgets=[{"name": "all", "amount": "20"}])
    return place


@dataclass(frozen=True)
class Right:
    """A place after each of the deliveries, where the clock was right."""

    folder: Path

    def after(self, deliveries: int, folder: Path) -> Place:
        """A copy of it after so many deliveries."""
        return Place(Path(shutil.copytree(self.folder / str(deliveries), folder / "place")))

    @property
    def end(self) -> dict[str, Any]:
        """What stands at the end."""
        return standing(Place(self.folder / str(len(RIGHT))))


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Right:
    """What stands where the clock was right."""
    made = Right(tmp_path_factory.mktemp("right"))
    place = placed(made.folder / "0")
    with chdir(made.folder):
        for number in range(len(RIGHT)):
            place = made.after(number, made.folder / "next")
            told(place, RIGHT, number)
            place.folder.rename(made.folder / str(number + 1))
    found = made.end
    assert [name for name, _ in found["delivered"]] == ["z.csv.gz", "m.csv.gz", "a.csv.gz"]
    assert found["archived"] == ["z.csv.gz", "m.csv.gz", "a.csv.gz"]
    assert [str(c).rstrip("0") for _, c in found["costs"]] == ["13.", "11.", "12."]
    assert found["rejected"] == 0 and found["events"] == ["100", "50", "80"]
    return made


@pytest.mark.parametrize(
    "clocks",
    [
        (RIGHT[0], RIGHT[1] - DAY, RIGHT[2] - DAY),
        (RIGHT[0], RIGHT[1], RIGHT[2] - DAY),
        (RIGHT[0], RIGHT[1] + YEAR, RIGHT[2]),
    ],
    ids=["a day behind", "a day back", "a year ahead and back"],
)
def test_between_runs(right: Right, tmp_path: Path, clocks: Sequence[datetime]) -> None:
    place = right.after(1, tmp_path)
    for number in (1, 2):
        told(place, clocks, number)
    assert standing(place) == right.end
    again = finops(place, RIGHT[2] + timedelta(hours=1))
    assert again.exit_code == 0 and "nothing new" in again.output
    assert standing(place) == right.end


def test_a_clock_that_is_a_year_behind_is_told(right: Right, tmp_path: Path) -> None:
    place = right.after(2, tmp_path)
    before = standing(place)
    deliver(place, 2)
    for _ in range(2):
        ran = finops(place, RIGHT[2] - YEAR)
        assert ran.exit_code == 1 and "Traceback" not in ran.output, ran.output
        assert "by this machine's clock it is 2024-01-13T18:00Z" in ran.output
        assert "Set the clock right, and run again" in ran.output
        assert standing(place) == before
    assert finops(place, RIGHT[2]).exit_code == 0
    assert standing(place) == right.end


@pytest.mark.parametrize("jump", [-DAY, -YEAR], ids=["a day back", "a year back"])
def test_within_a_run(
    right: Right, tmp_path: Path, jump: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = right.after(2, tmp_path)
    deliver(place, 2)
    rebuild = Run._rebuild

    def jumping(self: Run, source: Any) -> None:
        traveller.move_to(RIGHT[2] + jump)
        rebuild(self, source)

    with monkeypatch.context() as patched, time_machine.travel(RIGHT[2], tick=True) as traveller:
        patched.setattr(Run, "_rebuild", jumping)
        ran = place.finops("run")
    assert "Traceback" not in ran.output
    assert ran.exit_code == (1 if jump == -YEAR else 0), ran.output
    assert finops(place, RIGHT[2]).exit_code == 0
    assert standing(place) == right.end
