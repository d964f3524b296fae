"""A question about cost, checked when it is made: `CostQuery`.

What the dimensions are is in `dimensions.py`; how a question is run is in `compile.py` and
`answer.py`. What can only be told from the data (two reporting currencies in the lake) is refused
there, with the same `QueryError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from finops_pipeline.contracts.tables import REPORTING_METRICS
from finops_pipeline.query.dimensions import NONE, dimension

Metric = Literal["EffectiveCost", "BilledCost", "ListCost", "ContractedCost", "ConsumedQuantity"]
Order = Literal["cost", "name"]
REPORTING = "reporting"
QUANTITY = "ConsumedQuantity"
MOST_ON_TOP = 1_000_000_000  # an engine counts rows in 64 bits

_WRITTEN = {"since": "a day such as 2025-01-31", "as_of": "a time such as 2025-01-31T12:00:00Z"}
_WRITTEN["until"] = _WRITTEN["since"]


class QueryError(Exception):
    """The question has no true answer; the message says why and what to ask instead."""


class CostQuery(BaseModel):
    """What to sum, by what, over which charges, and as known when.

    `filters` keeps the charges that have one of the values in every dimension named; `exclude`
    drops those that have one of the values in any. The value `(none)` stands for charges without
    a value. `since` and `until` are charge days, both inclusive. `currency` is `reporting`, or a
    billing currency: then only charges billed in it count. `top` keeps the costliest groups and
    sums the rest. `as_of` without a zone is UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: Metric = "EffectiveCost"
    by: tuple[str, ...] = ()
    filters: dict[str, tuple[str, ...]] = {}
    exclude: dict[str, tuple[str, ...]] = {}
    since: date | None = None
    until: date | None = None
    currency: str = REPORTING
    top: int | None = Field(default=None, ge=1, le=MOST_ON_TOP)
    order: Order = "cost"
    as_of: datetime | None = None

    @field_validator("metric", mode="before")
    @classmethod
    def _known_metric(cls, value: object) -> object:
        return _one_of("metric", value, get_args(Metric))

    @field_validator("order", mode="before")
    @classmethod
    def _known_order(cls, value: object) -> object:
        return _one_of("order", value, get_args(Order))

    @field_validator("by", mode="before")
    @classmethod
    def _names_in_one_text(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("by")
    @classmethod
    def _known_dimensions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            dimension(name)
            if value.count(name) > 1:
                raise ValueError(f"dimension {name!r} is named twice")
        return value

    @field_validator("filters", "exclude", mode="before")
    @classmethod
    def _one_value_is_a_list_of_one(cls, value: object) -> object:
        if isinstance(value, dict):
            return {k: (v,) if isinstance(v, str) else v for k, v in value.items()}
        return value

    @field_validator("filters", "exclude")
    @classmethod
    def _known_values(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, values in value.items():
            known = dimension(name)
            if not values:
                raise ValueError(f"dimension {name!r} has no value; name one, or leave it out")
            for each in values:
                known.check(each)
        # In one order, so that the same question is written the same way.
        return {name: value[name] for name in sorted(value)}

    @field_validator("currency")
    @classmethod
    def _currency_code(cls, value: str) -> str:
        if value != REPORTING and not re.fullmatch("[A-Z]{3}", value):
            raise ValueError(
                f"currency {value!r} is unknown; allowed: {REPORTING}, or the three capital "
                "letters of a billing currency, such as EUR"
            )
        return value

    @field_validator("since", "until", "as_of", mode="before")
    @classmethod
    def _no_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would take 2025 for 2,025 seconds after the beginning of 1970."""
        if value is None or isinstance(value, date):  # a time is a date too
            return value
        if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
            return value
        name = str(info.field_name)
        raise ValueError(f"{name} {value!r}: expected {_WRITTEN[name]}")

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"as_of {value.isoformat()} is no time in UTC") from None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"the period from {self.since} to {self.until} ends before it starts")
        if self.top is not None and not self.by:
            raise ValueError(f"top {self.top} of what? name a dimension to group by")
        if self.metric == QUANTITY:
            self._of_one_unit()
        elif self.currency == REPORTING and self.column not in REPORTING_METRICS:
            raise ValueError(
                f"{self.metric} is not kept in the reporting currency; choose the billing "
                "currency to sum it in, such as currency EUR"
            )
        return self

    def _of_one_unit(self) -> None:
        units = self.filters.get("unit", ())
        one = len(set(units)) == 1 and NONE not in units
        if not one and "unit" not in self.by:
            raise ValueError(
                f"{QUANTITY} cannot be summed over different units: group by unit, or filter "
                "unit to one value"
            )
        if not one and self.top is not None:
            raise ValueError(
                f"top {self.top} would compare and sum quantities of different units: filter "
                "unit to one value"
            )

    @property
    def column(self) -> str:
        """The column of the lake that is summed."""
        if self.currency == REPORTING and self.metric != QUANTITY:
            return f"x_Reporting{self.metric}"
        return self.metric

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer."""
        return (*self.by, self.metric)


def question(asked: Mapping[str, object]) -> CostQuery:
    """The question that these fields make. Raises QueryError, which says what is wrong."""
    try:
        return CostQuery.model_validate(dict(asked))
    except ValidationError as error:
        raise QueryError(problems(error)) from None


def named_values(option: str, texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Filters, each written as `dimension=value,value`. Raises QueryError naming the option."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign:
            raise QueryError(f"{option} {text!r}: expected dimension=value, such as owner=web")
        found[name] = (*found.get(name, ()), *values.split(","))
    return found


def problems(error: ValidationError) -> str:
    """What is wrong with a question, one line each, for a person."""
    return told(error.errors())


def told(errors: Iterable[Mapping[str, Any]]) -> str:
    """What Pydantic found wrong, one line each, for a person."""
    lines = []
    for each in errors:
        place = ".".join(str(part) for part in each["loc"])
        if each["type"] == "value_error":
            lines.append(each["msg"].removeprefix("Value error, "))
        elif each["type"] == "extra_forbidden":
            allowed = ", ".join(CostQuery.model_fields)
            lines.append(f"{place!r} is no part of a question; allowed: {allowed}")
        else:
            lines.append(f"{place} {each['input']!r}: {each['msg']}")
    return "\n".join(lines)


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> object:
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is unknown; allowed: {', '.join(allowed)}")
    return value
