"""The rows that broke the contract, for people to look at: the table `rejected_rows`, read back."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime
from typing import Any, Literal

import ibis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finops_pipeline.contracts.forms import ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.show import one_line

LIMIT = 10_000  # rows that are listed; more are for the table itself


def rejected_rows(
    home: Home,
    engine: Engine,
    since: date | None,
    until: date | None,
    as_of: datetime | None = None,
) -> list[dict[str, Any]]:
    """Rejected rows of these charge days, as known now or then, by report and row.

    At most ten thousand.
    """
    table = home.table("rejected_rows")
    files = [
        f
        for f in table.files(as_of=as_of)
        if (since is None or f.partition[1] >= since.isoformat())
        and (until is None or f.partition[1] <= until.isoformat())
    ]
    engine.bind_files("rejected", table.table, [table.location(f) for f in files])
    rows = ibis.table(ibis_schema(tables()["rejected_rows"]), name="rejected")
    ordered = rows.order_by("source", "report", "report_row").limit(LIMIT)
    found: list[dict[str, Any]] = engine.rows(engine.compile(ordered)).to_pylist()
    return found


def show_rejected(rows: list[dict[str, Any]], form: Literal["table", "json", "csv"]) -> str:
    """The rows in one of the formats."""
    names = list(tables()["rejected_rows"].names)
    text = [{n: None if row[n] is None else str(row[n]) for n in names} for row in rows]
    if form == "json":
        return json.dumps(text, indent=2, ensure_ascii=False)
    out = io.StringIO()
    if form == "csv":
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(text)
        return out.getvalue()
    if not rows:
        return "no row was rejected"
    shown = ("source", "report", "report_row", "column", "value", "reason")
    table = Table(*shown)
    for row in text:
        table.add_row(*(Text(one_line(row[n] or "")) for n in shown))
    Console(file=out, width=200, color_system=None, force_terminal=False).print(table)
    return out.getvalue()
