"""How long questions take in one warm process: `python -m benchmarks.queries --home HOME`.

Each question is asked many times with other values (another month, owner, tag), one after the
other, as an API would: engine open, question made anew, answer complete. The first round is the
cold one and is shown on its own. Makes nothing: HOME is the home folder of a lake that was run.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query import CostQuery, ask

Made = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """Milliseconds of one kind of question: the first, the middle and the 95th percentile.

    `cpu` is the 95th percentile of the CPU time of all threads, for machines that do other work.
    """

    name: str
    first: float
    p50: float
    p95: float
    cpu: float
    rows: int


def kinds(months: Sequence[str], owners: Sequence[str], tag: str) -> dict[str, Made]:
    """The questions by name: each makes the n-th of its kind."""

    def month(n: int) -> str:
        return months[n % len(months)]

    def quarter(n: int) -> tuple[date, date]:
        first = months[n % max(1, len(months) - 2)]
        after = date.fromisoformat(f"{first}-01").toordinal() + 100
        last = date.fromordinal(date.fromordinal(after).replace(day=1).toordinal() - 1)
        return date.fromisoformat(f"{first}-01"), last

    def owner(n: int) -> str:
        return owners[n % len(owners)]

    return {
        "total": lambda n: {"exclude": {"charge_category": ("Tax", "Credit")[n % 2]}},
        "by service": lambda n: {"by": "service", "exclude": {"owner": owner(n)}},
        "by owner": lambda n: {"by": "owner", "exclude": {"month": month(n)}},
        "by day": lambda n: {"by": "day", "exclude": {"owner": owner(n)}},
        "by month and service": lambda n: {"by": "month,service", "exclude": {"owner": owner(n)}},
        "top 10 resources": lambda n: {"by": "resource", "top": 10, "exclude": {"month": month(n)}},
        "filter on a tag, by service": lambda n: {
            "by": "service", "exclude": {f"tag:{tag}": "(none)", "month": month(n)}
        },
        "one owner over a quarter, by service and day": lambda n: {
            "by": "service,day", "filters": {"owner": owner(n)},
            "since": quarter(n)[0], "until": quarter(n)[1],
        },
        "one day in detail": lambda n: {
            "by": "service,resource,owner,sku",
            "since": date.fromisoformat(f"{month(n)}-{n % 28 + 1:02}"),
            "until": date.fromisoformat(f"{month(n)}-{n % 28 + 1:02}"),
        },
        "a period that cuts two months, by owner": lambda n: {
            "by": "owner",
            "since": date.fromisoformat(f"{months[0]}-{n % 20 + 2:02}"),
            "until": date.fromisoformat(f"{months[-1]}-{n % 20 + 2:02}"),
        },
        "a period that cuts two months, top 10 resources": lambda n: {
            "by": "resource", "top": 10,
            "since": date.fromisoformat(f"{months[0]}-{n % 20 + 2:02}"),
            "until": date.fromisoformat(f"{months[-1]}-{n % 20 + 2:02}"),
        },
    }  # fmt: skip


def measure(home: Home, rounds: int, tag: str, memory: str) -> list[Measured]:
    """Ask every kind of question so often, in turns."""
    with tempfile.TemporaryDirectory() as spill, DuckDBEngine(memory, Path(spill)) as engine:
        months = [str(r[0]) for r in ask(home, engine, CostQuery(by=("month",), order="name")).rows]
        owners = [str(r[0]) for r in ask(home, engine, CostQuery(by=("owner",), order="name")).rows]
        times: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        rows: dict[str, int] = {}
        for n in range(rounds):
            if n == 1:
                # As a server does once it is warm: else now and then a question waits 80 ms while
                # Python looks for garbage among the libraries that are loaded.
                gc.collect()
                gc.freeze()
            for name, make in kinds(months, owners, tag).items():
                begin, used = time.perf_counter(), time.process_time()
                answer = ask(home, engine, CostQuery.model_validate(make(n)))
                times.setdefault(name, []).append((time.perf_counter() - begin) * 1000)
                cpu.setdefault(name, []).append((time.process_time() - used) * 1000)
                rows[name] = max(rows.get(name, 0), len(answer.rows))
        gc.unfreeze()
    return [
        Measured(
            name,
            of[0],
            statistics.median(of[1:]),
            _p95(of[1:]),
            _p95(cpu[name][1:]),
            rows[name],
        )
        for name, of in times.items()
    ]


def _p95(times: Sequence[float]) -> float:
    return sorted(times)[max(0, -(-len(times) * 95 // 100) - 1)]


def facts(home: Home) -> str:
    """What the lake holds, in a line."""
    costs = home.table("allocated_costs")
    files = costs.files()
    days = {f.partition[2] for f in files}
    rows = sum(costs.rows(f) for f in files)
    return f"{rows:,} rows of allocated_costs in {len(files):,} files, {len(days)} charge days"


def markdown(measured: Sequence[Measured]) -> str:
    """The table for docs/performance.md."""
    lines = [
        "| question | lines | first | p50 | p95 | CPU p95 |", "|---|---:|---:|---:|---:|---:|"
    ]  # fmt: skip
    lines += [
        f"| {m.name} | {m.rows:,} | {m.first:.0f} | {m.p50:.0f} | {m.p95:.0f} | {m.cpu:.0f} |"
        for m in measured
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=41, help="of which the first is the cold one")
    parser.add_argument("--tag", default="team", help="key of the tag that is filtered on")
    parser.add_argument("--memory", default="600MB", help="memory_limit of the engine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    home = Home(options.home.resolve())
    measured = measure(home, options.rounds, options.tag, options.memory)
    if options.json:
        print(json.dumps([vars(m) for m in measured], indent=1))
        return
    print(f"{facts(home)}; milliseconds, {options.rounds - 1} questions of each kind\n")
    print(markdown(measured))


if __name__ == "__main__":
    main()
