"""The `finops` command. Each command reads the settings, calls one function, shows its result.

What a command does is in the module it calls; what it says and how it exits is in `console.py`.
Here are the commands that run and keep the pipeline; those that ask are in `cli_costs.py`,
`cli_showback.py` and `cli_rules.py`, the one that serves in `cli_serve.py`.
Imports stand inside the commands: a command loads only what it needs, so it starts quickly.
"""

from __future__ import annotations

import json
import warnings
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from finops_pipeline import console, process
from finops_pipeline.cli_costs import costs, diff, explain, export, rejected
from finops_pipeline.cli_options import Config, Since, Until, period, settings_of, teaching
from finops_pipeline.cli_rules import rules_app
from finops_pipeline.cli_serve import serve
from finops_pipeline.cli_showback import statement, tags, unallocated
from finops_pipeline.config import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Cloud bills into figures that people act on and auditors trust.",
)


def main() -> None:
    """Entry point of the `finops` command."""
    process.tune()
    # Dagster marks per-partition checks as a preview; that is ours to know, not the user's.
    warnings.filterwarnings("ignore", module=r"finops_pipeline\.orchestration")
    warnings.filterwarnings("ignore", module=r"dagster\.")
    try:
        app()
    except SystemExit as done:
        if isinstance(done.code, int):
            process.leave(done.code)
        raise


def demo(
    days: Annotated[int, typer.Option(min=1, max=400)] = 35,
    rows: Annotated[int, typer.Option(min=3_000)] = 200_000,
    home: Annotated[Path, typer.Option(help="Where everything is put.")] = Path(".finops"),
) -> None:
    """Make a tenancy, run the whole pipeline, show the result."""
    from finops_pipeline.demo.command import DemoError, make_demo

    with teaching(DemoError), console.bar(f"making {rows:,} rows of {days} days") as progress:
        config, made = make_demo(home, days=days, rows=rows, progress=progress)
    if not made:
        console.say(f"the demo's reports are there already: {config.parent}")
    settings = settings_of(config)
    _run(settings, (), None, None, full=False)
    _show_demo(settings, config)


def _show_demo(settings: Settings, config: Path) -> None:
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.answer import ask
    from finops_pipeline.query.model import CostQuery
    from finops_pipeline.query.show import show

    pipeline = Pipeline(settings)
    with pipeline.engine() as engine:
        for by in ("service", "owner"):
            query = CostQuery(by=(by,), top=12)
            console.answer(f"Effective cost by {by}\n{show(ask(pipeline.home, engine, query))}")
    home = pipeline.home.path
    console.answer(
        f"Reports   {config.parent}\n"
        f"Lake      {home / 'lake'} (Delta tables)\n"
        f"Catalogue {home / 'warehouse.duckdb'} (open it with any DuckDB client)\n"
        f"Events    {home / 'events.jsonl'}\n\n"
        "Next:\n"
        "  make dev                               lineage, checks and backfills in the browser\n"
        "  finops costs --by owner,service --top 20\n"
        "  finops costs --by month,currency --format json\n"
        "  finops explain ID                      with an x_AllocationId of allocated_costs\n"
        "  finops export --focus 1.2 --out focus.parquet\n"
    )


def run(
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only this source; may be given several times."),
    ] = None,
    since: Since = None,
    until: Until = None,
    full: Annotated[
        bool, typer.Option("--full", help="Look at every charge day again, and mend the lake.")
    ] = False,
    config: Config = None,
    output: Annotated[Literal["text", "json"], typer.Option("--format")] = "text",
) -> None:
    """Ingest what is new and rebuild what it touched."""
    _run(settings_of(config), tuple(source or ()), since, until, full, output)


def _run(
    settings: Settings,
    sources: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    full: bool,
    output: str = "text",
) -> None:
    from finops_pipeline.orchestration.run import Run, Wanted

    if not settings.sources:
        console.wrong_use("finops.yaml has no source; add one under `sources:` (see README)")
    wanted = Wanted(tuple(dict.fromkeys(sources)), *period(since, until), full)
    with teaching(), console.steps() as progress:
        report = Run(settings, wanted, progress).run()
    if output == "json":
        console.answer(json.dumps(report.as_json(), indent=2))
    elif report.stopped:
        console.say("the run stopped before its end; what was finished is kept")
    elif report.idle:
        console.say("nothing new: every report is known and every figure is up to date")
    else:
        for name in sorted(report.delivered | report.rebuilt):
            rebuilt = len(report.rebuilt.get(name, ()))
            new = report.delivered.get(name, 0)
            console.say(f"{name}: {new} new reports, {rebuilt} charge days rebuilt")
        for said in report.findings:
            console.say(f"finding: {said}")
    console.problems(report.problems)


def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    output: Annotated[Literal["text", "json"], typer.Option("--format")] = "text",
    config: Config = None,
) -> None:
    """Remove versions beyond the retention, and what runs left unfinished."""
    from dataclasses import asdict

    from finops_pipeline.orchestration.maintenance import run_maintenance

    with teaching():
        done = run_maintenance(settings_of(config), dry_run)
    if output == "json":
        places = {name: asdict(place) for name, place in done.places.items()}
        console.answer(json.dumps({"dry_run": dry_run, "places": places}, indent=2))
        return
    for name, place in done.places.items():
        if place.files:
            console.answer(
                f"{name}: {place.files:,} of {place.files_before:,} files, {place.bytes:,} of "
                f"{place.bytes_before:,} bytes"
            )
    console.answer(
        f"{'would remove' if dry_run else 'removed'} {done.files:,} files, {done.bytes:,} bytes"
    )


def doctor(
    output: Annotated[Literal["text", "json"], typer.Option("--format")] = "text",
    config: Config = None,
) -> None:
    """Look at credentials, permissions and freshness; say what is missing and how to mend it."""
    from finops_pipeline.orchestration.doctor import examine

    with teaching():
        found = examine(settings_of(config))
    if output == "json":
        console.answer(json.dumps([f.as_json() for f in found], indent=2))
    else:
        for finding in found:
            console.answer(finding.as_text())
    if not all(f.ok for f in found):
        raise typer.Exit(console.FOUND_PROBLEMS)


app.add_typer(rules_app, name="rules")
# In the order of `finops --help`.
for command in (
    statement, unallocated, tags, serve, demo, run, costs, diff, explain, export, rejected,
    maintain, doctor,
):  # fmt: skip
    app.command()(command)

if __name__ == "__main__":
    main()
