"""The report formats and the schemes of their locations, from data files.

A format's own code is a module in `ingest/` where its place is special, and one in `normalize/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from finops_pipeline.contracts.tables import read_facts


@dataclass(frozen=True)
class ReportFormat:
    """A report format.

    `provider` names the catalogues it is read with; `schemes` are those of its locations beside
    `file:`. `content` is `rows` for a report that holds rows itself, `pages` for the answers of a
    service. `contract` names its raw contract, which formats may share. `layout` says how its
    reports are found among the files of a location: each for itself (`reports`), or by manifests.
    `folders` are the folders of the provider's bucket where they lie, empty for any. `header_word`
    is a word that only its header has. `null_words` stand for nothing in its text. `future` says
    whether a charge may start after its delivery, as a purchase does. `copies_once` says whether a
    copy of a report under another name is left out: where nothing tells charges apart, it would
    count them again.
    """

    name: str
    provider: str
    schemes: tuple[str, ...]
    content: str
    contract: str
    layout: str
    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    header_word: str
    null_words: tuple[str, ...]
    future: bool
    copies_once: bool
    description: str


@dataclass(frozen=True)
class Scheme:
    """A kind of location.

    `pattern` is what follows the scheme and its colon. `place` and `doctor` name what lists reports
    there and what `finops doctor` asks, as module of `ingest/` and name in it; `extra` is the extra
    that their library comes with. `keeps_time` says that the place looks at the clock.
    """

    pattern: str
    example: str
    place: str
    doctor: str
    extra: str
    keeps_time: bool


@cache
def formats() -> dict[str, ReportFormat]:
    """Every format by its name."""
    return {
        row["format"]: ReportFormat(
            name=row["format"],
            provider=row["provider"],
            schemes=_list(row["schemes"]),
            content=row["content"],
            contract=row["contract"],
            layout=row["layout"],
            folders=_list(row["folders"]),
            suffixes=_list(row["suffixes"]),
            header_word=row["header_word"],
            null_words=_list(row["null_words"]),
            future=row["future"] == "true",
            copies_once=row["copies_once"] == "true",
            description=row["description"],
        )
        for row in read_facts("contracts/data/formats.csv")
    }


def location_examples(form: ReportFormat) -> list[str]:
    """How the locations of a format are written."""
    return [scheme.example for name, scheme in schemes().items() if _takes(form, name)]


def is_location(form: ReportFormat, location: str) -> bool:
    """Whether a text is a location of the format."""
    scheme, _, rest = location.partition(":")
    return _takes(form, scheme) and bool(re.fullmatch(schemes()[scheme].pattern, rest))


def _takes(form: ReportFormat, scheme: str) -> bool:
    return scheme == "file" or scheme in form.schemes


@cache
def schemes() -> dict[str, Scheme]:
    """Every scheme by its name."""
    return {
        row["scheme"]: Scheme(
            pattern=row["pattern"],
            example=row["example"],
            place=row["place"],
            doctor=row["doctor"],
            extra=row["extra"],
            keeps_time=row["keeps_time"] == "true",
        )
        for row in read_facts("contracts/data/schemes.csv")
    }


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("|") if part)
