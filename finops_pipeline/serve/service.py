"""What the API answers: the JSON that the command of the same name prints, character by character.

Questions come from many threads. An engine answers one at a time, so each question takes one that
is free. Nothing of the lake is kept between two questions: each looks which version is the newest.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING

from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.answer import NOTHING_YET, ask, holds_costs, too_many
from finops_pipeline.query.diff import diff
from finops_pipeline.query.explain import explain
from finops_pipeline.query.model import CostQuery, QueryError
from finops_pipeline.query.show import show
from finops_pipeline.query.show_diff import show_diff
from finops_pipeline.query.show_explanation import show_explanation
from finops_pipeline.query.show_statement import show_statements
from finops_pipeline.query.show_unallocated import show_unallocated
from finops_pipeline.query.statement import statements
from finops_pipeline.query.unallocated import unallocated

if TYPE_CHECKING:
    from finops_pipeline.allocate.rules import Rules

MOST_LINES = 10_000  # of an answer
_WAIT = 30.0  # seconds for an engine that is free


class NothingYet(Exception):
    """The lake holds no cost yet."""


class Busy(Exception):
    """Every engine has answered other questions for as long as one waits."""


class Service:
    """Questions to one home, from any number of threads."""

    def __init__(
        self, home: Home, engines: Sequence[Engine], rules: Callable[[], Rules], wait: float = _WAIT
    ) -> None:
        """`rules` reads the rules as they are now, for what would give unallocated cost an owner.

        A question waits so many seconds for an engine that is free.
        """
        self._home = home
        self._engines = tuple(engines)
        self._rules = rules
        self._wait = wait
        self._free: LifoQueue[Engine] = LifoQueue()
        for engine in engines:
            self._free.put(engine)

    @contextmanager
    def warm(self) -> Iterator[None]:
        """Load what every question needs before the first one comes, and let Python look past it.

        Else now and then a question waits while the garbage collector looks through the libraries.
        """
        for engine in self._engines:
            with suppress(QueryError):  # whoever asks is told
                ask(self._home, engine, CostQuery(by=("service",), top=1))
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()

    def costs(self, query: CostQuery) -> str:
        """As `finops costs`. Raises QueryError, also for more lines than an answer may have."""
        with self._engine() as engine:
            return show(ask(self._home, engine, query, MOST_LINES), "json")

    def explain(self, figure: str, as_of: datetime | None) -> str:
        """As `finops explain`: all evidence of one figure. Raises ExplainError."""
        with self._engine() as engine:
            return show_explanation(explain(self._home, engine, figure, as_of=as_of), "json")

    def unallocated(self, since: date | None, until: date | None, top: int) -> str:
        """As `finops unallocated`. Raises QueryError, and ConfigError for rules that are broken."""
        with self._engine() as engine:
            found = unallocated(self._home, engine, self._rules(), since, until, top)
        return show_unallocated(found, "json")

    def statement(self, owner: str, month: str) -> str:
        """As `finops statement` of one owner. Raises UnknownOwner and QueryError."""
        with self._engine() as engine:
            return show_statements(statements(self._home, engine, month, owner), "json")

    def diff(self, query: CostQuery, then: datetime, now: datetime | None) -> str:
        """As `finops diff`. Raises QueryError, also for more lines than an answer may have."""
        with self._engine() as engine:
            found = diff(self._home, engine, query, then, now)
        if len(found.lines) > MOST_LINES:
            raise QueryError(too_many(MOST_LINES))
        return show_diff(found, "json")

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        """An engine that nobody else asks. Raises NothingYet and Busy."""
        if not holds_costs(self._home):
            raise NothingYet(NOTHING_YET)
        try:
            engine = self._free.get(timeout=self._wait)
        except Empty:
            raise Busy(
                f"other questions have kept every engine for {self._wait:.0f} seconds; ask again, "
                "or ask for fewer days"
            ) from None
        try:
            yield engine
        finally:
            self._free.put(engine)
