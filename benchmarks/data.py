"""The data of the benchmark: a made tenancy's OCI cost reports, a late one, and a configuration.

Made once for each size and kept; `python -m benchmarks.data FOLDER ROWS DAYS` makes it, in a
process of its own. `data.json` is written last and says what there is.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.measure import REPOSITORY

FACTS = "data.json"
LATE = "late-report.csv.gz"
LATE_DAYS = 3
RULES = REPOSITORY / "finops_pipeline" / "demo" / "data" / "rules.yaml"
TENANCY = "acme-oci"
REPORTS = "reports/cost-csv"
_LATE_ROWS_A_DAY = 300
_START, _REFERENCE = "lineItem/intervalUsageStart", "lineItem/referenceNo"
_LAST_DAY = date(2026, 9, 4)  # charges of days to come would be rejected


def reports(source: Path) -> list[Path]:
    """The cost reports of a tenancy's folder, in order."""
    return sorted((source / REPORTS).glob("*.csv.gz"))


def lay_out(data: Path, folder: Path) -> None:
    """A folder to run the pipeline in: configuration, and the reports as hard links.

    The rules are the demo's of today: kept with the data they would grow older than the code.
    """
    folder.mkdir(parents=True)
    shutil.copy(data / "finops.yaml", folder / "finops.yaml")
    shutil.copy(RULES, folder / "rules.yaml")
    shutil.copy(REPOSITORY / "dagster.yaml", folder / "dagster.yaml")
    shutil.copytree(data / TENANCY, folder / TENANCY, copy_function=os.link)


def deliver_late(data: Path, folder: Path) -> None:
    """Put the late report where a delivery would."""
    os.link(data / LATE, folder / TENANCY / REPORTS / "0009000000000001-00001.csv.gz")


def report_in(folder: Path, currency: str) -> None:
    """Change the reporting currency: then every charge day must be made again."""
    settings = folder / "finops.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("reporting_currency: USD", f"reporting_currency: {currency}"))


def make(folder: Path, rows: int, days: int) -> None:
    """Make all of it in a folder that is not there yet."""
    from finops_pipeline.demo import make_tenancy

    first_day = _LAST_DAY - timedelta(days=days - 1)
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    source = partial / TENANCY
    truth = make_tenancy(
        source, days=days, rows=rows, formats={"cost"}, tenancy=TENANCY, first_day=first_day
    )
    files = reports(source)
    late_rows = _make_late(files, partial / LATE, first_day)
    cost = sum(day.net_cost for day in truth.days)
    (partial / "finops.yaml").write_text(
        _settings(str(round(cost, 2)), first_day), encoding="utf-8"
    )
    facts = {
        "rows": truth.rows,
        "days": days,
        "reports": len(files),
        "gz_bytes": sum(f.stat().st_size for f in files),
        "csv_bytes": sum(_size(f) for f in files),
        "late_rows": late_rows,
        "net_cost": str(cost),
    }
    (partial / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    partial.rename(folder)


def _size(report: Path) -> int:
    with gzip.open(report) as file:
        return sum(map(len, iter(lambda: file.read(1 << 20), b"")))


def _make_late(files: list[Path], target: Path, first_day: date) -> int:
    """A report of charges of three old days, delivered after all others. Returns its rows."""
    days = [(first_day + timedelta(days=n)).isoformat() for n in range(LATE_DAYS)]
    chosen: dict[str, list[dict[str, str]]] = {day: [] for day in days}
    header: list[str] = []
    for row in _rows(files):
        header = header or list(row)
        of_day = chosen.get(row[_START][:10])
        if of_day is not None and len(of_day) < _LATE_ROWS_A_DAY:
            of_day.append({**row, _REFERENCE: "V2.LATE" + row[_REFERENCE][7:]})
        if all(len(c) == _LATE_ROWS_A_DAY for c in chosen.values()):
            break
    with gzip.open(target, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="", extrasaction="ignore")
        writer.writeheader()
        for of_day in chosen.values():
            writer.writerows(of_day)
    delivered = datetime.combine(_LAST_DAY + timedelta(days=26), datetime.min.time(), UTC)
    stamp = int(delivered.timestamp())
    os.utime(target, (stamp, stamp))
    return sum(map(len, chosen.values()))


def _rows(files: list[Path]) -> Iterator[dict[str, str]]:
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def _settings(cost: str, first_day: date) -> str:
    budgets = [("company", "[]"), ("search", "[search]"), ("data-platform", "[data-platform]")]
    lines = [
        "reporting_currency: USD",
        "home: home",
        f"first_day: {first_day}",
        f"sources: [{{name: {TENANCY}, format: oci_cost_csv, location: 'file:{TENANCY}'}}]",
        "rules: rules.yaml",
        "budgets:",
    ]
    for name, owners in budgets:
        filters = f", filters: {{owner: {owners}}}" if owners != "[]" else ""
        lines.append(f"  - {{name: {name}, amount: '{cost}'{filters}, thresholds: [5, 50, 100]}}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
