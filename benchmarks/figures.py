"""Rounds into figures: ratios to the floor of the same round, medians, and how far they spread."""

from __future__ import annotations

import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rounds import STAGES, Round

_NOT_ALL_ROWS = ("nothing_new", "late_report", "questions", "rebuild")
_SUMMED = ("cpu", "user", "system", "wall", "read", "written", "disk_read", "disk_written")
_PACKAGES = ("duckdb", "ibis-framework", "pyarrow", "deltalake", "dagster")
Summary = dict[str, dict[str, dict[str, float]]]


def completed(found: Round, rows: int) -> Round:
    """A round with its derived rows, and for each row the ratios and the rows a second."""
    whole: dict[str, Any] = {k: sum(found[s][k] for s in STAGES) for k in _SUMMED}
    whole["peak"] = max(found[s]["peak"] for s in STAGES)
    rounds: Round = {**found, "whole": whole}
    if "finops_run" in found:
        work = sum(found[s]["did"]["work_cpu"] for s in STAGES)
        # Not a process of its own: only its CPU can be told apart.
        rounds["beside_stages"] = {"cpu": found["finops_run"]["cpu"] - work}
    floor = found["floor"]
    for name, row in rounds.items():
        row["cpu_ratio"] = row["cpu"] / floor["cpu"]
        if "wall" in row:
            row["wall_ratio"] = row["wall"] / floor["wall"]
        if "wall" in row and name not in _NOT_ALL_ROWS:
            row["rows_per_second"] = rows / row["wall"]
            row["rows_per_cpu_second"] = rows / row["cpu"]
    return rounds


def summary(rounds: Sequence[Round]) -> Summary:
    """Median, least and most of every figure of every row, over the rounds."""
    return {
        name: {
            figure: _spread([r[name][figure] for r in rounds])
            for figure in rounds[0][name]
            if figure not in ("did", "curve")
        }
        for name in rounds[0]
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def questions(rounds: Sequence[Round]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of each kind of question over the rounds: 50th, 95th percentile, and CPU."""
    kinds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for found in rounds:
        for question in found["questions"]["did"]:
            kinds[question["name"]].append(question)
    return {
        name: {figure: _spread([q[figure] for q in asked]) for figure in ("p50", "p95", "cpu")}
        for name, asked in kinds.items()
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }
