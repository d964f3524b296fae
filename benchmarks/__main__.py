"""`python -m benchmarks`: make the data, run the rounds, show and keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import figures, table
from benchmarks.measure import REPOSITORY
from benchmarks.rounds import Round, cached_data, data_facts, one_round

SIZES = (1_500_000, 6_000_000, 25_000_000)
PAGE = REPOSITORY / "docs" / "performance.md"


def main(arguments: list[str] | None = None) -> None:
    """Run it; the table goes to stdout, what goes on to stderr."""
    options = _options().parse_args(arguments)
    folder: Path = options.folder.resolve()
    results = measure(folder, options.rows, options.days, options.rounds, options.brief)
    sizes = "-".join(map(str, options.rows))
    (folder / f"results-{sizes}.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    text = table.markdown(results)
    print(text)
    if options.write_docs:
        table.write_docs(options.page, text)


def measure(folder: Path, rows: list[int], days: int, rounds: int, brief: bool) -> dict[str, Any]:
    """Measure these sizes; sizes take turns, so that a busy hour hits them all alike."""
    results: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "machine": figures.machine()
    }  # fmt: skip
    data = {size: cached_data(folder, size, days, _say) for size in rows}
    measured: dict[int, list[Round]] = {size: [] for size in rows}
    for number in range(1, rounds + 1):
        for size in rows:
            place = folder / "rounds" / f"{size}-{number}"
            here = f"{size:,} rows, round {number} of {rounds}"
            found = one_round(
                data[size], place, brief, lambda step, here=here: _say(f"{here}: {step}")
            )
            measured[size].append(figures.completed(found, data_facts(data[size])["rows"]))
    results["sizes"] = [
        {
            "data": data_facts(data[size]),
            "summary": figures.summary(measured[size]),
            "rounds": measured[size],
        }
        for size in rows
    ]
    return results


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), metavar="N")
    parser.add_argument("--days", type=int, default=35, help="charge days of the data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--brief", action="store_true", help="the floor and the stages only")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".bench")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument("--page", type=Path, default=PAGE, help=argparse.SUPPRESS)
    return parser


def _say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
