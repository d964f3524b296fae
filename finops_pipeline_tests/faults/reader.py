"""What a home holds for a reader who shares no code with the package, and what is wrong with it.

The Delta log is replayed by hand: JSON lines of files that were added and removed. No library with
threads is used where a process may still be forked.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

DAY = {"x_ChargeDay", "charge_day", "delivery_day"}
METRICS = ("BilledCost", "EffectiveCost")
_EXACT = Context(prec=76)
Sums = dict[tuple[str, str], Decimal]


@dataclass(frozen=True)
class State:
    """A home as it stands: the files of each table's partitions, and all that lies beside."""

    tables: Mapping[str, Mapping[str, Mapping[str, str]]]
    beside: Mapping[str, str]


def files_of(root: Path) -> dict[str, dict[str, str]]:
    """The files that a table's log says are in it now: their partition values by path.

    The newest checkpoint has the state of its version; entries of the log lead on from there.
    """
    found: dict[str, dict[str, str]] = {}
    log = root / "_delta_log"
    begun = ""
    for checkpoint in sorted(log.glob("*.checkpoint.parquet"))[-1:]:
        begun = checkpoint.name.partition(".")[0]
        added = [row["add"] for row in _read(checkpoint) if row["add"]]
        found = {unquote(a["path"]): dict(a["partitionValues"]) for a in added}
    for entry in sorted(e for e in log.glob("*.json") if e.stem > begun):
        for line in entry.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            if "add" in action:
                found[unquote(action["add"]["path"])] = action["add"]["partitionValues"]
            elif "remove" in action:
                del found[unquote(action["remove"]["path"])]
    return found


def state_of(home: Path) -> State:
    """The state of a home: the digest of each file by table, day and path, and what is beside."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for root in sorted((home / "lake").glob("*")):
        if not (root / "_delta_log").is_dir():
            continue
        days: dict[str, dict[str, str]] = defaultdict(dict)
        for path, values in files_of(root).items():
            day = next((v for k, v in values.items() if k in DAY), "")
            days[day][path] = _digest(root / path)
        tables[root.name] = dict(days)
    return State(tables, dict(_beside(home)))


def _beside(home: Path) -> Iterator[tuple[str, str]]:
    """Archive, staged notes, outbox and events."""
    for name in ("archive", "staged", "outbox", "events.jsonl"):
        place = home / name
        for path in sorted([place] if place.is_file() else place.rglob("*")):
            hidden = path.name.startswith(".") or path.suffix == ".lock"
            if path.is_file() and not hidden:
                yield path.relative_to(home).as_posix(), _digest(path)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "is not there"


def half_states(found: State, *wholes: State) -> list[str]:
    """What a reader sees that is none of the whole states: of each table, each day on its own."""
    wrong = []
    for table, days in found.tables.items():
        known = [whole.tables.get(table, {}) for whole in wholes]
        for day in sorted(days.keys() | {d for k in known for d in k}):
            seen = days.get(day, {})
            if seen not in [k.get(day, {}) for k in known] and seen:
                wrong.append(f"{table}: {day}: neither old nor new: {_shown(seen, known, day)}")
            if not seen and all(k.get(day) for k in known):
                wrong.append(f"{table}: {day}: is gone")
    return wrong


def _shown(seen: Mapping[str, str], known: list[Any], day: str) -> list[str]:
    whole = known[-1].get(day, {})
    return sorted(
        f"{path[-60:]} {seen.get(path, 'missing')[:12]} for {whole.get(path, 'nothing')[:12]}"
        for path in seen.keys() | whole.keys()
        if seen.get(path) != whole.get(path)
    )


def differences(found: State, expected: State, home: Path, other: Path) -> list[str]:
    """What is not as in the other home. Files whose bytes differ are the same with equal rows."""
    wrong = []
    for table in sorted(found.tables.keys() | expected.tables.keys()):
        mine, theirs = (
            {p: d for files in s.tables.get(table, {}).values() for p, d in files.items()}
            for s in (found, expected)
        )
        wrong += [
            f"{table}: {path}: {'too much' if path in mine else 'missing'}"
            for path in sorted(mine.keys() ^ theirs.keys())
        ]
        for path in sorted(mine.keys() & theirs.keys()):
            if mine[path] != theirs[path]:
                told = f"{table}: {path}: {mine[path][:12]}"
                same = mine[path] != "is not there" and _rows(home, table, path) == _rows(
                    other, table, path
                )
                wrong += [] if same else [f"{told}: other rows than {theirs[path][:12]}"]
    for name in sorted(found.beside.keys() | expected.beside.keys()):
        if found.beside.get(name) != expected.beside.get(name):
            wrong.append(f"{name}: {found.beside.get(name)} instead of {expected.beside.get(name)}")
    return wrong


def _rows(home: Path, table: str, path: str) -> list[dict[str, Any]]:
    return _read(home / "lake" / table / path)


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.ParquetFile(path).read(use_threads=False).to_pylist()
    return found


def rows_of(home: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, in order of their files."""
    root = home / "lake" / table
    return [row for path in sorted(files_of(root)) for row in _read(root / path)]


def unbalanced(home: Path) -> list[str]:
    """Where sums that must be equal are not: of a whole state, worked out with Decimal alone."""
    wrong = []
    books: dict[str, Sums] = {part: {} for part in ("stored", "superseded", "rejected")}
    for row in rows_of(home, "conservation"):
        key = str(row["charge_day"]), str(row["currency"])
        parts = Decimal(0)
        for part, sums in books.items():
            sums[key] = row[f"{part}_cost"]
            parts = _EXACT.add(parts, sums[key])
        if parts != row["delivered_cost"] or not row["balanced"]:
            wrong.append(f"conservation: {key}: {parts} instead of {row['delivered_cost']}")
    delivered: Sums = defaultdict(Decimal)
    for report in rows_of(home, "reports"):
        for total in report["totals"]:
            key = str(total["charge_day"]), str(total["currency"])
            delivered[key] = _EXACT.add(delivered[key], total["cost"])
    for key, cost in delivered.items():
        told = _EXACT.add(_EXACT.add(books["stored"].get(key, Decimal(0)),
                                     books["superseded"].get(key, Decimal(0))),
                          books["rejected"].get(key, Decimal(0)))  # fmt: skip
        if told != cost:
            wrong.append(f"reports: {key}: {cost} delivered, {told} in the books")
    for metric in METRICS:
        charges, figures = (_sums(home, t, metric) for t in ("focus_costs", "allocated_costs"))
        if charges != figures:
            wrong.append(f"allocated_costs: {metric}: {figures} instead of {charges}")
    stored = {k: v for k, v in books["stored"].items() if v}
    charges = {k: v for k, v in _sums(home, "focus_costs", "BilledCost").items() if v}
    if charges != stored:
        wrong.append(f"focus_costs: {charges} instead of {stored}")
    return wrong


def _sums(home: Path, table: str, metric: str) -> Sums:
    found: Sums = defaultdict(Decimal)
    for row in rows_of(home, table):
        key = str(row["x_ChargeDay"]), str(row["BillingCurrency"])
        found[key] = _EXACT.add(found[key], row[metric])
    return dict(found)
