"""`finops rules`: what the allocation rules say, what others would change, and what was changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finops_pipeline import console
from finops_pipeline.cli_options import Config, Since, Until, period, settings_of, teaching

if TYPE_CHECKING:
    from finops_pipeline.allocate.rules import Rules
    from finops_pipeline.lake.home import Home

rules_app = typer.Typer(
    no_args_is_help=True, help="Allocation rules: compare, try, and look up what was changed."
)


@rules_app.command()
def schema() -> None:
    """Print the JSON Schema of rules.yaml, for editors."""
    from finops_pipeline.allocate.schema import schema as schema_of_rules

    console.answer(schema_of_rules())


@rules_app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A rules file, or a rule set by its hash.")],
    new: Annotated[str, typer.Argument(help="A rules file, or a rule set by its hash.")],
    since: Since = None,
    until: Until = None,
    output: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Show which cost would move between which owners, before anything is rebuilt."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.rules_diff import rules_diff, sources_of
    from finops_pipeline.query.show_rules import show_rules_diff

    pipeline = Pipeline(settings_of(config))
    first, last = period(since, until)
    with teaching(), pipeline.engine() as engine:
        home = pipeline.home
        sets = [_rules(home, text) for text in (old, new)]
        found = rules_diff(home, engine, sets[0], sets[1], sources_of(home), first, last)
    console.answer(show_rules_diff(found, output))


def _rules(home: Home, text: str) -> Rules:
    """The rules of a file, or those that made figures of the lake."""
    from finops_pipeline.allocate.load import load_rules
    from finops_pipeline.config import ConfigError
    from finops_pipeline.store.audit import known_rules, rules_of

    if Path(text).exists() or not all(c in "0123456789abcdef" for c in text):
        return load_rules(Path(text))
    known = [name for name in known_rules(home) if name.startswith(text)]
    if len(known) != 1 or (rules := rules_of(home, known[0])) is None:
        raise ConfigError(
            f"{text}: neither a file nor the start of one rule set; `finops rules log` lists them"
        )
    return rules


@rules_app.command()
def test(
    examples: Annotated[Path, typer.Argument(help="A file of examples.")] = Path("rules_test.yaml"),
    rules: Annotated[
        Path | None, typer.Option(help="The rules to try; by default those of finops.yaml.")
    ] = None,
    config: Config = None,
) -> None:
    """Hold your own examples against the rules."""
    from finops_pipeline.allocate.examples import judge, load_examples
    from finops_pipeline.allocate.load import load_rules

    with teaching():
        tried = load_rules(rules or settings_of(config).rules)
        verdicts = judge(tried, load_examples(examples))
    wrong = [v for v in verdicts if v.differences]
    for verdict in verdicts:
        console.answer(f"{'FAIL' if verdict.differences else 'ok  '} {verdict.name}")
        for difference in verdict.differences:
            console.answer(f"       {difference}")
    console.answer(f"{len(verdicts) - len(wrong)} of {len(verdicts)} examples are as expected")
    if wrong:
        raise typer.Exit(console.FOUND_PROBLEMS)


@rules_app.command()
def log(
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    output: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    config: Config = None,
) -> None:
    """Show who changed the rules, when, and each owner's totals before and after."""
    from finops_pipeline.orchestration.pipeline import Pipeline
    from finops_pipeline.query.show_rules import show_rule_changes
    from finops_pipeline.store.audit import rule_changes

    with teaching():
        found = rule_changes(Pipeline(settings_of(config)).home, source)
    console.answer(show_rule_changes(found, output))
