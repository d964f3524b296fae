"""An answer as text: a table for people, JSON and CSV for programs.

The table rounds to two digits; JSON and CSV carry every digit, as plain decimal text. What an
answer is made of is elsewhere (`answer.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finops_pipeline.query.answer import Answer
from finops_pipeline.query.dimensions import NONE, OTHER

Format = Literal["table", "json", "csv"]

_CENT = Decimal("0.01")
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
_WIDE = Context(prec=120, rounding=ROUND_HALF_UP)  # the usual context fails above 28 digits


def show(answer: Answer, form: Format = "table", width: int | None = None) -> str:
    """The answer in one of the formats, ending with a line break."""
    writers: dict[Format, Callable[[], str]] = {
        "table": lambda: as_table(answer, width),
        "json": lambda: as_json(answer),
        "csv": lambda: as_csv(answer),
    }
    return writers[form]()


def as_json(answer: Answer) -> str:
    """JSON alone, keys always in the same order, money as text so that no reader rounds it."""
    content = {
        "query": answer.query.model_dump(mode="json"),
        "columns": list(answer.columns),
        "rows": [
            {
                name: plain(value) if isinstance(value, Decimal) else value
                for name, value in zip(answer.columns, row, strict=True)
            }
            for row in answer.rows
        ],
        "total": None if answer.total is None else plain(answer.total),
        "currency": answer.currency,
        "without_rate": [
            {"currency": currency, "rows": rows, "cost": plain(cost)}
            for currency, (rows, cost) in answer.without_rate.items()
        ],
        "note": answer.note,
        "problems": warnings(answer),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_csv(answer: Answer) -> str:
    """A header and the rows. What is missing from them is in `warnings`, for the caller to say."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(
        [plain(value) if isinstance(value, Decimal) else value for value in row]
        for row in answer.rows
    )
    return out.getvalue()


def warnings(answer: Answer) -> list[str]:
    """What the sums do not hold, one line a currency; empty when they hold everything."""
    return [
        f"Not in these sums: {rows:,} {'row' if rows == 1 else 'rows'} of {rounded(cost)} "
        f"{currency}, no exchange rate known."
        for currency, (rows, cost) in answer.without_rate.items()
    ]


def as_table(answer: Answer, width: int | None = None) -> str:
    """A table for people; without a width, as wide as its longest values need."""
    lines = []
    if answer.rows:
        out = io.StringIO()
        table = _table(answer)
        console = Console(file=out, width=width or 10_000, color_system=None, force_terminal=False)
        console.print(table)
        # Rich fills each line with blanks, which only bother whoever copies or compares it.
        lines += [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
    lines += warnings(answer)
    if answer.note:
        lines.append(answer.note)
    return "\n".join(lines) + "\n"


def _table(answer: Answer) -> Table:
    table = Table(box=box.SIMPLE, show_footer=bool(answer.query.by) and answer.total is not None)
    for position, name in enumerate(answer.query.by):
        table.add_column(_safe(name), footer="total" if position == 0 else "", overflow="fold")
    metric = " ".join(filter(None, (answer.query.metric, answer.currency)))
    total = "" if answer.total is None else _marked(answer.total, bool(answer.without_rate))
    table.add_column(metric, footer=total, justify="right", no_wrap=True)
    for position, row in enumerate(answer.rows):
        incomplete = position in answer.incomplete
        table.add_row(
            *(
                _marked(value, incomplete) if isinstance(value, Decimal) else _label(value, i)
                for i, value in enumerate(row)
            )
        )
    return table


def _label(value: str | None, position: int) -> Text:
    if value == OTHER and position > 0:
        return Text("")  # once a line is enough for a person
    return _safe(NONE if value is None else value)


def _safe(text: str) -> Text:
    """Text from a bill as a cell: no markup, and nothing that could command a terminal."""
    return Text(one_line(text))


def _marked(amount: Decimal, incomplete: bool) -> str:
    """An amount; a star says that something is missing from it, see the lines below the table.

    In front, so that the digits stay below each other.
    """
    return f"{'*' if incomplete else ''}{rounded(amount)}"


def clean(text: str) -> str:
    """Text from a bill with nothing that could command a terminal; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else _UNPRINTABLE for c in text)


def one_line(text: str) -> str:
    """Text from a bill for one line: clean, and without line breaks."""
    return clean(text).replace("\n", _UNPRINTABLE)


def plain(amount: Decimal) -> str:
    """Every digit, without exponent and without zeros that say nothing."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def rounded(amount: Decimal) -> str:
    """Two digits, half up (away from zero), with thousands separators; for reading only."""
    cents = amount.quantize(_CENT, context=_WIDE)
    return format(abs(cents) if cents.is_zero() else cents, ",f")


def signed(amount: Decimal) -> str:
    """A change for reading: two digits, with its sign."""
    return f"+{rounded(amount)}" if amount > 0 else rounded(amount)
