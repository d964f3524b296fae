"""The contract of raw reports: which columns a format has, which it cannot do without.

Every raw column is text: what a report says is kept as it says it, and the types are decided in
the pass that maps it to FOCUS. What the columns mean in FOCUS is elsewhere (`normalize/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from finops_pipeline.contracts.formats import ReportFormat, formats
from finops_pipeline.contracts.tables import read_facts

_TAG_PREFIX = "tags/"


@dataclass(frozen=True)
class RawFormat:
    """The raw side of a report format: its columns, and those that the ledger needs to know.

    `start`, `cost` and `currency` are what control totals are made of; `scope`, where there is
    one, names the place in the provider's hierarchy; `reference`, where the provider numbers its
    charges, is what a charge is known by. `aliases` are other spellings with their columns.
    """

    form: ReportFormat
    columns: tuple[str, ...]
    required: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    start: str
    cost: str
    currency: str
    scope: str | None = None
    reference: str | None = None

    @property
    def name(self) -> str:
        """The format's name."""
        return self.form.name

    @property
    def unlike(self) -> tuple[str, ...]:
        """The columns whose values hardly repeat."""
        return () if self.reference is None else (self.reference,)


@dataclass(frozen=True)
class Header:
    """A report's header read by name.

    `known` maps a format's column to its position; `tags` are the tag keys with their positions,
    in report order; `other` are columns that the format does not know, likewise; `width` is how
    many fields each row has.
    """

    known: tuple[tuple[str, int], ...]
    tags: tuple[tuple[str, int], ...]
    other: tuple[tuple[str, int], ...]
    width: int

    def position(self, column: str) -> int | None:
        """Where a known column stands; None when the report does not have it."""
        return dict(self.known).get(column)


class HeaderProblem(Exception):
    """A header that breaks the raw contract; the message says which column, and what to do."""


@cache
def raw_format(name: str) -> RawFormat:
    """The format of that name, from its data file."""
    form = formats()[name]
    rows = read_facts(f"contracts/data/raw/{form.contract}.csv")
    role = {row["role"]: row["column"] for row in rows if row["role"]}
    return RawFormat(
        form=form,
        columns=tuple(row["column"] for row in rows),
        required=tuple(row["column"] for row in rows if row["required"] == "true"),
        aliases=tuple((a, r["column"]) for r in rows for a in r["aliases"].split("|") if a),
        **role,
    )


def read_header(raw: RawFormat, names: Sequence[str]) -> Header:
    """Sort a report's column names into known, tags and other.

    Names are compared without regard to case and surrounding blanks; a column's own name goes
    before its aliases. Raises HeaderProblem for a repeated column: of two columns with one name
    nobody can say which is meant.
    """
    repeated = sorted({n for n in names if list(names).count(n) > 1})
    if repeated:
        raise HeaderProblem(
            f"column {repeated[0]!r} stands more than once in the header; "
            "ask the provider for the report again, or remove one of the two"
        )
    own = {c.lower(): c for c in raw.columns}
    present = {own.get(n.strip().lower()) for n in names}
    aliases = {a.lower(): c for a, c in raw.aliases if c not in present}
    known: dict[str, int] = {}
    tags, other = [], []
    for position, name in enumerate(names):
        column = (aliases | own).get(name.strip().lower())
        if column and column not in known:
            known[column] = position
        elif name.startswith(_TAG_PREFIX):
            tags.append((name.removeprefix(_TAG_PREFIX), position))
        else:
            other.append((name, position))
    return Header(tuple(known.items()), tuple(tags), tuple(other), len(names))


def hold_contract(raw: RawFormat, header: Header, names: Sequence[str]) -> None:
    """Hold a report's header against the format's contract.

    Raises HeaderProblem for a missing required column.
    """
    if missing := _missing(raw, tuple(column for column, _ in header.known)):
        raise HeaderProblem(
            f"column {missing[0]!r} is missing: the header has {_preview(names)}; expected a "
            f"{raw.name} report, so check the source's `format` and the file"
        )


@cache
def _missing(raw: RawFormat, known: tuple[str, ...]) -> tuple[str, ...]:
    """Required columns that a report with these known columns lacks, as its contract finds.

    The contract is asked once for each kind of header. Pandera is imported only then, since it
    takes a second and a run with nothing new opens no report.
    """
    from finops_pipeline.contracts.pandera_contracts import missing_columns

    return missing_columns(raw, known)


def _preview(names: Sequence[str]) -> str:
    shown = ", ".join(repr(n[:40]) for n in names[:5])
    return f"{len(names)} columns ({shown}{', …' if len(names) > 5 else ''})"
