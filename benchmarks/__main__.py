"""`python -m benchmarks`: make the data, run the rounds, show and keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import figures, table
from benchmarks.measure import REPOSITORY
from benchmarks.rounds import Round, cached_data, data_facts, one_round

PAGE = REPOSITORY / "docs" / "performance.md"


@dataclass(frozen=True)
class Size:
    """A tenancy to measure; a brief round has the floor and our own rows only."""

    rows: int
    days: int
    brief: bool


# What others would write, and Dagster's part, follow the rows alike: once is enough.
PLAN = (
    Size(1_500_000, 35, brief=False),
    Size(6_000_000, 35, brief=True),
    Size(25_000_000, 365, brief=True),
)


def main(arguments: list[str] | None = None) -> None:
    """Run it; the table goes to stdout, what goes on to stderr."""
    options = _options().parse_args(arguments)
    folder: Path = options.folder.resolve()
    sizes = [Size(n, options.days, options.brief) for n in options.rows] or PLAN
    named = "-".join(str(size.rows) for size in sizes)
    text = ""
    for results in measure(folder, sizes, options.rounds):
        found = json.dumps(results, indent=1)
        (folder / f"results-{named}.json").write_text(found, encoding="utf-8")
        text = table.markdown(results)
        if options.write_docs:
            table.write_docs(options.page, text)
    print(text)


def measure(folder: Path, sizes: Sequence[Size], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure these sizes; sizes take turns, so that a busy hour hits them all alike.

    Yields all that is known after each round: hours are not lost if a later one fails.
    """
    results: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "machine": figures.machine()
    }  # fmt: skip
    data = {size: cached_data(folder, size.rows, size.days, _say) for size in sizes}
    measured: dict[Size, list[Round]] = {size: [] for size in sizes}
    for number in range(1, rounds + 1):
        for size in sizes:
            place = folder / "rounds" / f"{size.rows}-{number}"
            here = f"{size.rows:,} rows, round {number} of {rounds}"
            found = one_round(
                data[size], place, size.brief, lambda step, here=here: _say(f"{here}: {step}")
            )
            measured[size].append(figures.completed(found, data_facts(data[size])["rows"]))
        results["sizes"] = [
            {
                "data": data_facts(data[size]),
                "summary": figures.summary(measured[size]),
                "questions": figures.questions(measured[size]),
                "rounds": measured[size],
            }
            for size in sizes
        ]
        yield results


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="sizes to measure; without it those of `make bench`",
    )
    parser.add_argument("--days", type=int, default=35, help="charge days of --rows; at least 5")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--brief", action="store_true", help="no scripts, no Dagster")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".bench")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument("--page", type=Path, default=PAGE, help=argparse.SUPPRESS)
    return parser


def _say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
