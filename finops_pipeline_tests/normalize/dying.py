"""Runs that are killed with SIGKILL, and the runs after them.

A program of its own: it imports and compiles everything once, and forks a process for each run.
Neither Delta's nor DuckDB's threads outlive a fork, so it uses neither itself.

Arguments: the folder of reports, the folder for homes, how many points to be killed at, and which
part of an undisturbed run's time later to be killed each next time. It prints one line of JSON:
what became of each home.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.reading import open_report
from finops_pipeline.lake.delta import LakeTable
from finops_pipeline.normalize.books import books_sql
from finops_pipeline.normalize.deduplicate import superseded_sql
from finops_pipeline.normalize.mapping import mapping
from finops_pipeline.normalize.run import Normalize
from finops_pipeline_tests.forking import ended, forked
from finops_pipeline_tests.normalize.pipeline import Pipeline

FORMAT = "oci_cost_csv"


def pipeline_of(reports: Path, folder: Path) -> Pipeline:
    """The pipeline of a home; all homes read the same reports."""
    pipeline = Pipeline(folder, FORMAT, "replace")
    folder.mkdir(parents=True, exist_ok=True)
    if not pipeline.reports.exists():
        pipeline.reports.symlink_to(reports)
    return pipeline


def run(pipeline: Pipeline) -> None:
    """Ingest and normalize; fails when a day has a problem."""
    with pipeline.engine() as engine:
        ingested = pipeline.ingest(engine)
        results = pipeline.normalize(engine)
    if ingested.failed or any(result.problems for result in results):
        os._exit(3)


def compiled(reports: Path) -> None:
    """Compile what runs need, so that each forked run has it.

    The contract's check is left out: it reads only, and takes half of a small run's time.
    """
    Normalize._check_contract = lambda *_: None  # type: ignore[assignment, method-assign]
    needed = [superseded_sql("replace"), books_sql()]
    raw = raw_format(FORMAT)
    for path in reports.rglob("*.csv.gz"):
        header = open_report(path, raw).header
        for foreign in (True, False):
            made = mapping(FORMAT, header, "acme", "USD", foreign)
            needed += [*(step.whole for step in made.steps), made.rejected]
    for sql in needed:
        assert sql.text


class Step:
    """Counts the steps that leave something behind, and dies at one of them."""

    def __init__(self, last: int) -> None:
        self.left = last
        self.taken = 0

    def __call__(self) -> None:
        self.taken += 1
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a step before it and a step after it."""

        def stepped(*args: Any, **options: Any) -> Any:
            self()
            result = function(*args, **options)
            self()
            return result

        return stepped

    def watch(self) -> None:
        """Step at every write, rename, flush and commit of this process."""
        os.replace = self.around(os.replace)
        os.rename = self.around(os.rename)
        os.fsync = self.around(os.fsync)
        os.unlink = self.around(os.unlink)
        pq.write_table = self.around(pq.write_table)
        pq.ParquetWriter.write_table = self.around(  # type: ignore[method-assign]
            pq.ParquetWriter.write_table
        )
        LakeTable._commit = self.around(LakeTable._commit)  # type: ignore[method-assign]
        DuckDBEngine.write = self.around(DuckDBEngine.write)  # type: ignore[method-assign]


def undisturbed(pipeline: Pipeline, steps: Path) -> None:
    """Run to the end, and write down how many steps that took."""
    step = Step(0)
    step.watch()
    run(pipeline)
    steps.write_text(str(step.taken))


def main(reports: Path, homes: Path, points: int, apart: float) -> dict[str, list[int]]:
    """Home to the exit codes of its runs."""
    compiled(reports)
    steps = homes / "steps"
    whole = pipeline_of(reports, homes / "undisturbed")
    began = time.monotonic()
    codes = {"undisturbed": [ended(forked(lambda: undisturbed(whole, steps)))]}
    took = time.monotonic() - began
    count = int(steps.read_text())
    for number in sorted({1 + i * (count - 1) // (points - 1) for i in range(points)}):
        pipeline = pipeline_of(reports, homes / f"step-{number}")

        def dying(number: int = number, pipeline: Pipeline = pipeline) -> None:
            Step(number).watch()
            run(pipeline)

        first = ended(forked(dying))
        codes[pipeline.folder.name] = [first, ended(forked(lambda p=pipeline: run(p)))]
    # One home, killed again and again at later and later times, until it comes to its end.
    pipeline = pipeline_of(reports, homes / "again-and-again")
    codes["again-and-again"] = found = []
    for after in itertools.count(1):
        child = forked(lambda: run(pipeline))
        time.sleep(min(after * apart * took, 3 * took))
        os.kill(child, signal.SIGKILL)
        found.append(ended(child))
        if found[-1] == 0:
            return codes
    raise AssertionError("unreachable")


if __name__ == "__main__":
    made, homes, points, apart = sys.argv[1:]
    print(json.dumps(main(Path(made), Path(homes), int(points), float(apart))))
