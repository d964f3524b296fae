"""Showback on the command line: statements, what nobody owns, and how well things are tagged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finops_pipeline import console
from finops_pipeline.cli_options import Config, Since, Until, period, settings_of, teaching

if TYPE_CHECKING:
    from finops_pipeline.engine.protocol import Engine
    from finops_pipeline.orchestration.pipeline import Pipeline


@contextmanager
def _asked(config: Path | None) -> Iterator[tuple[Pipeline, Engine]]:
    """The pipeline and an engine to ask it with; what a user can do wrong is told."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.model import QueryError

    pipeline = Pipeline(settings_of(config))
    with teaching(QueryError), pipeline.engine() as engine:
        yield pipeline, engine


def statement(
    month: Annotated[str, typer.Option(help="The month, as YYYY-MM.")],
    owner: Annotated[str | None, typer.Option(help="Only this owner.")] = None,
    output: Annotated[Literal["table", "json", "csv", "html"], typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Tell each owner what a month cost, and why it changed since the month before."""
    from finops_pipeline.query.show_statement import show_statements, statement_warnings
    from finops_pipeline.query.statement import statements

    with _asked(config) as (pipeline, engine):
        found = statements(pipeline.home, engine, month, owner)
    console.answer(show_statements(found, output))
    console.problems(statement_warnings(found))


def unallocated(
    since: Since = None,
    until: Until = None,
    top: Annotated[int, typer.Option(min=1, help="Lines of each ranking.")] = 10,
    output: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Rank what nobody owns, and suggest the rule or tag that would move most of it."""
    from finops_pipeline.query.show import warnings
    from finops_pipeline.query.show_unallocated import show_unallocated
    from finops_pipeline.query.unallocated import unallocated as ranked

    with _asked(config) as (pipeline, engine):
        found = ranked(pipeline.home, engine, pipeline.rules, *period(since, until), top)
    console.answer(show_unallocated(found, output))
    console.problems(warnings(found.total))


def tags(
    since: Since = None,
    until: Until = None,
    top: Annotated[int, typer.Option(min=1, help="Drifted resources of each tag.")] = 20,
    output: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Tell how much cost has valid, invalid or no values of the rules' tags, and what drifted."""
    from finops_pipeline.query.show_tagging import show_tagging, tagging_warnings
    from finops_pipeline.query.tagging import tagging

    with _asked(config) as (pipeline, engine):
        found = tagging(pipeline.home, engine, pipeline.rules, *period(since, until), top)
    console.answer(show_tagging(found, output))
    console.problems(tagging_warnings(found))
