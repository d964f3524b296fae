"""Every figure of a lake explained down to its report lines, and each explanation checked.

`python -m finops_pipeline_tests.query.every_row FINOPS.YAML` does it for any home that was run.
What is expected is summed here, in plain decimals, from the report lines and the stored rows.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal, Inexact
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline.config import load_settings
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.query.explain import explain_day
from finops_pipeline.query.explanation import Charge, Explanation

_EXACT = Context(prec=1000, traps=[Inexact])
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_COSTS = ("EffectiveCost", "BilledCost")


@dataclass
class Told:
    """What was explained, and what was wrong with it."""

    figures: int = 0
    lines: set[tuple[str, int]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def explain_every_row(home: Home, engine: Engine) -> Told:
    """Explain every row of `allocated_costs` of a home."""
    told, explained = Told(), set()
    table = home.table("allocated_costs")
    for source, day in sorted({(f.partition[0], f.partition[2]) for f in table.files()}):
        parts: dict[tuple[tuple[str, int], ...], list[Explanation]] = defaultdict(list)
        for found in explain_day(home, engine, source, date.fromisoformat(day)):
            explained.add(found.allocation_id)
            told.figures += 1
            told.problems += [f"{found.allocation_id}: {p}" for p in _problems(found)]
            lines = tuple((c.report_id, c.report_row) for c in found.charges)
            told.lines.update(lines)
            parts[lines].append(found)
        told.problems += [p for owners in parts.values() for p in _lost(owners)]
        print(f"{source} {day}: {told.figures:,} figures", file=sys.stderr)
    stored = _stored(Path(table.root))
    if explained != stored:
        told.problems.append(f"{len(stored ^ explained)} rows were not explained, or are not there")
    return told


def _problems(found: Explanation) -> Iterator[str]:
    yield from found.differences
    if not found.charges:
        yield "it names no charge"
    for charge in found.charges:
        if charge.raw_problem is not None or charge.raw is None:
            yield f"row {charge.report_row} of {charge.report}: {charge.raw_problem}"
        elif not _says_its_cost(charge):
            yield f"row {charge.report_row} of {charge.report} has no cost of it: {charge.raw}"


def _says_its_cost(charge: Charge) -> bool:
    """Whether the text of the row has a cost of the charge, to its last digit."""
    raw = charge.raw or ""
    numbers = {Decimal(text) for text in _NUMBER.findall(raw)}
    costs = {charge.amounts[name] for name in _COSTS} - {None}
    return bool(costs & numbers) or bool(costs & _net_of_discounts(raw))


def _net_of_discounts(raw: str) -> set[Decimal]:
    """What a row of GCP's detailed export may cost: its cost with some of its credits taken off."""
    if not raw.startswith("{"):
        return set()
    row = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    found = {row["cost"]} if "cost" in row else set()
    for credit in row.get("credits") or ():
        found |= {_EXACT.add(cost, credit["amount"]) for cost in found}
    return found


def _lost(owners: list[Explanation]) -> Iterator[str]:
    """What the parts of all owners of the same charges lack of the charges' cost."""
    for name in _COSTS:
        costs = [c.amounts[name] for c in owners[0].charges]
        parts = [e.amounts[name] for e in owners]
        whole, taken = (_sum([v for v in values if v is not None]) for values in (costs, parts))
        if whole != taken:
            yield f"{owners[0].allocation_id}: {name} of its charges is {whole}, of owners {taken}"


def _sum(values: list[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return total


def _stored(root: Path) -> set[str]:
    """The identifiers of all rows, by Delta's own reader."""
    return {
        identifier
        for uri in DeltaTable(root).file_uris()
        for identifier in pq.ParquetFile(uri).read(["x_AllocationId"]).column(0).to_pylist()
    }


if __name__ == "__main__":
    begin = time.perf_counter(), time.process_time()
    pipeline = Pipeline(load_settings(Path(sys.argv[1])))
    with pipeline.engine() as duckdb:
        result = explain_every_row(pipeline.home, duckdb)
    wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    print(f"{result.figures:,} figures, {len(result.lines):,} report lines, {len(result.problems)} "
          f"problems; {wall:.0f} s, {cpu:.0f} CPU s")  # fmt: skip
    print("\n".join(result.problems[:20]))
    sys.exit(bool(result.problems))
