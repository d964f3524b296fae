"""The `finops` command. Each command reads the settings, calls one function, shows its result.

What a command does is in the module it calls; what it says and how it exits is in `console.py`.
Imports stand inside the commands: a command loads only what it needs, so it starts quickly.
"""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, overload

import typer

from finops_pipeline import console, process
from finops_pipeline.cli_options import Config, Since, Until, day_of, period, settings_of, teaching
from finops_pipeline.cli_rules import rules_app
from finops_pipeline.cli_serve import serve
from finops_pipeline.cli_showback import statement, tags, unallocated
from finops_pipeline.config import Settings

if TYPE_CHECKING:
    from finops_pipeline.query.model import CostQuery

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Cloud bills into figures that people act on and auditors trust.",
)
app.add_typer(rules_app, name="rules")
app.command()(statement)
app.command()(unallocated)
app.command()(tags)
app.command()(serve)

_TIMES = [
    "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f%z",
]  # fmt: skip
Format = Literal["table", "json", "csv"]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="dimension=value,value; keeps only these."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="dimension=value,value; leaves these out."),
]
Currency = Annotated[str, typer.Option(help="`reporting` or a billing currency.")]
AsOf = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=_TIMES, help="As known at this time (UTC)."),
]


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


@app.command()
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


@app.command()
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


@app.command()
def costs(
    by: Annotated[str, typer.Option(help="Dimensions, such as service,owner or tag:team.")] = "",
    metric: Annotated[str, typer.Option()] = "EffectiveCost",
    since: Since = None,
    until: Until = None,
    where: Where = None,
    exclude: Exclude = None,
    currency: Currency = "reporting",
    top: Annotated[int | None, typer.Option(min=1)] = None,
    order: Annotated[str, typer.Option(help="cost or name")] = "cost",
    as_of: AsOf = None,
    output: Annotated[Format, typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Ask what was spent, by whom, on what."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.answer import ask
    from finops_pipeline.query.model import QueryError
    from finops_pipeline.query.show import show
    from finops_pipeline.query.show import warnings as missing

    pipeline = Pipeline(settings_of(config))
    query = _query(
        where, exclude, by=by, metric=metric, since=day_of(since), until=day_of(until), top=top,
        currency=currency, order=order, as_of=as_of,
    )  # fmt: skip
    with teaching(QueryError), pipeline.engine() as engine:
        found = ask(pipeline.home, engine, query)
    console.answer(show(found, output))
    console.problems(missing(found))


@app.command()
def diff(
    as_of: Annotated[
        list[datetime],
        typer.Option("--as-of", formats=_TIMES, help="Two times (UTC); one compares with now."),
    ],
    by: Annotated[str, typer.Option(help="Dimensions of the lines.")] = "day,service,owner",
    metric: Annotated[str, typer.Option()] = "EffectiveCost",
    since: Since = None,
    until: Until = None,
    where: Where = None,
    exclude: Exclude = None,
    currency: Currency = "reporting",
    top: Annotated[int | None, typer.Option(min=1, help="Only what changed most.")] = None,
    order: Annotated[str, typer.Option(help="cost (the largest change first) or name")] = "cost",
    output: Annotated[Format, typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """What changed between two knowledge times, and which report or rule made it so."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.diff import diff as difference
    from finops_pipeline.query.model import QueryError
    from finops_pipeline.query.show_diff import diff_warnings, show_diff

    if len(as_of) > 2:
        console.wrong_use(f"a difference is between two times, not {len(as_of)}")
    pipeline = Pipeline(settings_of(config))
    query = _query(
        where, exclude, by=by, metric=metric, since=day_of(since), until=day_of(until), top=top,
        currency=currency, order=order,
    )  # fmt: skip
    with teaching(QueryError), pipeline.engine() as engine:
        found = difference(pipeline.home, engine, query, *map(_in_utc, as_of))
    console.answer(show_diff(found, output))
    console.problems(diff_warnings(found))


@app.command()
def explain(
    figure: Annotated[str, typer.Argument(metavar="ID", help="An x_AllocationId, or its start.")],
    as_of: AsOf = None,
    output: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Follow a figure back to its rule, its shares, its rate and its report lines."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.explain import ExplainError
    from finops_pipeline.query.explain import explain as explanation_of
    from finops_pipeline.query.explanation import explanation_problems
    from finops_pipeline.query.show_explanation import show_explanation

    pipeline = Pipeline(settings_of(config))
    with teaching(ExplainError), pipeline.engine() as engine:
        explanation = explanation_of(pipeline.home, engine, figure, as_of=_in_utc(as_of))
    console.answer(show_explanation(explanation, output))
    console.problems(explanation_problems(explanation))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="A .parquet, .csv or .csv.gz file.")],
    focus: Annotated[str, typer.Option(help="Version of FOCUS.")] = "1.2",
    since: Since = None,
    until: Until = None,
    source: Annotated[list[str] | None, typer.Option()] = None,
    dataset: Annotated[
        Literal["charges", "allocated", "billing-periods"],
        typer.Option(help="Charges as billed; daily costs by owner; or periods, open or closed."),
    ] = "charges",
    as_of: AsOf = None,
    config: Config = None,
) -> None:
    """Write FOCUS data for others."""
    from finops_pipeline.ingest.closing import days_to_close
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.store.export import ExportError, export_focus

    pipeline = Pipeline(settings_of(config))
    periods = {s.name: days_to_close(s.format) for s in pipeline.settings.sources}
    with teaching(ExportError), pipeline.engine() as engine:
        result = export_focus(
            pipeline.home, engine, out, focus, *period(since, until), source or None,
            as_of=_in_utc(as_of), allocated=dataset == "allocated",
            billing_periods_of=periods if dataset == "billing-periods" else None,
        )  # fmt: skip
    console.say(f"{result.rows:,} {dataset.replace('-', ' ')} in {result.path}")


@app.command()
def rejected(
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    output: Annotated[Format, typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """List the rows that broke the contract: report, row, column, value, what was expected."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.rejected import LIMIT, rejected_rows, show_rejected

    pipeline = Pipeline(settings_of(config))
    first, last = period(since, until)
    with teaching(), pipeline.engine() as engine:
        rows = rejected_rows(pipeline.home, engine, first, last, as_of=_in_utc(as_of))
    console.answer(show_rejected(rows, output))
    if len(rows) == LIMIT:
        console.say(f"only the first {LIMIT:,}; the table rejected_rows has them all")


@app.command()
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


@app.command()
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


def _query(where: list[str] | None, exclude: list[str] | None, **asked: object) -> CostQuery:
    """The question that the options make."""
    from finops_pipeline.query.model import QueryError, named_values, question

    with teaching(QueryError):
        asked["filters"] = named_values("--where", where or ())
        asked["exclude"] = named_values("--exclude", exclude or ())
        return question(asked)


@overload
def _in_utc(moment: datetime) -> datetime: ...
@overload
def _in_utc(moment: None) -> None: ...
@overload
def _in_utc(moment: datetime | None) -> datetime | None: ...
def _in_utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


if __name__ == "__main__":
    main()
