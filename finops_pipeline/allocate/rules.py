"""`rules.yaml` as typed models: who owns what by tag and by scope, what is shared and how.

The shape of the rules and their checks live here. What the rules decide is in `ownership.py`, how
a pool is split in `shares.py`, how the text becomes values in `exact_yaml.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from finops_pipeline.config import ConfigError, explain_validation
from finops_pipeline.exact_yaml import read_yaml

UNALLOCATED = "unallocated"
MatchColumn = Literal["ProviderName", "SubAccountId", "ServiceName", "ResourceId", "scope"]


_Place = tuple[str | int, ...]
_Places = list[tuple[_Place, str]]


def fold(text: str) -> str:
    """Text as it is compared with other text: without space around it, upper case as lower."""
    return text.strip().casefold()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text; put it in quotes")
    if not value.strip():
        raise ValueError("must not be blank")
    if value != value.strip():
        raise ValueError("must not begin or end with space")
    return value


def _path(value: str) -> str:
    path = value.strip("/")
    if not path:
        raise ValueError("must name a scope, such as root/payments")
    return path


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _list(value: object) -> object:
    return [value] if isinstance(value, str | int) else value


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("must list at least one value")
    return values


def _match(match: dict[MatchColumn, tuple[str, ...]]) -> dict[MatchColumn, tuple[str, ...]]:
    if not match:
        raise ValueError("must name at least one column, or it would take every charge")
    paths = tuple(_path(value) for value in match.get("scope", ()))
    return match | {"scope": paths} if paths else match


Text = Annotated[str, BeforeValidator(_text)]
ScopePath = Annotated[Text, AfterValidator(_path)]
Values = Annotated[tuple[Text, ...], BeforeValidator(_list), AfterValidator(_some)]
Match = Annotated[dict[MatchColumn, Values], AfterValidator(_match)]
Weight = Annotated[
    Decimal,
    BeforeValidator(_number),
    Field(ge=0, max_digits=38, decimal_places=18),
    PlainSerializer(lambda weight: str(Fraction(weight)), when_used="json"),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TagRule(_Model):
    """A tag that names owners: by their own names, or by the aliases given here."""

    key: Text
    aliases: dict[Text, Text] = {}


class ScopeRule(_Model):
    """The owner of a scope and of all below it, unless a longer path says otherwise.

    A scope is a place in a provider's own hierarchy: a compartment, an account, a resource group,
    a project.
    """

    path: ScopePath
    owner: Text


class Driver(_Model):
    """What a pool is split by: direct cost (neither field set), direct usage, or fixed weights."""

    usage: Text | None = None
    fixed: dict[Text, Weight] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_of_three(cls, value: object) -> object:
        if value == "cost":
            return {}
        if isinstance(value, dict) and list(value) in (["usage"], ["fixed"]):
            (given,) = value.values()
            if given is not None:
                return value
        raise ValueError("must be cost, {usage: unit} or {fixed: {owner: weight}}")

    @model_validator(mode="after")
    def _something_to_split_by(self) -> Driver:
        if self.fixed is not None and not any(self.fixed.values()):
            raise ValueError("at least one fixed weight must be greater than zero")
        return self


class Pool(_Model):
    """A shared cost: which charges go into it, and by what it is split.

    A charge belongs to the pool if, for each column of `match`, it has one of the values listed;
    for `scope` the values are paths, and all below them belongs too.
    """

    name: Text
    match: Match
    driver: Driver


class Rules(_Model):
    """All of `rules.yaml`. Without any rule every charge is `unallocated`."""

    owners: tuple[Text, ...] = ()
    tags: tuple[TagRule, ...] = ()
    scopes: tuple[ScopeRule, ...] = ()
    pools: tuple[Pool, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Rules:
        findings = list(_findings(self))
        if findings:
            raise ValidationError.from_exception_data("Rules", findings)
        return self

    @property
    def hash(self) -> str:
        """The name of this rule set: the same for the same rules, however the file is written."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def load_rules(path: Path | None) -> Rules:
    """Read and check `rules.yaml`; None means no rules. Raises ConfigError for a wrong file."""
    if path is None:
        return Rules()
    try:
        given = read_yaml(path.read_text(encoding="utf-8"))
        return Rules.model_validate({} if given is None else given)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Write it (see docs/allocation.md), "
            "or correct or remove `rules` in finops.yaml."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain_validation(error)}") from None


def _findings(rules: Rules) -> Iterator[InitErrorDetails]:
    """What single entries cannot know: names that are unknown, reserved or used twice."""
    owners: _Places = [(("owners", i), name) for i, name in enumerate(rules.owners)]
    pools: _Places = [(("pools", i, "name"), pool.name) for i, pool in enumerate(rules.pools)]
    yield from _repeated(owners, fold)
    yield from _repeated(pools, fold)
    yield from _repeated([(("tags", i, "key"), tag.key) for i, tag in enumerate(rules.tags)])
    yield from _repeated(
        [(("scopes", i, "path"), rule.path) for i, rule in enumerate(rules.scopes)]
    )
    for place, name in owners + pools:
        if fold(name) == UNALLOCATED:
            yield _finding("is reserved for cost without an owner; use another name", place, name)
    for place, owner in _references(rules):
        if owner not in rules.owners:
            known = ", ".join(rules.owners) or "none yet"
            yield _finding(f"must be one of owners ({known}), or be added there", place, owner)
    yield from _ambiguous_aliases(rules)


def _references(rules: Rules) -> Iterator[tuple[_Place, str]]:
    for i, tag in enumerate(rules.tags):
        yield from ((("tags", i, "aliases", value), owner) for value, owner in tag.aliases.items())
    for i, rule in enumerate(rules.scopes):
        yield ("scopes", i, "owner"), rule.owner
    for i, pool in enumerate(rules.pools):
        yield from ((("pools", i, "driver", "fixed", o), o) for o in pool.driver.fixed or ())


def _ambiguous_aliases(rules: Rules) -> Iterator[InitErrorDetails]:
    names = {fold(owner): owner for owner in rules.owners}
    for i, tag in enumerate(rules.tags):
        places: _Places = [(("tags", i, "aliases", value), value) for value in tag.aliases]
        yield from _repeated(places, fold)
        for place, value in places:
            if names.get(fold(value), tag.aliases[value]) != tag.aliases[value]:
                yield _finding("names another owner itself; remove the alias", place, value)


def _repeated(names: _Places, key: Callable[[str], str] = str) -> Iterator[InitErrorDetails]:
    first: dict[str, _Place] = {}
    for place, name in names:
        if key(name) in first:
            where = ".".join(map(str, first[key(name)]))
            yield _finding(f"stands already at {where}; keep one of the two", place, name)
        first.setdefault(key(name), place)


def _finding(message: str, place: _Place, value: str) -> InitErrorDetails:
    error = PydanticCustomError("rules", "{message}", {"message": message})
    return InitErrorDetails(type=error, loc=place, input=value)
