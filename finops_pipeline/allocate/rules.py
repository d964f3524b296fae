"""`rules.yaml` as typed models: who owns what, what is shared, by what, and from when to when.

The shape of the rules lives here. What single entries cannot know is checked in `findings.py`,
reading the file is in `load.py`, which rules hold on a day in `in_force.py`; what they decide is in
`ownership.py` and `shares.py`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from finops_pipeline.allocate.terms import (
    Compare,
    Pattern,
    ScopePath,
    Text,
    Values,
    Weight,
    as_list,
    plain_weight,
    scope_path,
)

# Columns of a charge that a rule may match, and those by which a driver may keep to its own.
COLUMNS = (
    "ProviderName", "BillingAccountId", "SubAccountId", "ServiceName", "ChargeCategory",
    "ResourceId", "CommitmentDiscountId", "scope",
)  # fmt: skip
TAG = "tag:"
SameColumn = Literal[
    "BillingAccountId", "SubAccountId", "ServiceName", "ResourceId", "CommitmentDiscountId", "scope"
]
REQUESTS = "Requests"  # the unit that the driver `requests` stands for


def _match(match: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if not match:
        raise ValueError("must name at least one column, or it would take every charge")
    for name in match:
        if name not in COLUMNS and not (name.startswith(TAG) and name.removeprefix(TAG).strip()):
            known = ", ".join(COLUMNS)
            raise ValueError(f"knows no column {name!r}; expected {known} or tag:KEY")
    paths = tuple(scope_path(value) for value in match.get("scope", ()))
    return match | {"scope": paths} if paths else match


Match = Annotated[dict[str, Values], AfterValidator(_match)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dated(_Model):
    """What holds from a charge day to a charge day, both included; without them, always."""

    since: date | None = Field(None, alias="from", description="First charge day it holds for.")
    until: date | None = Field(None, alias="to", description="Last charge day it holds for.")

    @model_validator(mode="after")
    def _in_order(self) -> Dated:
        if self.since and self.until and self.until < self.since:
            raise ValueError(f"ends on {self.until}, before it begins on {self.since}")
        return self

    def holds_on(self, day: date) -> bool:
        """Whether it holds on a charge day."""
        return (self.since or date.min) <= day <= (self.until or date.max)


class Owner(Dated):
    """A business unit that cost may end at; `parent` is the one that it is a part of."""

    name: Text
    parent: Text | None = None


class PatternRule(_Model):
    """A regular expression (RE2) that the whole value of a tag must match, and its owner."""

    match: Pattern
    owner: Text


class TagRule(Dated):
    """Tags that name owners: by the owners' own names, by aliases, or by patterns in their order.

    The keys are asked in their order. `invalid` values say nothing, and are named in the evidence.
    `compare: spelling` looks at letters and digits alone. `providers` keeps it to some of them.
    """

    key: Values
    aliases: dict[Text, Text] = {}
    patterns: tuple[PatternRule, ...] = ()
    invalid: Annotated[
        tuple[Text, ...], BeforeValidator(as_list, json_schema_input_type=str | list[str])
    ] = ()
    compare: Compare = "case"
    providers: Values | None = None


class ScopeRule(Dated):
    """What a scope and all below it inherit, unless a longer path says otherwise.

    A scope is a place in a provider's own hierarchy: a compartment, an account, a resource group,
    a project. `tags` are those that charges without them take as their own (effective tags).
    """

    path: ScopePath
    owner: Text | None = None
    tags: dict[Text, Text] = {}
    provider: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ScopeRule:
        if self.owner is None and not self.tags:
            raise ValueError("must have an owner, or tags")
        return self


class PlaceRule(Dated):
    """The owner of a place finer than a scope: a network, a cluster, a namespace, an account."""

    name: Text
    match: Match
    owner: Text


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


class Driver(_Model):
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


class Below(_Model):
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


class WeightRow(_Model):
    """The weight of an owner from a day on, until the table has a later day."""

    day: date = Field(alias="date")
    owner: Text
    weight: Weight


class WeightTable(_Model):
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


class Rules(_Model):
    """All of `rules.yaml`. Without any rule every charge is `unallocated`."""

    owners: tuple[Owner, ...] = ()
    tags: tuple[TagRule, ...] = ()
    places: tuple[PlaceRule, ...] = ()
    scopes: tuple[ScopeRule, ...] = ()
    pools: tuple[Pool, ...] = ()
    weights: dict[Text, WeightTable] = {}

    @field_validator("owners", mode="before", json_schema_input_type=tuple[str | Owner, ...])
    @classmethod
    def _names_alone(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [v if isinstance(v, dict | Owner) else {"name": v} for v in value]

    @model_validator(mode="after")
    def _consistent(self) -> Rules:
        # Here, since what is checked across entries knows the entries.
        from finops_pipeline.allocate.findings import findings

        found = list(findings(self))
        if found:
            raise ValidationError.from_exception_data("Rules", found)
        return self

    @property
    def owner_names(self) -> tuple[str, ...]:
        """The owners by name, in their order."""
        return tuple(owner.name for owner in self.owners)

    @property
    def content(self) -> str:
        """The rules as JSON, the same for the same rules however the file is written."""
        shown = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return json.dumps(shown, sort_keys=True, ensure_ascii=False)

    @property
    def hash(self) -> str:
        """The name of this rule set: the hash of its content."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:32]
