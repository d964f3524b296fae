"""Export: the charges of the lake as one FOCUS file for others, Parquet or CSV.

Exactly the columns of the FOCUS version, in its order. What the columns hold is decided where
reports are normalized (`normalize/`); whether a file satisfies FOCUS's own validator is found by
`scripts/focus_validator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import Column, focus_columns, tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.sql import Sql
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

VERSIONS = ("1.2",)
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
) -> ExportResult:
    """Write the charges of these charge days and sources as FOCUS data. Raises ExportError.

    `out` says the form by its name; it is replaced once the whole file is written. `with_x` adds
    the `x_` columns after those of FOCUS. `as_of` exports what was known then. Charges come by
    day, then source, then as stored: the same lake gives the same file.
    """
    if version not in VERSIONS:
        raise ExportError(f"FOCUS {version} is not supported; supported: {', '.join(VERSIONS)}")
    suffix = _suffix(out)
    table = home.table("focus_costs")
    files = _wanted(table.files(as_of=as_of), since, until, sources)
    if as_of and (gone := table.gone(files)):
        raise ExportError(
            f"the lake no longer holds what it knew at {as_of:%Y-%m-%d %H:%M:%S} UTC: "
            f"{gone.fingerprint}.parquet was vacuumed; export as of a later time"
        )
    engine.bind_files(_BOUND, table.table, [table.location(f) for f in files])
    columns = tables()["focus_costs"].columns if with_x else focus_columns()
    try:
        if suffix == ".parquet":
            return ExportResult(engine.write(_select(columns, as_text=False), out), out)
        compressed = suffix.endswith(".gz")
        return ExportResult(engine.write_csv(_select(columns, as_text=True), out, compressed), out)
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
    files: Sequence[LakeFile],
    since: date | None,
    until: date | None,
    sources: Sequence[str] | None,
) -> list[LakeFile]:
    """The files to export, by day and source; a partition of charges is a source and a day."""
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
        if (since is None or f.partition[1] >= since.isoformat())
        and (until is None or f.partition[1] <= until.isoformat())
    ]
    if not chosen:
        days = sorted(f.partition[1] for f in here)
        raise ExportError(
            f"no charges from {since or 'the first day'} to {until or 'the last'}; "
            f"the lake holds {days[0]} to {days[-1]}"
        )
    return sorted(chosen, key=lambda f: (f.partition[1], f.partition[0], f.fingerprint))


def _select(columns: Sequence[Column], as_text: bool) -> Sql:
    charges = ibis.table(ibis_schema(tables()["focus_costs"]), name=_BOUND)
    return Sql(
        charges.select(
            **{c.name: _text(c, charges[c.name]) if as_text else charges[c.name] for c in columns}
        )
    )


def _text(column: Column, value: ir.Value) -> ir.Value:
    """As FOCUS writes it in text: `2026-08-01T00:00:00Z`; numbers plain, without idle zeros."""
    if column.type == "Date/Time":
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if column.type in _NUMBERS:  # their text always has a point, so the zeros are a fraction's
        return value.cast(str).re_replace(r"\.?0+$", "")
    return value
