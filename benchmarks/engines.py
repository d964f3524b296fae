"""The same demo on each engine, a fresh process each: `python benchmarks/engines.py FOLDER`.

CPU is of the whole process tree, Java and Python workers included; so is the peak of memory. What
is held against what is in `docs/scale.md`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

if __package__ is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import run

_ENGINES = ("duckdb", "spark")
_BRING_IN = """
import sys
from pathlib import Path
from finops_pipeline.config import load_settings
from finops_pipeline_tests.engine.whole import bring_in

def cpu(pid):  # of a process and all below it; Java is never waited for, so its parent has no sum
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tasks = Path(f"/proc/{pid}/task").iterdir()
    below = [c for t in tasks for c in (t / "children").read_text().split()]
    return sum(map(int, fields[11:15])) / 100 + sum(map(cpu, below))

settings = load_settings(Path(sys.argv[1]))
home = settings.home / f"home-{sys.argv[2]}"
bring_in(settings.model_copy(update={"engine": sys.argv[2], "home": home}))
print(round(cpu("self")))
"""
_MAKE = """
import sys
from pathlib import Path
from finops_pipeline.demo.command import make_demo
rows, days = map(int, sys.argv[2:])
make_demo(Path(sys.argv[1]), days=days, rows=rows, progress=lambda *_: None)
"""


def main() -> None:
    """Measure and print one line an engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=_ENGINES, default=_ENGINES)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    demo = folder / f"demo-{asked.rows}-{asked.days}"
    demo.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-c", _MAKE, demo, str(asked.rows), str(asked.days)], folder, folder / "m")
    for engine in asked.engines:
        shutil.rmtree(demo / f"home-{engine}", ignore_errors=True)
        config = demo / "demo" / "finops.yaml"
        cost = run([sys.executable, "-c", _BRING_IN, config, engine], folder, folder / engine)
        cpu = (folder / f"{engine}.out").read_text().strip()
        print(
            f"{asked.rows:,} rows, {asked.days} days, {engine}: CPU {cpu} "
            f"s, wall {cost.wall:.0f} s, peak {cost.peak / 2**30:.2f} GB"
        )


if __name__ == "__main__":
    main()
