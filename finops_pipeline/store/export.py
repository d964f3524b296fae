"""Export: the charges of the lake as one FOCUS file for others, Parquet or CSV.

Exactly the columns of the FOCUS version, in its order. What the columns hold is decided where
reports are normalized (`normalize/`); whether a file satisfies FOCUS's own validator is found by
`scripts/focus_validator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import Column, Table
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline.lake.home import Home
from finops_pipeline.store import billing_periods
from finops_pipeline.store.focus_versions import VERSIONS, version_columns, version_values

SUFFIXES = (".parquet", ".csv", ".csv.gz")

_BOUND = "exported charges"  # the name that the engine binds the files to
_NUMBERS = ("Decimal", "Rate", "Share")


class ExportError(Exception):
    """An export that cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class ExportResult:
    """A finished export: how many charges, and where."""

    rows: int
    path: Path


def export_focus(
    home: Home,
    engine: Engine,
    out: Path,
    version: str = "1.2",
    since: date | None = None,
    until: date | None = None,
    sources: Sequence[str] | None = None,
    with_x: bool = False,
    as_of: datetime | None = None,
    allocated: bool = False,
    billing_periods_of: Mapping[str, int] | None = None,
) -> ExportResult:
    """Write the charges of these charge days and sources as FOCUS data. Raises ExportError.

    `out` says the form by its name; it is replaced once the whole file is written. `with_x` adds
    the `x_` columns after those of FOCUS. `as_of` exports what was known then. Charges come by
    day, then source, then as stored: the same lake gives the same file. `allocated` writes the
    daily costs by owner instead, a row for each part. With `billing_periods_of`, the days that
    each source takes to close a period, it is the dataset BillingPeriod of these charges.
    """
    if version not in VERSIONS:
        raise ExportError(f"FOCUS {version} is not supported; supported: {', '.join(VERSIONS)}")
    if version == "1.2" and (allocated or billing_periods_of is not None):
        raise ExportError(
            "FOCUS 1.2 has neither columns for allocated cost nor a dataset of billing periods; "
            "give --focus 1.4"
        )
    suffix = _suffix(out)
    table = home.table("allocated_costs" if allocated else "focus_costs")
    files = _wanted(table, as_of, since, until, sources)
    if as_of and (gone := table.gone(files)):
        raise ExportError(
            f"the lake no longer holds what it knew at {as_of:%Y-%m-%d %H:%M:%S} UTC: "
            f"{gone.fingerprint}.parquet was vacuumed; export as of a later time"
        )
    engine.bind_files(_BOUND, table.table, [table.location(f) for f in files])
    as_text = suffix != ".parquet"
    if billing_periods_of is not None:
        query = _periods(billing_periods_of, as_text)
    else:
        query = _charges(table.table, version, with_x, as_text)
    try:
        if as_text:
            rows = engine.write_csv(query, out, suffix.endswith(".gz"))
        else:
            rows = engine.write(query, out)
        return ExportResult(rows, out)
    except (OSError, duckdb.IOException) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{out} cannot be written: {reason}") from error


def _suffix(out: Path) -> str:
    found = next((s for s in SUFFIXES if out.name.lower().endswith(s)), None)
    if found is None:
        raise ExportError(f"{out.name}: the name must end with {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise ExportError(f"{out} is a folder; give the name of a file")
    return found


def _wanted(
    table: LakeTable,
    as_of: datetime | None,
    since: date | None,
    until: date | None,
    sources: Sequence[str] | None,
) -> list[LakeFile]:
    """The files to export, by day and source."""
    files = table.files(as_of=as_of)
    day = table.table.partition_by.index("x_ChargeDay")
    if not files:
        raise ExportError("the lake holds no charges yet; `finops run` brings them in")
    known = sorted({f.partition[0] for f in files})
    if unknown := sorted(set(sources or ()) - set(known)):
        raise ExportError(
            f"no charges of source {', '.join(unknown)}; the lake holds {', '.join(known)}"
        )
    here = [f for f in files if not sources or f.partition[0] in sources]
    chosen = [
        f
        for f in here
        if (since is None or f.partition[day] >= since.isoformat())
        and (until is None or f.partition[day] <= until.isoformat())
    ]
    if not chosen:
        days = sorted(f.partition[day] for f in here)
        raise ExportError(
            f"no charges from {since or 'the first day'} to {until or 'the last'}; "
            f"the lake holds {days[0]} to {days[-1]}"
        )
    return sorted(chosen, key=lambda f: (f.partition[day], f.partition, f.fingerprint))


def _charges(table: Table, version: str, with_x: bool, as_text: bool) -> Sql:
    rows = ibis.table(ibis_schema(table), name=_BOUND)
    columns = version_columns(version)
    values = version_values(version, rows)
    if with_x:
        own = [c for c in table.columns if c.name.startswith("x_")]
        columns, values = (*columns, *own), values | {c.name: rows[c.name] for c in own}
    return Sql(rows.select(**_written(columns, values, as_text)))


def _periods(days_to_close: Mapping[str, int], as_text: bool) -> Sql:
    found = billing_periods.billing_periods(_BOUND, days_to_close)
    values = {c.name: found[c.name] for c in billing_periods.COLUMNS}
    order = ("InvoiceIssuerName", "BillingPeriodStart", "BillingPeriodEnd")
    ordered = found.order_by(*order)
    return Sql(ordered.select(**_written(billing_periods.COLUMNS, values, as_text)))


def _written(
    columns: Sequence[Column], values: Mapping[str, ir.Value], as_text: bool
) -> dict[str, ir.Value]:
    return {c.name: _text(c, values[c.name]) if as_text else values[c.name] for c in columns}


def _text(column: Column, value: ir.Value) -> ir.Value:
    """As FOCUS writes it in text: `2026-08-01T00:00:00Z`; numbers plain, without idle zeros."""
    if column.type == "Date/Time":
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if column.type in _NUMBERS:  # their text always has a point, so the zeros are a fraction's
        return value.cast(str).re_replace(r"\.?0+$", "")
    return value
