"""What cost can be grouped by and filtered on: short names for columns of `allocated_costs`.

The names stand in `data/dimensions.csv`; `tag:<key>` is one more for every tag key. How a
dimension becomes an expression is elsewhere (`compile.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal

from finops_pipeline.contracts.tables import Column, read_facts, tables

TABLE = "allocated_costs"
NONE = "(none)"  # the value of a charge that has none: an untagged resource, a tax without resource
OTHER = "(other)"  # the value of the line that sums what `top` left out
TAG_PREFIX = "tag:"

Form = Literal["text", "day", "month", "tag"]


@dataclass(frozen=True)
class Dimension:
    """A name, the column behind it, and how a value is read from that column.

    `key` is the tag's key where `form` is `tag`.
    """

    name: str
    column: str
    form: Form
    description: str
    key: str = ""

    @property
    def _described(self) -> Column:
        return tables()[TABLE].column(self.column)

    def check(self, value: str) -> None:
        """Raise ValueError when no charge can ever have this value."""
        _check_text(value)
        if value == NONE:
            if not self._described.nullable:
                raise ValueError(f"{self.name} {value!r}: no charge is without {self.name}")
            return
        if self.form in ("day", "month"):
            self._check_date(value)
        elif (
            self.form == "text"
            and self._described.allowed
            and (value not in self._described.allowed)
        ):
            allowed = ", ".join(self._described.allowed)
            raise ValueError(f"{self.name} {value!r} is unknown; allowed: {allowed}")

    def _check_date(self, value: str) -> None:
        pattern, whole = {
            "day": ("YYYY-MM-DD", value),
            "month": ("YYYY-MM", f"{value}-01"),
        }[self.form]
        try:
            real = len(value) == len(pattern) and date.fromisoformat(whole).isoformat() == whole
        except ValueError:
            real = False
        if not real:
            raise ValueError(f"{self.name} {value!r} is no date written as {pattern}")

    def seen_in(self, text: str) -> str:
        """The value, given the column's value as text."""
        return text[:7] if self.form == "month" else text


@cache
def dimensions() -> dict[str, Dimension]:
    """The named dimensions, in order of name."""
    return {
        row["dimension"]: Dimension(
            row["dimension"],
            row["column"],
            row["form"],  # type: ignore[arg-type]
            row["description"],
        )
        for row in read_facts("query/data/dimensions.csv")
    }


def dimension(name: str) -> Dimension:
    """The dimension of that name. Raises ValueError naming the ones there are."""
    _check_text(name)
    key = name.removeprefix(TAG_PREFIX)
    if name.startswith(TAG_PREFIX) and key:
        return Dimension(name, "Tags", "tag", f"Value of the tag {key}.", key)
    found = dimensions().get(name)
    if found is None:
        allowed = ", ".join([*dimensions(), f"{TAG_PREFIX}<key>"])
        raise ValueError(f"dimension {name!r} is unknown; allowed: {allowed}")
    return found


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of a command line that were no UTF-8
        raise ValueError(f"{text!r} is no Unicode text; write it in UTF-8") from error
    if "\0" in text:  # an engine's text ends there
        raise ValueError(f"{text!r} has a zero character, which no value of the lake has")
