"""From an allocated figure back to its rule, shares, rate, charges and report rows (promise 8).

Everything is read from the lake and the raw archive and added up again here, in Python's exact
decimals and not by the engine that made the figure. What an explanation is and how it looks is
elsewhere (`explanation.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from finops_pipeline.allocate.rule_text import rule_text
from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.raw import raw_format
from finops_pipeline.contracts.tables import DAILY_DIMENSIONS, tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.ingest import salvage
from finops_pipeline.ingest.gcp_rows import MADE
from finops_pipeline.ingest.rows import WITHIN, CutOffError
from finops_pipeline.ingest.structured import BrokenFileError, kind_of, record_texts
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home
from finops_pipeline.query.explanation import (
    Amounts,
    Charge,
    Decision,
    Explanation,
    PoolShare,
    Rate,
    show_explanation,
)
from finops_pipeline.store.allocated import GROUP, METRICS
from finops_pipeline.store.audit import rules_of

__all__ = ["ExplainError", "Explanation", "explain", "show_explanation"]

RAW_LINES = 20  # report rows that are read; more charges are counted only

_SHORTEST, _LONGEST = 8, 32  # digits of an identifier, or of its start
_LISTED = 5  # figures that are named when a start is ambiguous
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
_ROUNDING = Context(prec=120, rounding=ROUND_HALF_UP)
_HIGH, _MONEY = Decimal("1E-6"), Decimal("1E-18")

_WHAT = (*DAILY_DIMENSIONS, "x_ScopeId", "x_ScopePath")

Row = dict[str, Any]


class ExplainError(Exception):
    """A figure that cannot be explained; the message says why and what to do."""


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
    return _Case(home, engine, as_of).explain(allocation_id.strip().lower(), raw_lines)


class _Case:
    def __init__(self, home: Home, engine: Engine, as_of: datetime | None) -> None:
        self.home = home
        self.engine = engine
        self.as_of = as_of

    def explain(self, text: str, raw_lines: int) -> Explanation:
        figure = self._figure(text)
        place = (figure["x_Source"], figure["x_ChargeDay"].isoformat())
        decision = figure["x_OwnershipId"]
        decided = self._some("ownership", place, lambda t: t.ownership_id == decision)
        part = decided[0]["pool_part"] if decided else ""
        shares = [] if figure["x_Pool"] is None else self._shares(place, figure["x_Pool"], part)
        charges = self._charges(place)
        amounts = {name: figure[name] for name in METRICS}
        whole = {name: _sum(c.amounts[name] for c in charges) for name in METRICS}
        return Explanation(
            allocation_id=figure["x_AllocationId"],
            source=figure["x_Source"],
            charge_day=figure["x_ChargeDay"],
            owner=figure["x_BusinessUnit"],
            dimensions={name: figure[name] for name in _WHAT},
            amounts=amounts,
            share=figure["x_Share"],
            decision=Decision(
                tier=figure["x_Tier"],
                rule=figure["x_Rule"],
                text=self._rule_text(figure),
                evidence=decided[0]["evidence"] if decided else None,
                pool=figure["x_Pool"],
                pool_part=part or None,
                effective_tags=decided[0]["effective_tags"] if decided else None,
                ownership_id=decision,
                rule_set=figure["x_RuleSet"],
            ),
            shares=tuple(shares),
            rate=Rate(
                figure["x_ExchangeRate"],
                figure["x_ExchangeRateDate"],
                figure["x_ExchangeRateSource"],
                figure["BillingCurrency"],
                figure["x_ReportingCurrency"],
            ),
            whole=whole,
            charges=(*self._with_raw(place[0], charges[:raw_lines]), *charges[raw_lines:]),
            more_raw=max(0, len(charges) - raw_lines),
            differences=tuple(_differences(figure, whole, len(charges), shares)),
        )

    def _rule_text(self, figure: Row) -> str | None:
        """The rule that decided, from the rules that made the figure."""
        rules = rules_of(self.home, figure["x_RuleSet"])
        if rules is None:
            return None
        day, provider = figure["x_ChargeDay"], figure["ProviderName"]
        return rule_text(rules, figure["x_Rule"], day, provider)

    def _figure(self, text: str) -> Row:
        """The figure itself; left bound as `explained figure`."""
        if not re.fullmatch(f"[0-9a-f]{{{_SHORTEST},{_LONGEST}}}", text):
            raise ExplainError(
                f"{text!r} is no figure: expected an x_AllocationId of allocated_costs "
                f"({_LONGEST} hexadecimal digits), or at least its first {_SHORTEST} digits"
            )
        table = self.home.table("allocated_costs")
        committed = table.committed(self.as_of)
        files = sorted(committed)
        if not files:
            raise ExplainError(
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
        rows = self._rows(found.order_by("x_AllocationId").limit(_LISTED + 1))
        if not rows:
            raise ExplainError(
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
        figure = self.engine.rows(self.engine.compile(costs.filter(same)))
        self.engine.bind_arrow("explained figure", figure)
        row: Row = figure.to_pylist()[0]
        return row

    def _charges(self, place: tuple[str, str]) -> list[Charge]:
        """The charges that the figure sums: equal to it in all that figures are grouped by."""
        charges = self._bind(
            "focus_costs", self.home.table("focus_costs").files(*place, as_of=self.as_of)
        )
        schema = ibis_schema(tables()["allocated_costs"])
        figure = ibis.table({name: schema[name] for name in GROUP}, name="explained figure")
        same = [charges[name].identical_to(figure[name]) for name in GROUP]
        found = charges.semi_join(figure, same).order_by(
            "ChargePeriodStart", "x_Report", "x_ReportRow"
        )
        return [
            Charge(
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
            for row in self._rows(found)
        ]

    def _shares(self, place: tuple[str, str], pool: str, part: str) -> list[PoolShare]:
        rows = self._some("shares", place, lambda t: (t.pool == pool) & (t.pool_part == part))
        names = PoolShare.__dataclass_fields__
        found = [PoolShare(**{name: row[name] for name in names}) for row in rows]
        return sorted(found, key=lambda share: share.position)

    def _with_raw(self, source: str, charges: Sequence[Charge]) -> list[Charge]:
        """The charges with their report rows, each report read once and no further than needed."""
        wanted: dict[str, set[int]] = {}
        for charge in charges:
            wanted.setdefault(charge.report_id, set()).add(charge.report_row % WITHIN)
        reports = self._bind("reports", self.home.table("reports").files(source))
        known = self._rows(reports.filter(reports.report_id.isin(list(wanted))))
        entries = {row["report_id"]: row for row in known}
        read = {i: _read(self.home, entries.get(i), rows) for i, rows in wanted.items()}
        return [
            _joined(charge, read[charge.report_id], _is_numbered(entries.get(charge.report_id)))
            for charge in charges
        ]

    def _some(self, name: str, place: tuple[str, ...], condition: Any) -> list[Row]:
        table = self._bind(name, self.home.table(name).files(*place, as_of=self.as_of))
        return self._rows(table.filter(condition(table)))

    def _bind(self, name: str, files: Sequence[LakeFile]) -> ir.Table:
        table, bound = self.home.table(name), f"explained {name}"
        if self.as_of and (gone := table.gone(files)):
            raise ExplainError(
                f"the lake no longer holds what it knew then: {gone.fingerprint}.parquet was "
                "vacuumed; explain as of a later time"
            )
        self.engine.bind_files(bound, table.table, [table.location(f) for f in files])
        return ibis.table(ibis_schema(table.table), name=bound)

    def _rows(self, expression: ir.Table) -> list[Row]:
        rows: list[Row] = self.engine.rows(self.engine.compile(expression)).to_pylist()
        return rows


def _ambiguous(text: str, rows: Sequence[Row]) -> str:
    listed = "; ".join(
        f"{row['x_AllocationId']} ({row['x_ChargeDay']}, {row['x_BusinessUnit']})"
        for row in rows[:_LISTED]
    )
    more = "; and more" if len(rows) > _LISTED else ""
    return f"{text} is the start of more than one figure: {listed}{more}; give more digits"


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """The exact sum of what is there, as SQL has it: of nothing it is null."""
    total = None
    for value in values:
        if value is not None:
            total = value if total is None else _EXACT.add(total, value)
    return total


def _differences(
    figure: Row, whole: Amounts, charges: int, shares: Sequence[PoolShare]
) -> list[str]:
    """What of the figure is not what its charges and its share make."""
    found = []
    if charges != figure["x_ChargeCount"]:
        found.append(f"it sums {figure['x_ChargeCount']} charges; the lake has {charges} of them")
    before, after = Decimal(0), Decimal(1)
    if figure["x_Pool"] is not None:
        own = next((s for s in shares if s.owner == figure["x_BusinessUnit"]), None)
        if own is None:
            return [*found, f"the table `shares` has no share of pool {figure['x_Pool']} for it"]
        before, after = own.share_before, own.share_after
    if (share := _EXACT.subtract(after, before)) != figure["x_Share"]:
        found.append(f"its share is {figure['x_Share']}; the table `shares` says {share}")
    if shares and (whole_pool := _sum(s.share for s in shares)) != 1:
        found.append(f"the shares of its pool sum to {whole_pool}, not to 1")
    found += _methods(figure)
    for name, amount in whole.items():
        made = None if amount is None else _part(amount, before, after)
        if made != figure[name]:
            found.append(f"{name} is {figure[name]}; its charges and share make {made}")
    return found


def _methods(figure: Row) -> list[str]:
    """What FOCUS's own column says of the share, where it is another than the share."""
    if figure["x_Pool"] is None:
        return []
    told = json.loads(figure["AllocatedMethodDetails"], parse_float=Decimal, parse_int=Decimal)
    ratio = _sum(element["AllocatedRatio"] for element in told["Elements"])
    if ratio == figure["x_Share"]:
        return []
    return [f"AllocatedMethodDetails has the ratio {ratio}; its share is {figure['x_Share']}"]


def _part(amount: Decimal, before: Decimal, after: Decimal) -> Decimal:
    """As `part` of store/allocated.py has it: the parts of all owners telescope to the amount."""
    return _EXACT.subtract(_up_to(amount, after), _up_to(amount, before))


def _up_to(amount: Decimal, share: Decimal) -> Decimal:
    high = amount.quantize(_HIGH, context=_ROUNDING)
    low = _EXACT.subtract(amount, high)
    first, second = (
        _EXACT.multiply(piece, share).quantize(_MONEY, context=_ROUNDING) for piece in (high, low)
    )
    return _EXACT.add(first, second)


def _read(home: Home, entry: Row | None, rows: set[int]) -> dict[int, str] | str:
    """The text of these rows of an archived report, or why they cannot be shown."""
    if entry is None:
        return "the ledger does not know this report"
    place = f"archive/{entry['archive_path']}"
    try:
        with home.archive.local(entry["archive_path"]) as path:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                return (
                    f"{place} is not what was archived (its SHA-256 is {digest}, the ledger says "
                    f"{entry['sha256']}); restore it from a backup"
                )
            width = len(entry["columns"]) - len(MADE.get(entry["format"], ()))
            return _records(path, width, rows)
    except FileNotFoundError:
        return f"{place} is missing; restore it from a backup"
    except (OSError, CutOffError, BrokenFileError) as error:
        return f"{place} cannot be read: {getattr(error, 'strerror', None) or error}"


def _records(path: Path, width: int, rows: set[int]) -> dict[int, str]:
    """Rows by number, 1 the first after the header: numbered as ingest numbers them."""
    kind = kind_of(path)
    if kind != "csv":
        return record_texts(path, kind, rows)
    found = islice(salvage.records(path, width), max(rows))
    return {
        number: record.decode("utf-8", errors="backslashreplace")
        for number, record in enumerate(found, 1)
        if number in rows
    }


def _is_numbered(entry: Row | None) -> bool:
    """Whether the provider numbers the charges of the report."""
    return entry is not None and raw_format(entry["format"]).reference is not None


def _joined(charge: Charge, read: Mapping[int, str] | str, numbered: bool) -> Charge:
    if isinstance(read, str):
        return replace(charge, raw_problem=read)
    row = charge.report_row % WITHIN
    raw = read.get(row)
    if raw is None:
        return replace(charge, raw_problem=f"the report ends before row {row}")
    known = not numbered or (charge.reference_number or "") in raw
    problem = None if known else "the row has another reference number"
    return replace(charge, raw=raw, raw_problem=problem)
