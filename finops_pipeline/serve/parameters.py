"""What may stand in the address of a question, as text; `CostQuery` says what it means.

A name that is not known is refused: a filter that is misspelled would else be an answer to another
question.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from finops_pipeline.query.diff import BY
from finops_pipeline.query.dimensions import dimensions
from finops_pipeline.query.model import (
    CostQuery,
    Metric,
    Order,
    QueryError,
    named_values,
    question,
)
from finops_pipeline.serve.service import MOST_LINES

_MOST_RANKED = 1_000

_DIMENSIONS = ", ".join([*dimensions(), "tag:<key>"])
_MANY = "`dimension=value,value`; may be given several times. `(none)` is for charges without one."


# Left out or text: what is left out has no schema of its own in an address.
_Text = Annotated[str | SkipJsonSchema[None], Field(default=None)]
_Day = Annotated[_Text, Field(json_schema_extra={"format": "date"})]
Since = Annotated[_Day, Field(description="First charge day (UTC), inclusive.")]
Until = Annotated[_Day, Field(description="Last charge day (UTC), inclusive.")]
AsOf = Annotated[
    _Text,
    Field(
        description="As known at this time: what was committed to the lake by then. Without a "
        "zone it is UTC; write `Z` rather than `+00:00`, whose `+` is a blank in an address.",
        examples=["2025-01-31T12:00:00Z"],
    ),
]
By = Annotated[
    str, Field(description=f"Dimensions of the lines, with commas between: {_DIMENSIONS}.")
]


class _Parameters(BaseModel):
    """Parameters of an address."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        allowed = ", ".join(cls.model_fields) or "none"
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(f"{name!r} is no parameter here; allowed: {allowed}")
        return given


class _Question(_Parameters):
    """What costs and differences are asked by."""

    by: By = ""
    metric: Annotated[
        str,
        Field(
            description="What is summed: a cost, in money, or `ConsumedQuantity`, in the unit of "
            "the charges, which must be one.",
            json_schema_extra={"enum": list(get_args(Metric))},
        ),
    ] = "EffectiveCost"
    filters: Annotated[list[str], Field(description=f"Keeps only these: {_MANY}")] = []
    exclude: Annotated[list[str], Field(description=f"Leaves these out: {_MANY}")] = []
    since: Since
    until: Until
    currency: Annotated[
        str,
        Field(
            description="`reporting`, or a billing currency such as EUR: then only charges billed "
            "in it count. Amounts of different currencies are never added up.",
        ),
    ] = "reporting"
    # A union with None would be refused in two sentences.
    top: Annotated[
        int,
        Field(
            default=None,
            ge=1,
            le=MOST_LINES,
            description="Keeps the costliest lines; of `/costs` the rest is summed as `(other)`.",
        ),
    ]
    order: Annotated[
        str,
        Field(
            description="`cost`, the largest first, or `name`.",
            json_schema_extra={"enum": list(get_args(Order))},
        ),
    ] = "cost"

    def question(self) -> CostQuery:
        """The question. Raises QueryError."""
        named = {
            name: named_values(name, texts)
            for name, texts in (("filters", self.filters), ("exclude", self.exclude))
        }
        return question({**self.model_dump(exclude={"filters", "exclude", *self._apart}), **named})

    _apart: frozenset[str] = frozenset()


class Costs(_Question):
    """Parameters of `/costs`."""

    as_of: AsOf


class Diff(_Question):
    """Parameters of `/diff`: the two times are no part of the question."""

    by: By = ",".join(BY)
    as_of: Annotated[
        list[str],
        Field(
            min_length=1,
            max_length=2,
            description="The two times that are compared, given as two parameters; one is "
            "compared with the present. Written as of `/costs`.",
            examples=[["2025-01-31T12:00:00Z"]],
        ),
    ]

    _apart: frozenset[str] = frozenset({"as_of"})

    def times(self) -> tuple[datetime, datetime | None]:
        """The two times. Raises QueryError."""
        then, *now = (time_of(text) for text in self.as_of)
        if then is None:
            raise QueryError("as_of has no time")
        return then, now[0] if now else None


class Explained(_Parameters):
    """Parameters of `/explain`."""

    as_of: AsOf

    def time(self) -> datetime | None:
        """The time asked for. Raises QueryError."""
        return time_of(self.as_of)


class Ranked(_Parameters):
    """Parameters of `/unallocated`."""

    since: Since
    until: Until
    top: Annotated[int, Field(ge=1, le=_MOST_RANKED, description="Lines of each ranking.")] = 10

    def period(self) -> CostQuery:
        """A question of these days. Raises QueryError."""
        return question({"since": self.since, "until": self.until})


class Nothing(_Parameters):
    """An address without parameters."""


def time_of(text: str | None) -> datetime | None:
    """A time as a question has it, in UTC. Raises QueryError."""
    return question({"as_of": text}).as_of
