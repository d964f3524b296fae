"""Statements as one HTML page that stands alone and prints well: a sheet for each owner.

No script, no resource from elsewhere; every text from a bill or a rules file is escaped. Figures
are rounded to two digits, with every digit in the cell's title.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from finops_pipeline.query.show import plain, rounded, signed
from finops_pipeline.query.statement import Amount, Statement, Statements

_STYLE = """
body { font: 11pt/1.4 system-ui, sans-serif; color: #111; margin: 2rem auto; max-width: 48rem;
  padding: 0 1rem; }
section + section { margin-top: 3rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .5rem; text-align: left; overflow-wrap: anywhere; }
thead th { border-bottom: 2px solid #111; }
tbody tr { border-bottom: 1px solid #ccc; }
tfoot th, tfoot td { border-top: 2px solid #111; font-weight: 600; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.note { border-left: 4px solid #a60; padding-left: .5rem; }
@page { size: A4; margin: 18mm; }
@media print {
  body { margin: 0; max-width: none; padding: 0; }
  section + section { break-before: page; margin-top: 0; }
  thead { display: table-header-group; }
  tr, h2 { break-inside: avoid; break-after: auto; }
  h2 { break-after: avoid; }
}
"""

# What each driver means, for who reads the page.
_MEANS = {
    "new": "New: resources and SKUs that nobody had the month before",
    "gone": "Gone: resources and SKUs that nobody has any more",
    "usage": "Usage: more or less of the same",
    "price": "Price: the same at another cost per unit",
    "amount": "Amount: what has no quantity, such as taxes and credits",
    "exchange_rate": "Exchange rate",
    "rule_change": "Rule change: the same charges, another owner",
    "shares": "Shares: a pool was split in other parts",
    "other": "Not explained",
}


def as_page(found: Statements) -> str:
    """The page."""
    title = f"Cost statement {found.month}"
    sheets = [_sheet(found, s) for s in found.statements]
    if not sheets:
        sheets = [f"<section><h1>{title}</h1>{_notes(found)}</section>"]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sheets)
        + "\n</body>\n</html>\n"
    )


def _sheet(found: Statements, statement: Statement) -> str:
    months = (escape(found.previous), escape(found.month), "Change")
    parts = [(name.capitalize(), amount) for name, amount in statement.parts.items()]
    because = [
        f'<tr><td>{_MEANS[name]}</td><td class="n">{signed(effect)}</td></tr>'
        for name, effect in statement.drivers.items()
        if effect
    ]
    return (
        f"<section>\n<h1>{escape(statement.owner)}</h1>\n"
        f"<p>Cost statement {escape(found.month)}: effective cost in "
        f"{escape(found.currency or '')}.</p>\n{_notes(found)}"
        f"<h2>How it came to the owner</h2>\n{_table(('', *months), parts, statement.total)}\n"
        "<h2>Why it changed</h2>\n<table>\n<tbody>"
        + "".join(because)
        + f'</tbody>\n<tfoot><tr><th>Change</th><td class="n">{signed(statement.total.change)}'
        "</td></tr></tfoot>\n</table>\n"
        f"<h2>By service</h2>\n{_table(('', *months), statement.services, statement.total)}\n"
        "</section>"
    )


def _notes(found: Statements) -> str:
    notes = [
        f"{rows:,} rows of {rounded(cost)} {currency} are not in these figures: no exchange rate "
        "is known."
        for currency, (rows, cost) in found.without_rate.items()
    ]
    notes += [found.note] if found.note else []
    return "".join(f'<p class="note">{escape(note)}</p>\n' for note in notes)


def _table(head: Iterable[str], lines: Iterable[tuple[str, Amount]], total: Amount) -> str:
    heads = "".join(
        f'<th scope="col"{_NUMBER if i else ""}>{name}</th>' for i, name in enumerate(head)
    )
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{_cells(amount)}</tr>' for name, amount in lines
    )
    return (
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        f'<tfoot><tr><th scope="row">Total</th>{_cells(total)}</tr></tfoot>\n</table>'
    )


_NUMBER = ' class="n"'


def _cells(amount: Amount) -> str:
    return (
        f'<td class="n" title="{plain(amount.before)}">{rounded(amount.before)}</td>'
        f'<td class="n" title="{plain(amount.now)}">{rounded(amount.now)}</td>'
        f'<td class="n" title="{plain(amount.change)}">{signed(amount.change)}</td>'
    )
