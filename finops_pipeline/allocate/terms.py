"""The words that rules are written in: texts, paths, values, weights, and how texts compare.

What rules are made of these is in `rules.py`.
"""

from __future__ import annotations

import unicodedata
from decimal import Context, Decimal
from typing import Annotated, Any, Literal

import re2
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

UNALLOCATED = "unallocated"
Compare = Literal["case", "spelling"]

LONGEST_PATTERN = 500  # characters
_PATTERN_MEMORY = 1 << 20  # bytes that one compiled pattern may take
_WIDE = Context(prec=100)


def fold(text: str) -> str:
    """Text as it is compared: without space around it, upper case as lower, accents one way.

    An accent may be part of a letter or follow it, which looks the same (Unicode's form NFC).
    """
    return unicodedata.normalize("NFC", text.strip().casefold())


def spelled(text: str) -> str:
    """Text by its letters and digits alone: `Data_Platform` and `dàta platform` are the same."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if c.isalnum())


def compared(text: str, compare: Compare) -> str:
    """Text as a rule compares it."""
    return spelled(text) if compare == "spelling" else fold(text)


def compiled(pattern: str) -> Any:
    """A pattern of RE2, which takes time linear in the text. Raises ValueError when it is none."""
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"must have at most {LONGEST_PATTERN} characters")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else "it is too large"
        text = said.decode() if isinstance(said, bytes) else str(said)
        raise ValueError(f"must be a regular expression of RE2: {text}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text; put it in quotes")
    if not value.strip():
        raise ValueError("must not be blank")
    if value != value.strip():
        raise ValueError("must not begin or end with space")
    return value


def scope_path(value: str) -> str:
    """A path as it is compared: without a slash at either end. Raises ValueError."""
    path = value.strip("/")
    if not path:
        raise ValueError("must name a scope, such as root/payments")
    return path


def _pattern(value: str) -> str:
    compiled(value)
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def as_list(value: object) -> object:
    """One value as a list of one."""
    return [value] if isinstance(value, str | int | dict) else value


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("must list at least one value")
    return values


def plain_weight(weight: Decimal) -> str:
    """A weight as the same text however it was written."""
    return format(weight.normalize(_WIDE), "f")


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str)]
ScopePath = Annotated[Text, AfterValidator(scope_path)]
Pattern = Annotated[Text, AfterValidator(_pattern)]
Values = Annotated[
    tuple[Text, ...],
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
    AfterValidator(_some),
]
Weight = Annotated[
    Decimal,
    BeforeValidator(_number, json_schema_input_type=float | str),
    Field(ge=0, max_digits=38, decimal_places=18),
    PlainSerializer(plain_weight, when_used="json"),
]
