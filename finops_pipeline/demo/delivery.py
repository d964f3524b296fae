"""Which rows each delivery holds: those of its window, late ones, repeated and restated ones.

Nothing is remembered from delivery to delivery: any row can be made again. Each kind of trouble
keeps to its own hour of a window, so that no row suffers two of them, and the truth stays plain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from finops_pipeline.demo.calendar import WINDOW, Calendar
from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.money import RUNGS, RUNGS_TO_DOUBLE, Money
from finops_pipeline.demo.usage import Rows, Usage

_LINES_AT_ONCE = 4096
# (line number modulo 50, window modulo 8, windows late): up to three weeks.
_LATE = ((3, 1, 1), (11, 2, 2), (19, 3, 12), (29, 5, 40), (41, 6, 84))
_LATE_LINES, _LATE_WINDOWS = 50, 8
_REPEATS_EVERY, _REPEATED_HOUR = 9, 5
_RESTATES_EVERY, _RESTATED_HOUR, _RESTATED_AFTER, _RESTATED_LINES = 5, 2, 2, 499


@dataclass(frozen=True)
class Batch:
    """Rows of one window as one delivery holds them.

    `superseded` are the entries of earlier rows with the same references, if they had been
    delivered before: equal to the rows' own where they are merely repeated.
    """

    rows: Rows
    superseded: Ints | None = None


class Deliveries:
    """The ordinary rows of every delivery, in batches of some ten thousand."""

    def __init__(self, usage: Usage, money: Money, calendar: Calendar, lines: int) -> None:
        self._usage = usage
        self._money = money
        self._calendar = calendar
        self._lines = np.arange(lines, dtype=np.int64)

    def batches(self, delivery: int) -> Iterator[Batch]:
        """All that a delivery holds but corrections."""
        if delivery < self._calendar.windows:
            yield from self._of_window(delivery)
        yield from self._late(delivery)
        if delivery % _REPEATS_EVERY == 4:
            yield from self._repeated(delivery - 1)
        if delivery % _RESTATES_EVERY == 3:
            yield from self._restated(delivery - _RESTATED_AFTER)

    def punctual(self, lines: Ints, window: int, hours: Ints) -> Rows:
        """The rows of `lines` in `hours` that arrive with their own window."""
        for residue, phase, _ in _LATE:
            if window % _LATE_WINDOWS == phase:
                lines = lines[lines % _LATE_LINES != residue]
        return self._usage.rows(lines, window, hours)

    def sample(self, window: int, hour_of_window: int, one_in: int) -> Rows:
        """A few punctual rows of one hour: every so many lines, others in each window."""
        if not 0 <= window < self._calendar.windows:
            return self.punctual(self._lines[:0], 0, self._calendar.window_hours(0))
        step = min(one_in, max(1, len(self._lines) // 4))
        hours = self._calendar.window_hours(window)[hour_of_window : hour_of_window + 1]
        return self.punctual(self._lines[window % step :: step], window, hours)

    def _of_window(self, window: int) -> Iterator[Batch]:
        hours = self._calendar.window_hours(window)
        for start in range(0, len(self._lines), _LINES_AT_ONCE):
            lines = self._lines[start : start + _LINES_AT_ONCE]
            yield Batch(self.punctual(lines, window, hours))

    def _late(self, delivery: int) -> Iterator[Batch]:
        for residue, phase, lag in _LATE:
            window = delivery - lag
            if 0 <= window < self._calendar.windows and window % _LATE_WINDOWS == phase:
                lines = self._lines[residue::_LATE_LINES]
                hours = self._calendar.window_hours(window)
                yield from map(Batch, self._in_chunks(lines, window, hours))

    def _repeated(self, window: int) -> Iterator[Batch]:
        if window >= self._calendar.windows:
            return
        hours = self._calendar.window_hours(window)[_REPEATED_HOUR:]
        for start in range(0, len(self._lines), _LINES_AT_ONCE * WINDOW):
            lines = self._lines[start : start + _LINES_AT_ONCE * WINDOW]
            rows = self.punctual(lines, window, hours)
            yield Batch(rows, superseded=rows.entry)

    def _restated(self, window: int) -> Iterator[Batch]:
        rows = self.sample(window, _RESTATED_HOUR, _RESTATED_LINES)
        billionths, rest = self._money.parts(rows.entry)
        # Only rows that cost something and have room on the ladder can change their cost.
        rows = rows.where(
            ((billionths != 0) | (rest != 0)) & (rows.entry % RUNGS < RUNGS - RUNGS_TO_DOUBLE)
        )
        doubled = Rows(window, rows.line, rows.hour, rows.entry + RUNGS_TO_DOUBLE, rows.luck)
        yield Batch(doubled, superseded=rows.entry)

    def _in_chunks(self, lines: Ints, window: int, hours: Ints) -> Iterator[Rows]:
        for start in range(0, len(lines), _LINES_AT_ONCE):
            yield self._usage.rows(lines[start : start + _LINES_AT_ONCE], window, hours)
