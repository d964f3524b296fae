"""One round: the floor and every stage, each a fresh process, on the same reports.

A round is only worth something if all of it did the same work, so what each process says it did
is held against what the maker of the data says there is.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data import FACTS, LATE_DAYS, TENANCY, deliver_late, lay_out, report_in
from benchmarks.measure import REPOSITORY, run

Round = dict[str, dict[str, Any]]
FLOORS = ("decompress", "floor", "write")
SCRIPTS = ("floor_sniffed", "script", "pandas_loop")
_QUESTIONS = 21  # of each kind, the cold one first
STAGES = ("ingest", "normalize", "store", "company")


class WrongWork(Exception):
    """A process did not do the work that it is measured for."""


def cached_data(folder: Path, rows: int, days: int, say: Callable[[str], None]) -> Path:
    """The folder with the data of a size, made now if it was not."""
    data = folder / "data" / f"{rows}-rows-{days}-days"
    if not data.exists():
        say(f"making {rows:,} rows of {days} days in {data}")
        data.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.data", data, str(rows), str(days)]
        run(command, REPOSITORY, data.parent / f"{data.name}-making")
    return data


def data_facts(data: Path) -> dict[str, Any]:
    """What the maker of the data says there is."""
    found: dict[str, Any] = json.loads((data / FACTS).read_text(encoding="utf-8"))
    return found


def one_round(data: Path, folder: Path, brief: bool, say: Callable[[str], None]) -> Round:
    """Measure everything once, in `folder`, which is removed afterwards.

    A `brief` round leaves out what others would write and the run through Dagster.
    """
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "floor"
    work.mkdir(parents=True)
    found: Round = {}
    for name in FLOORS if brief else FLOORS + SCRIPTS:
        say(name)
        found[name] = floor(name, data, work)
    shutil.rmtree(work)
    staged, whole = folder / "staged", folder / "whole"
    lay_out(data, staged)
    for name in STAGES:
        say(name)
        found[name] = stage(name, staged)
    say("nothing new")
    found["nothing_new"] = finops_run("nothing_new", staged)
    deliver_late(data, staged)
    say("late report")
    found["late_report"] = finops_run("late_report", staged)
    say("questions")
    found["questions"] = questions(staged)
    say("rebuild")
    report_in(staged, "EUR")
    found["rebuild"] = finops_run("rebuild", staged)
    shutil.rmtree(staged)
    if not brief:
        lay_out(data, whole)
        say("finops run")
        found["finops_run"] = finops_run("finops_run", whole)
    hold(found, data_facts(data))
    shutil.rmtree(folder)
    return found


def floor(name: str, data: Path, work: Path) -> dict[str, Any]:
    """A floor of the data, measured; `work` is a folder for what it writes."""
    facts = work / f"{name}.json"
    command = [sys.executable, "-m", "benchmarks.floor", name, data / TENANCY, work / name, facts]
    cost = run(command, work, work / f"{name}-log")
    return {**cost.as_json(), "did": json.loads(facts.read_text(encoding="utf-8"))}


def stage(name: str, folder: Path) -> dict[str, Any]:
    """A stage without Dagster on the home of a folder, measured."""
    facts = folder / f"{name}.json"
    command = [sys.executable, "-m", "benchmarks.stages", name, folder / "finops.yaml", facts]
    cost = run(command, folder, folder / f"{name}-log")
    return {**cost.as_json(), "did": json.loads(facts.read_text(encoding="utf-8"))}


def finops_run(name: str, folder: Path) -> dict[str, Any]:
    """`finops run` on the home of a folder, measured."""
    finops = Path(sys.executable).with_name("finops")
    log = folder / f"{name}-log"
    cost = run([finops, "run", "--config", "finops.yaml", "--format", "json"], folder, log)
    report = json.loads(log.with_suffix(".out").read_text(encoding="utf-8"))
    did = {
        "reports": sum(report["delivered"].values()),
        "days": sum(map(len, report["rebuilt"].values())),
        "company_days": len(report["company_days"]),
    }
    return {**cost.as_json(), "did": did}


def questions(folder: Path) -> dict[str, Any]:
    """The query set, asked of the home of a folder in one warm process, measured."""
    log = folder / "questions-log"
    command = [sys.executable, "-m", "benchmarks.queries", "--home", folder / "home", "--json"]
    cost = run([*command, "--rounds", str(_QUESTIONS)], folder, log)
    return {**cost.as_json(), "did": json.loads(log.with_suffix(".out").read_text("utf-8"))}


def hold(found: Round, facts: dict[str, Any]) -> None:
    """Raise WrongWork if the processes of a round did not all do their work."""
    normalized = found["normalize"]["did"]
    accounted = sum(normalized[k] for k in ("charges", "superseded", "rejected"))
    wanted = {
        "rows of the floor": (found["floor"]["did"]["rows"], facts["rows"]),
        "bytes of text": (found["decompress"]["did"]["bytes"], facts["csv_bytes"]),
        "rows ingested": (found["ingest"]["did"]["rows"], facts["rows"]),
        "rows normalized": (accounted, facts["rows"]),
        "rows rejected": (normalized["rejected"], 0),
        "reports when nothing is new": (found["nothing_new"]["did"]["reports"], 0),
        "days when nothing is new": (found["nothing_new"]["did"]["days"], 0),
        "reports that are late": (found["late_report"]["did"]["reports"], 1),
        "days of the late report": (found["late_report"]["did"]["days"], LATE_DAYS),
        "reports of the rebuild": (found["rebuild"]["did"]["reports"], 0),
        "days of the rebuild": (found["rebuild"]["did"]["days"], found["store"]["did"]["days"]),
        "questions without an answer": (
            [q["name"] for q in found["questions"]["did"] if not q["rows"]],
            [],
        ),
    }
    for name in SCRIPTS:
        if name in found:
            wanted[f"rows of {name}"] = (found[name]["did"]["rows"], facts["rows"])
    if "finops_run" in found:
        did = found["finops_run"]["did"]
        wanted |= {
            "reports of the run": (did["reports"], facts["reports"]),
            "days of the run": (did["days"], found["store"]["did"]["days"]),
        }
    wrong = [
        f"{what}: {is_}, expected {should}"
        for what, (is_, should) in wanted.items()
        if is_ != should
    ]
    if wrong:
        raise WrongWork("\n".join(wrong))
