"""A difference as text: a table for people, JSON and CSV for programs.

The table rounds to two digits and names the largest causes of each line; JSON and CSV carry every
cause and every digit. What a difference is made of is elsewhere (`diff.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finops_pipeline.query.diff import Cause, Diff, Line
from finops_pipeline.query.dimensions import NONE
from finops_pipeline.query.show import Format, clean, plain, rounded

_CAUSES = 3  # causes that the table names for a line


def show_diff(found: Diff, form: Format = "table") -> str:
    """The difference in one of the formats, ending with a line break."""
    writers: dict[Format, Callable[[Diff], str]] = {
        "table": _as_table, "json": _as_json, "csv": _as_csv
    }  # fmt: skip
    return writers[form](found)


def diff_warnings(found: Diff) -> list[str]:
    """What the sums do not hold, one line a currency; empty when they hold everything."""
    return [
        f"Not in these sums: {before:,} rows in {currency} before and {after:,} after, no exchange "
        "rate known."
        for currency, (before, after) in found.without_rate.items()
    ]


def _as_json(found: Diff) -> str:
    content = {
        "query": found.query.model_dump(mode="json", exclude={"as_of"}),
        "from": found.then.isoformat(),
        "to": found.now.isoformat() if found.now else None,
        "currency": found.currency,
        "lines": [
            {
                **dict(zip(found.query.by, line.names, strict=True)),
                "before": plain(line.before),
                "after": plain(line.after),
                "change": plain(line.change),
                "causes": _causes(line),
            }
            for line in found.lines
        ],
        "before": plain(found.before),
        "after": plain(found.after),
        "change": plain(found.change),
        "without_rate": [
            {"currency": currency, "rows_before": before, "rows_after": after}
            for currency, (before, after) in found.without_rate.items()
        ],
        "problems": diff_warnings(found),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _causes(line: Line) -> list[dict[str, Any]]:
    return [
        {
            "cause": c.kind,
            "report": c.report,
            "delivered_at": c.delivered_at.isoformat() if c.delivered_at else None,
            "change": plain(c.change),
        }
        for c in line.causes
    ]


def _as_csv(found: Diff) -> str:
    """A row for each line, its causes as JSON in the last column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*found.query.by, "before", "after", "change", "causes"])
    for line in found.lines:
        amounts = [plain(a) for a in (line.before, line.after, line.change)]
        writer.writerow([*line.names, *amounts, json.dumps(_causes(line), ensure_ascii=False)])
    return out.getvalue()


def _as_table(found: Diff) -> str:
    lines = []
    if found.lines:
        out = io.StringIO()
        console = Console(file=out, width=10_000, color_system=None, force_terminal=False)
        console.print(_table(found))
        lines += [text.rstrip() for text in out.getvalue().splitlines() if text.strip()]
    lines += diff_warnings(found)
    until = f"{found.now:%Y-%m-%d %H:%M:%S} UTC" if found.now else "now"
    lines.append(
        f"{found.query.metric} {found.currency or ''}: {rounded(found.before)} as known at "
        f"{found.then:%Y-%m-%d %H:%M:%S} UTC, {rounded(found.after)} as known "
        f"{'at ' if found.now else ''}{until}."
    )
    if not found.lines:
        lines.append("No line changed.")
    return "\n".join(lines) + "\n"


def _table(found: Diff) -> Table:
    table = Table(box=box.SIMPLE, show_footer=True)
    for position, name in enumerate(found.query.by):
        table.add_column(_safe(name), footer="total" if position == 0 else "")
    for name, amount in (
        ("before", found.before), ("after", found.after), ("change", found.change)
    ):  # fmt: skip
        table.add_column(name, footer=_change(amount, name), justify="right", no_wrap=True)
    table.add_column("because of")
    for line in found.lines:
        table.add_row(
            *(_safe(NONE if value is None else value) for value in line.names),
            rounded(line.before),
            rounded(line.after),
            _change(line.change, "change"),
            _safe("\n".join(_told(line))),
        )
    return table


def _change(amount: Any, column: str) -> str:
    text = rounded(amount)
    return f"+{text}" if column == "change" and amount > 0 else text


def _told(line: Line) -> list[str]:
    told = [f"{_change(c.change, 'change')} {_cause(c)}" for c in line.causes[:_CAUSES]]
    if len(line.causes) > _CAUSES:
        told.append(f"and {len(line.causes) - _CAUSES} more")
    return told


def _cause(cause: Cause) -> str:
    if cause.report is None:
        return cause.kind
    return f"{cause.kind}: {cause.report} of {cause.delivered_at:%Y-%m-%d}"


def _safe(text: str) -> Text:
    """Text from a bill as a cell: no markup, and nothing that could command a terminal."""
    return Text(clean(text))
