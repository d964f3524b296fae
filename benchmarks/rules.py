"""What many rules and owners cost: `python -m benchmarks.rules`, see docs/performance.md.

On one normalized home, allocate and store by the demo's own rules and by `many_rules.py`, beside
the floor, a few rounds, taking turns in who is first. The difference of the two in floors is the
figure. Then what both pay to be read, and `finops run` with nothing new.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.data import RULES, lay_out
from benchmarks.measure import REPOSITORY, run
from benchmarks.rounds import WrongWork, cached_data, finops_run, floor, stage

_READ = """
import json, sys, time
from datetime import date
from pathlib import Path
from finops_pipeline.allocate.load import load_rules
from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.store.allocated import allocated_sql

times = [time.process_time()]
rules = load_rules(Path(sys.argv[1]))
times.append(time.process_time())
decider = Decider(rules)
decider.calendar.on(date(2026, 8, 1)).hash
times.append(time.process_time())
told = {"read": times[1] - times[0], "of_day": times[2] - times[1]}
Path(sys.argv[2]).write_text(json.dumps({**told, "sql": len(allocated_sql().text)}))
"""
Found = dict[str, list[dict[str, Any]]]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--days", type=int, default=35)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".bench")
    asked = parser.parse_args(arguments)
    folder: Path = asked.folder.resolve()
    data = cached_data(folder, asked.rows, asked.days, _say)
    place = folder / "rules" / str(asked.rows)
    shutil.rmtree(place, ignore_errors=True)
    base = place / "base"
    lay_out(data, base)
    for name in ("ingest", "normalize"):
        _say(name)
        stage(name, base)
    sets = {"few": RULES, "many": place / "many-rules.yaml"}
    made = [sys.executable, "-m", "benchmarks.many_rules", base / "home", sets["many"]]
    run(made, REPOSITORY, place / "making")
    found: Found = {name: [] for name in ("floor", "few", "many", "read few", "read many")}
    for number in range(asked.rounds):
        _round(number, data, place, sets, found)
    idle = {name: _nothing_new(place / name, asked.rounds) for name in sets}
    results = {"rounds": found, "nothing_new": idle, "load": os.getloadavg()[0]}
    (folder / f"rules-{asked.rows}.json").write_text(json.dumps(results, indent=1))
    print(_table(found, idle))


def _round(number: int, data: Path, place: Path, sets: dict[str, Path], found: Found) -> None:
    work = place / "floor"
    work.mkdir(exist_ok=True)
    _say(f"round {number + 1}: floor")
    found["floor"].append(floor("floor", data, work))
    shutil.rmtree(work)
    for name in sorted(sets, reverse=bool(number % 2)):
        _say(f"round {number + 1}: {name} rules")
        here = place / name
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(place / "base", here, copy_function=os.link)
        (here / "rules.yaml").unlink()
        shutil.copy(sets[name], here / "rules.yaml")
        found[name].append(stage("store", here))
        facts = place / "read.json"
        run([sys.executable, "-c", _READ, sets[name], facts], place, place / "read")
        found[f"read {name}"].append(json.loads(facts.read_text()))
    days = {found[name][-1]["did"]["days"] for name in sets}
    if len(days) != 1:
        raise WrongWork(f"the same days should be stored by both: {days}")


def _nothing_new(folder: Path, rounds: int) -> list[dict[str, Any]]:
    _say(f"{folder.name} rules: nothing new")
    finops_run("first", folder)
    idle = [finops_run("nothing_new", folder) for _ in range(rounds)]
    if any(one["did"]["days"] for one in idle):
        raise WrongWork("a run with nothing new rebuilt days")
    return idle


def _table(found: Found, idle: dict[str, list[dict[str, Any]]]) -> str:
    def row(name: str, rows: list[dict[str, Any]]) -> str:
        cpu, peak = (statistics.median(r[figure] for r in rows) for figure in ("cpu", "peak"))
        ratios = [r["cpu"] / f["cpu"] for r, f in zip(rows, found["floor"], strict=True)]
        return f"| {name} | {cpu:.1f} | {_spread(ratios)} | {peak / 1e6:.0f} MB |"

    few, many, floors = found["few"], found["many"], found["floor"]
    more = [(m["cpu"] - f["cpu"]) / one["cpu"] for f, m, one in zip(few, many, floors, strict=True)]
    lines = [
        f"| {len(floors)} rounds, median (least–most) | CPU s | × floor | peak memory |",
        "|---|---:|---:|---:|",
        row("floor", floors),
        row("allocate and store, the demo's rules", few),
        row("allocate and store, 1,000 rules and 200 owners", many),
        f"| **what the many rules add** | | **{_spread(more)}** | |",
        row("`finops run`, nothing new, the demo's rules", idle["few"]),
        row("`finops run`, nothing new, 1,000 rules and 200 owners", idle["many"]),
    ]
    for name in ("few", "many"):
        read, of_day = (
            statistics.median(r[k] for r in found[f"read {name}"]) for k in ("read", "of_day")
        )
        lines.append(f"| reading the {name} rules; those of a day | {read:.2f}; {of_day:.2f} | | |")
    figures = {n: found[n][-1]["did"]["figures"] for n in ("few", "many")}
    sql = {found[f"read {n}"][-1]["sql"] for n in ("few", "many")}
    return "\n".join([*lines, "", f"Figures made: {figures}; characters of SQL: {sql}."])


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
