"""What explanations, statements and the like are shown with: tables as text, values as JSON.

What is shown of each is in `show_explanation.py`, `show_rules.py` and so on; an answer's own table,
which has totals and marks, is in `show.py`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finops_pipeline.query.show import clean, plain


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    """Rows below their heads, for people; `right` are the columns set to the right."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for position, name in enumerate(head):
        justify: Literal["left", "right"] = "right" if position in right else "left"
        table.add_column(Text(clean(name)), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(clean(value)) for value in row))
    out = io.StringIO()
    Console(file=out, width=10_000, color_system=None, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines() if line.strip())


def plain_json(value: Any) -> Any:
    """As JSON: exact decimals as text, times in ISO 8601."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: plain_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(inner) for inner in value]
    return value
