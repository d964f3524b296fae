"""Same seed, same bytes; as many rows as asked for; memory that does not follow the rows."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from finops_pipeline.demo import make_tenancy

_PEAK = """
import resource, sys
from pathlib import Path
from finops_pipeline.demo import make_tenancy
make_tenancy(Path(sys.argv[1]), days=7, rows=int(sys.argv[2]), formats={"cost"})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def _times(folder: Path) -> dict[str, float]:
    return {p.name: p.stat().st_mtime for p in folder.rglob("*.csv.gz")}


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_tenancy(tmp_path / name, days=4, rows=5000, seed=3)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")
    assert _times(tmp_path / "one") == _times(tmp_path / "two")


def test_formats_do_not_change_each_other(tmp_path: Path) -> None:
    make_tenancy(tmp_path / "both", days=3, rows=4000)
    make_tenancy(tmp_path / "one", days=3, rows=4000, formats={"focus"})
    both, one = _digests(tmp_path / "both"), _digests(tmp_path / "one")
    assert one.items() - both.items() == {("truth.json", one["truth.json"])}


def test_another_seed_makes_another_tenancy(tmp_path: Path) -> None:
    one = make_tenancy(tmp_path / "one", days=2, rows=3000, seed=1)
    two = make_tenancy(tmp_path / "two", days=2, rows=3000, seed=2)
    assert one.net_cost("USD") != two.net_cost("USD")


@pytest.mark.parametrize(
    ("days", "rows"), [(1, 3000), (3, 8000), (35, 5000), (10, 40_000), (90, 60_000), (35, 200_000)]
)
def test_as_many_rows_as_asked_for(tmp_path: Path, days: int, rows: int) -> None:
    truth = make_tenancy(tmp_path / "t", days=days, rows=rows, formats={"cost"})
    assert abs(truth.rows - rows) <= rows * 0.05
    assert sum(f.rows for f in truth.files) == truth.rows


def test_a_year_of_one_currency(tmp_path: Path) -> None:
    truth = make_tenancy(
        tmp_path / "t", days=365, rows=20_000, tenancy="acme-eu", formats={"focus"}
    )
    assert truth.currencies == ("EUR",)
    assert len(truth.days) == 365


def test_progress_is_told_and_ends_at_all_rows(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    truth = make_tenancy(
        tmp_path / "t", days=2, rows=3000, progress=lambda done, of: told.append((done, of))
    )
    assert told == sorted(told)
    assert told[-1][0] == truth.rows
    assert all(done <= of for done, of in told)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        make_tenancy(tmp_path, days=1, rows=1000)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_memory_does_not_follow_the_rows(tmp_path: Path) -> None:
    peaks = []
    for rows in (60_000, 600_000):
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(tmp_path / str(rows)), str(rows)],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(done.stdout) / 1024)
    # Ten times the rows would be some 300 MB more as text; what grows is the fleet alone.
    assert peaks[1] - peaks[0] < 60
