"""What commands say and how: progress and findings on stderr, answers on stdout, true exit codes.

Exit codes: 0 done; 1 something was rejected, unreadable or unreconciled; 2 wrong use or
configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

FOUND_PROBLEMS = 1
WRONG_USE = 2

_SHOWN = 20

_stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(text: str) -> None:
    """A line for people, on stderr, so that stdout stays what was asked for."""
    _stderr.print(_safe(text))


def answer(text: str) -> None:
    """What was asked for, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def problems(found: Sequence[str]) -> None:
    """Findings on stderr, the first few in full; exits with 1 when there is any."""
    if not found:
        return
    for text in found[:_SHOWN]:
        say(f"problem: {text}")
    if len(found) > _SHOWN:
        say(f"… and {len(found) - _SHOWN} more")
    raise typer.Exit(FOUND_PROBLEMS)


def wrong_use(text: str) -> NoReturn:
    """Refuse a command that cannot be carried out as it was given."""
    say(f"error: {text}")
    raise typer.Exit(WRONG_USE)


def _safe(text: str) -> Text:
    """Names and values from a bill as they are: no markup, nothing that commands a terminal."""
    kept = (c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return Text("".join(kept))


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Progress of unknown length: a spinner on a terminal, plain lines elsewhere."""
    if not _stderr.is_terminal:
        yield say
        return
    with _stderr.status("working") as status:

        def step(text: str) -> None:
            say(text)
            status.update(_safe(text))

        yield step


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of known length: a bar on a terminal, first and last line elsewhere."""
    if not _stderr.is_terminal:
        say(title)
        yield lambda done, whole: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=_stderr) as progress:
        task = progress.add_task(title, total=None)

        def step(done: int, whole: int) -> None:
            progress.update(task, completed=done, total=whole)

        yield step
