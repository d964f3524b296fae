"""Why figures changed between two moments, as expressions: charges that moved, and their causes.

The names that end in `then` and `now` are bound to what the lake held when the figures of the two
moments were made; `standing charges` are the charge files that both were made from. What these
expressions are for, and what is bound to the names, is in `diff.py`.

A figure is followed from then to now in steps, so that the steps sum to the change exactly: first
the charges that went, at the owners of then; then the charges that stayed, from the owners of then
to those of now; then the charges that came, at the owners of now. What each step is worth to each
owner is in `owner_parts.py`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import MONEY, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.functions import text_hash
from finops_pipeline.query.compile import conditions_of, value_of
from finops_pipeline.query.dimensions import dimension
from finops_pipeline.query.model import CostQuery
from finops_pipeline.query.owner_parts import (
    OWNED,
    STAYED,
    at_owners,
    decisions,
    owner_parts,
    running,
)
from finops_pipeline.store.allocated import GROUP, ownership_id

# The names that files and rows are bound to.
CHARGES = {"then": "charges then", "now": "charges now", "standing": "standing charges"}
SUPERSEDED = {"then": "superseded then", "now": "superseded now"}
REJECTED = {"then": "rejected then", "now": "rejected now"}
REPORTS = "known reports"
EFFECTS = "effects of causes"

# Causes that are no report, beside those of `owner_parts.py`.
MAPPING, EXCHANGE = "mapping", "exchange rate"

_KEY = ("x_Source", "x_ChargeDay", "x_ReportId", "x_ReportRow")
_ZERO = ibis.literal(Decimal(0)).cast(MONEY)
_NONE = ibis.null(str)


def steps(query: CostQuery) -> list[tuple[str, ir.Table]]:
    """What is to be made, in order and under these names; the last are the answer.

    The answer has the lines' dimensions `d0`, `d1`, …, a cause as `kind` and `report_id`, and its
    `effect`. Each step is made once, since several later ones read it.
    """
    carried = _carried(query)
    made: list[tuple[str, ir.Table]] = []

    def make(name: str, expression: ir.Table) -> ir.Table:
        made.append((name, expression))
        return ibis.table(expression.schema(), name=name)

    old = make("moved then", _rows(query, "then", carried))
    new = make("moved now", _rows(query, "now", carried))
    standing = _rows(query, "standing", carried)
    standing = make(
        "standing figures",
        standing.group_by([*carried, "figure", "ownership_id"]).agg(
            value=standing.value.sum().cast(MONEY)
        ),
    )
    pairs = make("moved pairs", _pairs(old, new))
    other = pairs.filter(pairs.kind.notnull())
    kept = old.semi_join(pairs, _KEY)
    stayed = [_entries(rows, carried, STAYED, _NONE) for rows in (standing, kept)]
    gone = _gone(old.anti_join(pairs, _KEY), new, carried)
    come = [
        _come(new.anti_join(pairs, _KEY), old, carried),
        _replaced(old.mutate(value=-old.value), other, carried),
        _replaced(new, other, carried),
    ]
    then = make("running then", running(ibis.union(*stayed, gone), carried))
    now = make("running now", running(ibis.union(*stayed, *come), carried))
    owned_then = make("owned then", at_owners(then, "then"))
    owned_now = make("owned now", at_owners(now, "now"))
    parts = ibis.union(
        *owner_parts(owned_then, "then", -1, carried), *owner_parts(owned_now, "now", 1, carried)
    )
    make(EFFECTS, _by_line(query, parts))
    return made


def _by_line(query: CostQuery, parts: ir.Table) -> ir.Table:
    if conditions := conditions_of(parts, query):
        parts = parts.filter(conditions)
    names = [f"d{i}" for i in range(len(query.by))]
    lines = parts.select(
        **{n: value_of(parts, dimension(b)) for n, b in zip(names, query.by, strict=True)},
        kind=parts.kind,
        report_id=parts.report_id,
        effect=parts.effect,
    )
    summed = lines.group_by([*names, "kind", "report_id"]).agg(effect=lines.effect.sum())
    return summed.filter(summed.effect != _ZERO)


def _carried(query: CostQuery) -> tuple[str, ...]:
    """The columns of charges that the lines and the filters are made of."""
    asked = (*query.by, *query.filters, *query.exclude)
    columns = {dimension(name).column for name in asked} - OWNED
    return tuple(sorted({*columns, "x_Source", "x_ChargeDay", "BillingCurrency"}))


def _rows(query: CostQuery, moment: str, carried: tuple[str, ...]) -> ir.Table:
    """Charges, each with the daily figure that it is summed in, its decision and its value."""
    charges = ibis.table(ibis_schema(tables()["focus_costs"]), name=CHARGES[moment])
    return charges.select(
        *dict.fromkeys((*_KEY, *carried)),
        figure=text_hash([charges[name] for name in GROUP]),
        ownership_id=ownership_id(charges),
        correction=charges.x_IsCorrection,
        rate=charges.x_ExchangeRate,
        billed=charges[query.metric].fill_null(_ZERO),
        value=charges[query.column].fill_null(_ZERO),
    )


def _pairs(old: ir.Table, new: ir.Table) -> ir.Table:
    """Rows of reports that were charges then and are now, by key; `kind` says how they changed.

    Only those whose decision of then is one of now too: for the others an owner of now cannot be
    told, and they go and come.
    """
    decided = decisions("now").select(
        x_Source="source", x_ChargeDay="charge_day", ownership_id="ownership_id"
    )
    was = old.semi_join(decided, ["x_Source", "x_ChargeDay", "ownership_id"])
    now = new.select(
        *(new[n].name(f"now_{n}") for n in (*_KEY, "figure", "rate", "billed", "value"))
    )
    both = was.join(now, [was[n] == now[f"now_{n}"] for n in _KEY])
    exchanged = (both.billed == both.now_billed) & ~both.rate.identical_to(both.now_rate)
    same = (both.figure == both.now_figure) & (both.value == both.now_value)
    kind = ibis.cases((same, _NONE), (exchanged, EXCHANGE), else_=MAPPING)
    return both.select(*_KEY, kind=kind)


def _gone(gone: ir.Table, new: ir.Table, carried: tuple[str, ...]) -> ir.Table:
    """Charges that are there no more: superseded, rewritten by the provider, or read otherwise."""
    found = _noted(gone, "lost", _superseded("now"))
    found = _noted(found, "refused", _row_keys("rejected_rows", REJECTED["now"], "report_id"))
    found = _noted(found, "again", _again(new))
    found = _with_reports(found)
    rewritten = found.newest_id.notnull() & (found.newest_id != found.x_ReportId)
    otherwise = found.refused | found.again
    return _entries(
        found,
        carried,
        ibis.cases(
            (otherwise, MAPPING), (found.lost, found.reason), (rewritten, "rewritten"),
            else_=MAPPING,
        ),
        ibis.cases(
            (otherwise, _NONE), (found.lost, found.by_report_id), (rewritten, found.newest_id),
            else_=_NONE,
        ),
    )  # fmt: skip


def _come(come: ir.Table, old: ir.Table, carried: tuple[str, ...]) -> ir.Table:
    """Charges that were not there: brought by their report, or read otherwise than before."""
    found = _noted(come, "refused", _row_keys("rejected_rows", REJECTED["then"], "report_id"))
    found = _noted(found, "again", _again(old))
    found = _noted(found, "hidden", _row_keys("superseded_rows", SUPERSEDED["then"], "report_id"))
    found = _noted(found, "instead", _superseded("now", by=True))
    found = _with_reports(found)
    otherwise = found.refused | found.again
    return _entries(
        found,
        carried,
        ibis.cases(
            (otherwise, MAPPING),
            (found.instead, found.reason),
            (found.hidden, "restored"),
            (found.correction, "corrected"),
            (found.rewrites, "rewritten"),
            else_="new",
        ),
        otherwise.ifelse(_NONE, found.cause_id.coalesce(found.x_ReportId)),
    )


def _replaced(rows: ir.Table, other: ir.Table, carried: tuple[str, ...]) -> ir.Table:
    """Charges that stayed and are written otherwise: out as they were, or in as they are."""
    found = _noted(rows, "changed", other)
    found = found.filter(found.changed)
    return _entries(found, carried, found.kind, _NONE)


def _noted(rows: ir.Table, flag: str, notes: ir.Table) -> ir.Table:
    """The rows with what is noted of them, and a flag that says whether anything is."""
    further = [n for n in notes.columns if n not in _KEY]
    noted = notes.select(
        *(notes[n].name(f"{flag}_{n}") for n in _KEY), *further, ibis.literal(True).name(flag)
    )
    joined = rows.left_join(noted, [rows[n] == noted[f"{flag}_{n}"] for n in _KEY])
    return joined.mutate(**{flag: joined[flag].fill_null(False)}).drop(
        *(f"{flag}_{n}" for n in _KEY)
    )


def _row_keys(table: str, bound: str, report: str) -> ir.Table:
    """The report rows that a table names, each once."""
    rows = ibis.table(ibis_schema(tables()[table]), name=bound)
    return rows.select(
        x_Source="source",
        x_ChargeDay="charge_day",
        x_ReportId=rows[report],
        x_ReportRow=rows[report.replace("_id", "_row")],
    ).distinct()


def _superseded(moment: str, by: bool = False) -> ir.Table:
    """The rows that are superseded, or those that stand instead of them, and why."""
    rows = ibis.table(ibis_schema(tables()["superseded_rows"]), name=SUPERSEDED[moment])
    keys = {
        "x_Source": rows.source,
        "x_ChargeDay": rows.charge_day,
        "x_ReportId": rows.by_report_id if by else rows.report_id,
        "x_ReportRow": rows.by_report_row if by else rows.report_row,
    }
    further = {"reason": rows.reason.max()}
    return rows.group_by(**keys).agg(
        **further if by else {**further, "by_report_id": rows.by_report_id.max()}
    )


def _again(rows: ir.Table) -> ir.Table:
    return rows.select(*_KEY)


def _with_reports(rows: ir.Table) -> ir.Table:
    reports = ibis.table(
        {"known_id": str, "newest_id": str, "cause_id": str, "rewrites": "bool"}, name=REPORTS
    )
    joined = rows.left_join(reports, rows.x_ReportId == reports.known_id)
    return joined.mutate(rewrites=joined.rewrites.fill_null(False))


def _entries(rows: ir.Table, carried: tuple[str, ...], kind: Any, report: Any) -> ir.Table:
    """What enters daily figures, and why."""
    return rows.select(
        *carried,
        "figure",
        "ownership_id",
        kind=ibis.literal(kind) if isinstance(kind, str) else kind,
        report_id=report,
        amount="value",
    )
