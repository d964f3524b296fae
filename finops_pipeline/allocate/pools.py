"""Shared cost as rules have it: pools, the drivers that split them, and tables of weights."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from finops_pipeline.allocate.entries import COLUMNS, Dated, Entry, Match, SameColumn
from finops_pipeline.allocate.terms import Text, Weight, as_list, plain_weight

REQUESTS = "Requests"  # the unit that the driver `requests` stands for

_WORDS: dict[str, dict[str, Any]] = {
    "cost": {"kind": "cost"},
    "requests": {"usage": REQUESTS},
    "even": {"kind": "even"},
    "last known": {"kind": "last known"},
}
_BY = ("cost", "usage", "weights", "fixed")
_SAYS = (
    "must be cost, requests, even, last known, {cost: direct}, {usage: unit}, {weights: table} or "
    "{fixed: {owner: weight}}; the first three of the latter may have `same`"
)


class Driver(Entry):
    """What a pool is split by.

    Direct cost (reporting currency), direct usage in one unit, the same parts for all, the shares
    of the last day that had any, a table of weights by day, or fixed weights. `same` weighs only
    charges with the same values in these columns as the shared charge: what it belongs to.
    """

    kind: Literal["cost", "even", "last known"] | None = None
    usage: Text | None = None
    weights: Text | None = None
    fixed: dict[Text, Weight] | None = None
    same: Annotated[
        tuple[SameColumn, ...], BeforeValidator(as_list, json_schema_input_type=str | list[str])
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_of_them(cls, value: object) -> object:
        if isinstance(value, str) and value in _WORDS:
            return _WORDS[value]
        if isinstance(value, dict):
            by = [name for name in value if name != "same"]
            if len(by) == 1 and by[0] in _BY and value[by[0]] is not None:
                given = {k: v for k, v in value.items() if k != "cost"}
                if by == ["cost"] and value["cost"] == "direct":
                    return {**given, "kind": "cost"}
                if by != ["cost"] and not ("same" in value and by[0] in ("fixed", "weights")):
                    return given
        raise ValueError(_SAYS)

    @model_validator(mode="after")
    def _something_to_split_by(self) -> Driver:
        if self.fixed is not None and not any(self.fixed.values()):
            raise ValueError("at least one fixed weight must be greater than zero")
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        """The driver as a rules file has it."""
        if self.kind and not self.same:
            return self.kind
        given: dict[str, Any] = {"cost": "direct"} if self.kind else {}
        given |= {n: v for n in ("usage", "weights") if (v := getattr(self, n)) is not None}
        if self.fixed is not None:
            given["fixed"] = {owner: plain_weight(weight) for owner, weight in self.fixed.items()}
        return {**given, "same": list(self.same)} if self.same else given

    @property
    def text(self) -> str:
        """The driver in words, as it is stored beside each share."""
        if self.fixed is not None:
            return "fixed"
        if self.weights is not None:
            return f"weights {self.weights}"
        by = self.kind or f"usage {self.usage}"
        return f"{by} of the same {', '.join(self.same)}" if self.same else by

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        columns = list(get_args(SameColumn))
        same = {"anyOf": [{"enum": columns}, {"type": "array", "items": {"enum": columns}}]}

        def mapping(name: str, value: dict[str, Any], **further: Any) -> dict[str, Any]:
            return {
                "type": "object",
                "properties": {name: value, **further},
                "required": [name],
                "additionalProperties": False,
            }

        weight = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
        return {
            "description": str(cls.__doc__).partition("\n")[0],
            "anyOf": [
                {"enum": list(_WORDS)},
                mapping("cost", {"const": "direct"}, same=same),
                mapping("usage", {"type": "string"}, same=same),
                mapping("weights", {"type": "string"}),
                mapping("fixed", {"type": "object", "additionalProperties": weight}),
            ],
        }


class Below(Entry):
    """All owners below one in the hierarchy."""

    below: Text


class Pool(Dated):
    """A shared cost: which charges go into it, by what it is split, and among whom.

    A charge belongs to the pool if, for each column of `match`, it has one of the values listed;
    for `scope` the values are paths, and all below them belongs too. The first driver that gives
    any recipient a weight above zero splits it; if none does, it is `unallocated`. `recipients`
    are owners or other pools; without them, all owners.
    """

    name: Text
    match: Match
    drivers: Annotated[
        tuple[Driver, ...],
        BeforeValidator(as_list, json_schema_input_type=Driver | list[Driver]),
        Field(min_length=1),
    ]
    recipients: tuple[Text | Below, ...] = ()

    @property
    def same(self) -> tuple[str, ...]:
        """The columns that any of its drivers keeps to, in one order."""
        used = {column for driver in self.drivers for column in driver.same}
        return tuple(column for column in COLUMNS if column in used)


class WeightRow(Entry):
    """The weight of an owner from a day on, until the table has a later day."""

    day: date = Field(alias="date")
    owner: Text
    weight: Weight


class WeightTable(Entry):
    """Weights by day: on a charge day those of the table's newest date that is not after it."""

    rows: tuple[WeightRow, ...]

    @model_validator(mode="before")
    @classmethod
    def _rows_alone(cls, value: object) -> object:
        return {"rows": value} if isinstance(value, list | tuple) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        row = {
            "type": "object",
            "properties": {
                "date": {"type": "string", "format": "date"},
                "owner": {"type": "string"},
                "weight": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]},
            },
            "required": ["date", "owner", "weight"],
            "additionalProperties": False,
        }
        return {
            "description": "A CSV file (date,owner,weight) beside rules.yaml, or its rows.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": row}],
        }

    def on(self, day: date) -> tuple[WeightRow, ...]:
        """The rows that hold on a charge day."""
        newest = max((row.day for row in self.rows if row.day <= day), default=None)
        return tuple(row for row in self.rows if row.day == newest)
