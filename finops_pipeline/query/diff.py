"""What changed between two knowledge times: line by line, and which report or rule made it so.

The figures of a time are those of `allocated_costs` as committed by then: what `ask` answers as of
it. Only charge days whose files differ are looked into. How lines are compared is in `compared.py`,
what figures were made from in `made_from.py`, how a cause is told in `moves.py`, how a difference
looks in `show_diff.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

import ibis

from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.ingest.ledger import Ledger, LedgerEntry
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.query import moves, owner_parts
from finops_pipeline.query.compared import COMPARED, SIDES, compared, lines_of, totals_of
from finops_pipeline.query.compile import that_count
from finops_pipeline.query.dimensions import OTHER, TABLE
from finops_pipeline.query.known_reports import known_reports
from finops_pipeline.query.made_from import MadeFrom, Place
from finops_pipeline.query.model import QUANTITY, REPORTING, CostQuery, QueryError

BY = ("day", "service", "owner")  # what lines are by when nothing is said
OTHERWISE = "other"  # the cause of what the lake cannot explain

_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])

Names = tuple[str | None, ...]


@dataclass(frozen=True)
class Cause:
    """Why a line changed, and by how much.

    `kind` is `new`, `repeated`, `restated`, `corrected`, `rewritten` or `restored` for a report
    (`report` is its name, `delivered_at` when it came); else `rules` (other allocation rules),
    `shares` (a pool was split otherwise, since what owners cost changed), `exchange rate`,
    `mapping` (the same report row is read otherwise), or `other`: not to be told from the lake.
    """

    kind: str
    change: Decimal
    report: str | None = None
    delivered_at: datetime | None = None


@dataclass(frozen=True)
class Line:
    """A line that changed: its cost at both times, and the causes, which sum to the change."""

    names: Names
    before: Decimal
    after: Decimal
    causes: tuple[Cause, ...]

    @property
    def change(self) -> Decimal:
        """What it costs more now."""
        return _EXACT.subtract(self.after, self.before)


@dataclass(frozen=True)
class Diff:
    """What changed. `before` and `after` are the totals over every charge that counts.

    The changes of the lines sum to the difference of the totals. `without_rate` has, for each
    billing currency, the rows that lack an exchange rate and so are in no sum, at both times.
    """

    query: CostQuery
    then: datetime
    now: datetime | None
    lines: tuple[Line, ...]
    before: Decimal
    after: Decimal
    currency: str | None
    without_rate: dict[str, tuple[int, int]]

    @property
    def change(self) -> Decimal:
        """The difference of the totals."""
        return _EXACT.subtract(self.after, self.before)


def diff(
    home: Home,
    engine: Engine,
    query: CostQuery,
    then: datetime,
    now: datetime | None = None,
) -> Diff:
    """What changed from one time to the other (by default the present). Raises QueryError."""
    if query.metric == QUANTITY:
        raise QueryError(f"a difference is of cost; {QUANTITY} has units that do not add up")
    if query.as_of is not None:
        raise QueryError("a difference has two times; the question itself must have none")
    if now is not None and now < then:
        raise QueryError(f"{now:%Y-%m-%d %H:%M:%S} lies before {then:%Y-%m-%d %H:%M:%S}")
    with localcontext(_EXACT):
        return _Comparison(home, engine, query, then, now).diff()


class _Comparison:
    def __init__(
        self,
        home: Home,
        engine: Engine,
        query: CostQuery,
        then: datetime,
        now: datetime | None,
    ) -> None:
        self.home = home
        self.engine = engine
        self.query = query
        self.then = then
        self.now = now
        table = home.table(TABLE)
        self._costs = {"then": table.committed(then), "now": table.committed(now)}
        if not self._costs["then"]:
            raise QueryError(
                f"the lake held no cost at {then:%Y-%m-%d %H:%M:%S} UTC; compare with a later time"
            )

    def diff(self) -> Diff:
        totals, rows = self._figures()
        query, n = self.query, len(self.query.by)
        lines = {
            tuple(row[f"d{i}"] for i in range(n)): (row["before"], row["after"]) for row in rows
        }
        order = sorted(lines, key=lambda k: (-abs(lines[k][1] - lines[k][0]), _by_name(k)))
        shown = order[: query.top]
        if query.order == "name":
            shown.sort(key=_by_name)
        causes = self._causes(set(shown))
        found = [_line(names, *lines[names], causes[names]) for names in shown]
        if rest := order[len(shown) :]:
            before, after = (sum((lines[k][i] for k in rest), Decimal(0)) for i in (0, 1))
            found.append(_line((OTHER,) * n, before, after, causes[(OTHER,) * n]))
        return Diff(
            query=query,
            then=self.then,
            now=self.now,
            lines=tuple(found),
            before=sum((t["before"] for t in totals), Decimal(0)),
            after=sum((t["after"] for t in totals), Decimal(0)),
            currency=self._currency(totals),
            without_rate={
                t["billing"]: (int(t["without_before"]), int(t["without_after"]))
                for t in sorted(totals, key=lambda t: str(t["billing"]))
                if t["without_before"] or t["without_after"]
            },
        )

    def _currency(self, totals: Sequence[Mapping[str, Any]]) -> str | None:
        if self.query.currency != REPORTING:
            return self.query.currency
        used = sorted({t["reporting"] for t in totals})
        if len(used) > 1:
            raise QueryError(
                f"figures of these times were converted to {' and '.join(used)}, which do not "
                "compare: the reporting currency was changed; ask in a billing currency instead"
            )
        return used[0] if used else None

    # Figures

    def _figures(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Totals by billing and reporting currency, and the lines that changed."""
        table = self.home.table(TABLE)
        files = {m: set(that_count(table.table, f, self.query)) for m, f in self._costs.items()}
        sides = (
            files["then"] & files["now"], files["then"] - files["now"], files["now"] - files["then"]
        )  # fmt: skip
        for name, side in zip(SIDES, sides, strict=True):
            self._bind(name, TABLE, side)
        self.engine.make(COMPARED, self.engine.compile(compared(self.query)))
        totals = self.engine.rows(self.engine.compile(totals_of(self.query))).to_pylist()
        lines = self.engine.rows(self.engine.compile(lines_of(self.query))).to_pylist()
        return totals, lines

    def _bind(self, name: str, table: str, files: Iterable[LakeFile]) -> None:
        lake = self.home.table(table)
        if (gone := lake.gone(files)) is not None:
            raise QueryError(
                f"the lake no longer holds what it knew at {self.then:%Y-%m-%d %H:%M:%S} UTC: "
                f"{gone.fingerprint}.parquet was vacuumed; compare with a later time"
            )
        self.engine.bind_files(name, lake.table, [lake.location(f) for f in sorted(files)])

    # Causes

    def _causes(self, shown: set[Names]) -> dict[Names, list[Cause]]:
        """The causes of each line shown, and of all others together."""
        effects: dict[Names, dict[tuple[str, str | None], Decimal]] = defaultdict(
            lambda: defaultdict(Decimal)
        )
        places = self._changed_places()
        if places and shown:
            made_from = MadeFrom(self.home, self._costs, places)
            ledgers = {s: Ledger(self.home.table("reports"), s) for s in {s for s, _ in places}}
            entries = {e.report_id: e for ledger in ledgers.values() for e in ledger.entries}
            self.engine.bind_arrow(moves.REPORTS, known_reports(ledgers.values()))
            compiled = [(n, self.engine.compile(x)) for n, x in moves.steps(self.query)]
            for chunk in made_from.chunks(places):
                self._effects(compiled, made_from, chunk, shown, effects)
            return defaultdict(
                list,
                {
                    names: [_cause(kind, entries.get(report or ""), change)
                            for (kind, report), change in of_line.items()]
                    for names, of_line in effects.items()
                },
            )  # fmt: skip
        return defaultdict(list)

    def _changed_places(self) -> list[Place]:
        """The sources and charge days whose figures are not the same files at both times."""
        table = tables()[TABLE]
        then, now = (set(that_count(table, f, self.query)) for f in self._costs.values())
        return sorted({(f.partition[0], f.partition[2]) for f in then ^ now})

    def _effects(
        self,
        compiled: Sequence[tuple[str, Sql]],
        made_from: MadeFrom,
        places: Sequence[Place],
        shown: set[Names],
        effects: dict[Names, dict[tuple[str, str | None], Decimal]],
    ) -> None:
        then, now = (made_from.files("focus_costs", m, places) for m in ("then", "now"))
        self._bind(moves.CHARGES["standing"], "focus_costs", then & now)
        self._bind(moves.CHARGES["then"], "focus_costs", then - now)
        self._bind(moves.CHARGES["now"], "focus_costs", now - then)
        for table, bound in (
            ("ownership", owner_parts.OWNERSHIP),
            ("shares", owner_parts.SHARES),
            ("superseded_rows", moves.SUPERSEDED),
            ("rejected_rows", moves.REJECTED),
        ):
            for moment, name in bound.items():
                self._bind(name, table, made_from.files(table, moment, places))
        for name, sql in compiled:
            self.engine.make(name, sql)
        made = compiled[-1][1].expression
        found = self.engine.compile(ibis.table(made.schema(), name=moves.EFFECTS))
        n = len(self.query.by)
        other = (OTHER,) * n
        for row in self.engine.rows(found).to_pylist():
            names = tuple(row[f"d{i}"] for i in range(n))
            line = effects[names if names in shown else other]
            line[row["kind"], row["report_id"]] += row["effect"]


def _cause(kind: str, entry: LedgerEntry | None, change: Decimal) -> Cause:
    if entry is None:
        return Cause(kind, change)
    return Cause(kind, change, entry.name, entry.delivered_at)


def _line(names: Names, before: Decimal, after: Decimal, causes: Iterable[Cause]) -> Line:
    """A line with its causes, the largest first; what they do not explain is a cause too."""
    found = [c for c in causes if c.change]
    if left := after - before - sum((c.change for c in found), Decimal(0)):
        found.append(Cause(OTHERWISE, left))
    found.sort(key=lambda c: (-abs(c.change), c.kind, c.report or ""))
    return Line(names, before, after, tuple(found))


def _by_name(names: Names) -> tuple[tuple[bool, str], ...]:
    return tuple((value is None, value or "") for value in names)
