"""The commands that ask what was spent: `costs`, `diff`, `explain`, `rejected`, `export`.

What they call is in `query/` and `store/export.py`; how the answers are said is in `console.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, overload

import typer

from finops_pipeline import console
from finops_pipeline.cli_options import Config, Since, Until, day_of, period, settings_of, teaching

if TYPE_CHECKING:
    from finops_pipeline.query.model import CostQuery

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
