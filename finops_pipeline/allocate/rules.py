"""`rules.yaml` as typed models: who owns what, what is shared, by what, and from when to when.

The shape of the rules lives here; of what is shared, in `pools.py` and `clusters.py`. What single
entries cannot know is checked in `findings.py`, reading the file is in `load.py`, which rules hold
on a day in `in_force.py`; what they decide is in `ownership.py` and `shares.py`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from finops_pipeline.allocate.clusters import Cluster
from finops_pipeline.allocate.entries import Dated, Entry, Match
from finops_pipeline.allocate.pools import Pool, WeightTable
from finops_pipeline.allocate.terms import Compare, Pattern, ScopePath, Text, Values, as_list

# What rules are validated as that made figures: they were consistent by what was asked then.
STORED = "stored"


class Owner(Dated):
    """A business unit that cost may end at; `parent` is the one that it is a part of."""

    name: Text
    parent: Text | None = None


class PatternRule(Entry):
    """A regular expression (RE2) that the whole value of a tag must match, and its owner."""

    match: Pattern
    owner: Text


class TagRule(Dated):
    """Tags that name owners: by the owners' own names, by aliases, or by patterns in their order.

    The keys are asked in their order. `invalid` values say nothing, and are named in the evidence.
    `compare: spelling` looks at letters and digits alone. `providers` keeps it to some of them.
    """

    key: Values
    aliases: dict[Text, Text] = Field(default={})
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
    tags: dict[Text, Text] = Field(default={})
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


class Rules(Entry):
    """All of `rules.yaml`. Without any rule every charge is `unallocated`."""

    owners: tuple[Owner, ...] = ()
    tags: tuple[TagRule, ...] = ()
    places: tuple[PlaceRule, ...] = ()
    scopes: tuple[ScopeRule, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    pools: tuple[Pool, ...] = ()
    weights: dict[Text, WeightTable] = Field(default={})

    @field_validator("owners", mode="before", json_schema_input_type=tuple[str | Owner, ...])
    @classmethod
    def _names_alone(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [v if isinstance(v, dict | Owner) else {"name": v} for v in value]

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Rules:
        if info.context == STORED:
            return self
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
