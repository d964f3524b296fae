"""From an allocated figure back to its rule, shares, rate, charges and report rows (promise 8).

Everything is read from the lake and the raw archive here. That it adds up is seen in `adds_up.py`;
what an explanation is and how it looks is elsewhere too (`explanation.py`, `show_explanation.py`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from finops_pipeline.allocate.rule_text import rule_text
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.contracts.tables import DAILY_DIMENSIONS
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.query.adds_up import differences, sum_of
from finops_pipeline.query.evidence import (
    FIGURES,
    bound,
    charges_sql,
    decisions_sql,
    of_table,
    shares_sql,
)
from finops_pipeline.query.explanation import Charge, Decision, Explanation, PoolShare, Rate
from finops_pipeline.query.report_rows import ReportRows
from finops_pipeline.store.allocated import GROUP, METRICS
from finops_pipeline.store.audit import rules_of

RAW_LINES = 20  # report rows that are read; more charges are counted only

_SHORTEST, _LONGEST = 8, 32  # digits of an identifier, or of its start
_LISTED = 5  # figures that are named when a start is ambiguous

_WHAT = (*DAILY_DIMENSIONS, "x_ScopeId", "x_ScopePath")

Row = dict[str, Any]


class ExplainError(Exception):
    """A figure that cannot be explained; the message says why and what to do."""


class UnknownFigure(ExplainError):
    """The lake has no figure with this identifier, or had none then."""


def explain(
    home: Home,
    engine: Engine,
    allocation_id: str,
    raw_lines: int = RAW_LINES,
    as_of: datetime | None = None,
) -> Explanation:
    """Explain the figure with this x_AllocationId, or a unique start of it. Raises ExplainError.

    Of at most `raw_lines` charges the row of the report is read out of the archive. `as_of` looks
    for the figure as it was known then, and explains it by what it was made from.
    """
    case = _Case(home, engine, as_of)
    (found,) = case.explained(case.figure(allocation_id.strip().lower()), raw_lines)
    return found


def explain_day(home: Home, engine: Engine, source: str, day: date) -> Iterator[Explanation]:
    """Explain every figure of a charge day of a source, each with all its report rows.

    What is read is read once for all of them.
    """
    case = _Case(home, engine, None)
    yield from case.explained(case.figures(source, day), None)


class _Case:
    """Figures of one source and charge day, as they are known at a time."""

    def __init__(self, home: Home, engine: Engine, as_of: datetime | None) -> None:
        self.home = home
        self.engine = engine
        self.as_of = as_of
        self._rules: dict[str, Rules | None] = {}

    def explained(self, figures: pa.Table, raw_lines: int | None) -> Iterator[Explanation]:
        """The figures' explanations, each with at most so many report rows; None is all."""
        self.engine.bind_arrow(FIGURES, figures)
        rows = figures.to_pylist()
        place = (rows[0]["x_Source"], rows[0]["x_ChargeDay"].isoformat())
        decided = {row["ownership_id"]: row for row in self._decided(place)}
        shares = self._shares(place) if any(row["x_Pool"] is not None for row in rows) else {}
        charges = {key: _split(of, raw_lines) for key, of in self._charges(place).items()}
        raw = self._report_rows(place[0], [c for first, _ in charges.values() for c in first])
        for figure in rows:
            decision = decided.get(figure["x_OwnershipId"])
            part = decision["pool_part"] if decision else ""
            of_pool = shares.get((figure["x_Pool"], part), [])
            first, rest = charges.get(_key(figure), ([], []))
            made_of = (*map(raw.with_raw, first), *rest)
            yield self._explanation(figure, decision, of_pool, made_of, len(rest))

    def _explanation(
        self,
        figure: Row,
        decided: Row | None,
        shares: Sequence[PoolShare],
        charges: Sequence[Charge],
        more_raw: int,
    ) -> Explanation:
        own = next((s for s in shares if _is_of(figure, s)), None)
        whole = {name: sum_of(c.amounts[name] for c in charges) for name in METRICS}
        return Explanation(
            allocation_id=figure["x_AllocationId"],
            source=figure["x_Source"],
            charge_day=figure["x_ChargeDay"],
            owner=figure["x_BusinessUnit"],
            dimensions={name: figure[name] for name in _WHAT},
            amounts={name: figure[name] for name in METRICS},
            share=figure["x_Share"],
            decision=Decision(
                tier=figure["x_Tier"],
                rule=figure["x_Rule"],
                text=self._rule_text(figure),
                evidence=decided["evidence"] if decided else None,
                pool=figure["x_Pool"],
                pool_part=(decided["pool_part"] or None) if decided else None,
                effective_tags=decided["effective_tags"] if decided else None,
                ownership_id=figure["x_OwnershipId"],
                rule_set=figure["x_RuleSet"],
            ),
            shares=tuple(shares),
            own_share=own,
            rate=Rate(
                figure["x_ExchangeRate"],
                figure["x_ExchangeRateDate"],
                figure["x_ExchangeRateSource"],
                figure["BillingCurrency"],
                figure["x_ReportingCurrency"],
            ),
            whole=whole,
            charges=tuple(charges),
            more_raw=more_raw,
            differences=tuple(differences(figure, whole, len(charges), shares, own)),
        )

    def _rule_text(self, figure: Row) -> str | None:
        """The rule that decided, from the rules that made the figure."""
        name = figure["x_RuleSet"]
        if name not in self._rules:
            self._rules[name] = rules_of(self.home, name)
        rules = self._rules[name]
        if rules is None:
            return None
        day, provider = figure["x_ChargeDay"], figure["ProviderName"]
        return rule_text(rules, figure["x_Rule"], day, provider)

    def figures(self, source: str, day: date) -> pa.Table:
        """All figures of the day. Raises ExplainError when there are none."""
        table = self.home.table("allocated_costs")
        files = table.files(source, x_ChargeDay=[day.isoformat()])
        if not files:
            raise ExplainError(f"the lake holds no costs of {source} on {day}")
        return self.engine.rows(self.engine.compile(self._bind("allocated_costs", files)))

    def figure(self, text: str) -> pa.Table:
        """The figure with this identifier, or this start of one. Raises ExplainError."""
        if not re.fullmatch(f"[0-9a-f]{{{_SHORTEST},{_LONGEST}}}", text):
            raise ExplainError(
                f"{text!r} is no figure: expected an x_AllocationId of allocated_costs "
                f"({_LONGEST} hexadecimal digits), or at least its first {_SHORTEST} digits"
            )
        table = self.home.table("allocated_costs")
        committed = table.committed(self.as_of)
        files = sorted(committed)
        if not files:
            raise UnknownFigure(
                f"the lake held no allocated costs at {self.as_of:%Y-%m-%d %H:%M:%S} UTC; explain "
                "as of a later time"
                if self.as_of
                else "the lake holds no allocated costs yet; `finops run` makes them"
            )
        costs = self._bind("allocated_costs", files)
        # Identifier and place alone: no other column is read from files that do not hold it.
        found = costs.filter(
            costs.x_AllocationId == text
            if len(text) == _LONGEST
            else costs.x_AllocationId.startswith(text)
        ).select("x_AllocationId", *table.table.partition_by)
        rows = self._asked(found.order_by("x_AllocationId").limit(_LISTED + 1))
        if not rows:
            raise UnknownFigure(
                f"no figure {text}: it may have been replaced when its day was rebuilt (`--as-of` "
                "finds what was known earlier); "
                "identifiers are in the column x_AllocationId of allocated_costs"
            )
        if len(rows) > 1:
            raise ExplainError(_ambiguous(text, rows))
        wanted = tuple(str(rows[0][name]) for name in table.table.partition_by)
        costs = self._bind("allocated_costs", [f for f in files if f.partition == wanted])
        if self.as_of is not None:
            # What the figure was made from is what stood there when it was committed.
            self.as_of = max(committed[f] for f in files if f.partition == wanted)
        same = costs.x_AllocationId == rows[0]["x_AllocationId"]
        return self.engine.rows(self.engine.compile(costs.filter(same)))

    def _charges(self, place: tuple[str, str]) -> dict[tuple[Any, ...], list[Charge]]:
        """The charges that figures sum, by all that figures are grouped by."""
        self._bind("focus_costs", self._files("focus_costs", place))
        charges_by: dict[tuple[Any, ...], list[Charge]] = defaultdict(list)
        for row in self._rows(charges_sql()):
            charge = Charge(
                reference_number=row["x_ReferenceNumber"],
                start=row["ChargePeriodStart"],
                end=row["ChargePeriodEnd"],
                amounts={name: row[name] for name in METRICS},
                is_correction=row["x_IsCorrection"],
                corrects=row["x_BackReferenceNumber"],
                report=row["x_Report"],
                report_id=row["x_ReportId"],
                report_row=row["x_ReportRow"],
                delivered_at=row["x_DeliveredAt"],
            )
            charges_by[_key(row)].append(charge)
        return charges_by

    def _decided(self, place: tuple[str, str]) -> list[Row]:
        """The decisions that figures rest on."""
        self._bind("ownership", self._files("ownership", place))
        return self._rows(decisions_sql())

    def _shares(self, place: tuple[str, str]) -> dict[tuple[str, str], list[PoolShare]]:
        """The shares of the figures' pools, by pool and what the charges belong to."""
        self._bind("shares", self._files("shares", place))
        names = PoolShare.__dataclass_fields__
        found: dict[tuple[str, str], list[PoolShare]] = defaultdict(list)
        for row in self._rows(shares_sql()):
            share = PoolShare(**{name: row[name] for name in names})
            found[row["pool"], row["pool_part"]].append(share)
        return found

    def _report_rows(self, source: str, charges: Sequence[Charge]) -> ReportRows:
        reports = self._bind("reports", self.home.table("reports").files(source))
        wanted = sorted({charge.report_id for charge in charges})
        known = self._asked(reports.filter(reports.report_id.isin(wanted)))
        return ReportRows(self.home, {row["report_id"]: row for row in known}, charges)

    def _bind(self, name: str, files: Sequence[LakeFile]) -> ir.Table:
        table = self.home.table(name)
        if self.as_of and (gone := table.gone(files)):
            raise ExplainError(
                f"the lake no longer holds what it knew then: {gone.fingerprint}.parquet was "
                "vacuumed; explain as of a later time"
            )
        self.engine.bind_files(bound(name), table.table, [table.location(f) for f in files])
        return of_table(name)

    def _files(self, name: str, place: tuple[str, str]) -> list[LakeFile]:
        return self.home.table(name).files(*place, as_of=self.as_of)

    def _asked(self, expression: ir.Table) -> list[Row]:
        return self._rows(self.engine.compile(expression))

    def _rows(self, sql: Sql) -> list[Row]:
        rows: list[Row] = self.engine.rows(sql).to_pylist()
        return rows


def _key(row: Row) -> tuple[Any, ...]:
    """All that figures are grouped by, of a figure or a charge."""
    return tuple(row[name] for name in GROUP)


def _is_of(figure: Row, share: PoolShare) -> bool:
    """Whether the figure is the part of this share."""
    taker = share.place or share.owner
    return bool(figure["x_BusinessUnit"] == share.owner and figure["AllocatedResourceId"] == taker)


def _split(charges: list[Charge], first: int | None) -> tuple[list[Charge], list[Charge]]:
    return (charges, []) if first is None else (charges[:first], charges[first:])


def _ambiguous(text: str, rows: Sequence[Row]) -> str:
    listed = "; ".join(
        f"{row['x_AllocationId']} ({row['x_ChargeDay']}, {row['x_BusinessUnit']})"
        for row in rows[:_LISTED]
    )
    more = "; and more" if len(rows) > _LISTED else ""
    return f"{text} is the start of more than one figure: {listed}{more}; give more digits"
