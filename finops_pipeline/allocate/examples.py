"""A user's own examples of what the rules shall decide: `rules_test.yaml`, `finops rules test`.

An example is a charge and whose it is, or a pool with what its drivers weigh and the exact shares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import DayOfShares, Known
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.terms import Text
from finops_pipeline.allocate.weights import DayOfDirects, Direct
from finops_pipeline.config import reading
from finops_pipeline.exact_yaml import read_yaml


def _fraction(value: object) -> Fraction:
    if isinstance(value, int | str | Decimal) and not isinstance(value, bool):
        try:
            return Fraction(value)
        except (ValueError, ZeroDivisionError):
            pass
    raise ValueError("must be a fraction such as 1/3, or a decimal number")


Part = Annotated[Fraction, BeforeValidator(_fraction)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ChargeGiven(_Model):
    """The facts of a charge that rules look at."""

    provider: str = Field("Oracle", alias="ProviderName")
    billing_account_id: str | None = Field(None, alias="BillingAccountId")
    sub_account_id: str | None = Field(None, alias="SubAccountId")
    service: str = Field("", alias="ServiceName")
    charge_category: str = Field("Usage", alias="ChargeCategory")
    resource_id: str | None = Field(None, alias="ResourceId")
    commitment_discount_id: str | None = Field(None, alias="CommitmentDiscountId")
    scope: str | None = None
    tags: dict[str, str] = {}

    def subject(self) -> Subject:
        """The charge as the rules see it."""
        given = self.model_dump(exclude={"scope", "tags"})
        return Subject(scope_path=self.scope, tags=json.dumps(self.tags), **given)


class DirectGiven(_Model):
    """What an owner or a pool has of its own on the day."""

    of: Text
    cost: Decimal = Decimal(0)
    usage: dict[str, Decimal] = {}
    same: dict[str, str] = {}

    def direct(self) -> Direct:
        """It, as drivers weigh it."""
        return Direct(self.of, self.cost, self.usage, self.same)


class Expected(_Model):
    """What the rules shall decide; what is left out is not looked at."""

    owner: str | None = None
    pool: str | None = None
    tier: str | None = None
    rule: str | None = None
    evidence: str | None = None
    shares: dict[str, Part] | None = None


class Example(_Model):
    """One example, on a charge day."""

    name: Text
    day: date
    charge: ChargeGiven | None = None
    pool: Text | None = None
    same: dict[str, str] = {}
    direct: tuple[DirectGiven, ...] = ()
    last_known: dict[str, Part] = {}
    expect: Expected

    @model_validator(mode="after")
    def _charge_or_pool(self) -> Example:
        if (self.charge is None) == (self.pool is None):
            raise ValueError("must have either a charge or a pool")
        if (self.pool is None) != (self.expect.shares is None):
            raise ValueError("expects shares of a pool, and owner, tier or rule of a charge")
        if not any(wanted is not None for _, wanted in self.expect):
            raise ValueError(
                "expects nothing, so it would always pass; name an owner, tier or rule"
            )
        return self


def _some(value: object) -> object:
    if value == []:
        raise ValueError("must have at least one example")
    return value


class Examples(_Model):
    """All of `rules_test.yaml`."""

    examples: Annotated[tuple[Example, ...], BeforeValidator(_some)]


@dataclass(frozen=True)
class Verdict:
    """An example and what is otherwise than expected; nothing is as it should be."""

    name: str
    differences: tuple[str, ...]


def load_examples(path: Path) -> Examples:
    """Read and check `rules_test.yaml`. Raises ConfigError for a wrong file."""
    with reading(path, "Write it (see docs/allocation.md, 'Your own examples')."):
        return Examples.model_validate(read_yaml(path.read_text(encoding="utf-8")))


def judge(rules: Rules, examples: Examples) -> list[Verdict]:
    """Every example held against the rules."""
    decider = Decider(rules)
    return [Verdict(e.name, tuple(_differences(decider, e))) for e in examples.examples]


def _differences(decider: Decider, example: Example) -> Iterator[str]:
    if example.charge is not None:
        decision = decider.decide(example.charge.subject(), example.day)
        for name, wanted in example.expect.model_dump(exclude={"shares"}).items():
            if wanted is not None and (found := getattr(decision, name)) != wanted:
                yield f"{name} is {found!r}, not {wanted!r} ({decision.evidence})"
        return
    wanted_shares = example.expect.shares or {}
    of_day = decider.calendar.on(example.day)
    if example.pool not in of_day.pools:
        known = ", ".join(sorted(of_day.pools)) or "none"
        yield f"no pool is named {example.pool!r} on {example.day}; there are: {known}"
        return
    found_shares = _shares(decider, example, example.pool)
    for owner in sorted(wanted_shares.keys() | found_shares.keys()):
        share, wanted = found_shares.get(owner, Fraction(0)), wanted_shares.get(owner, Fraction(0))
        if share != wanted:
            yield f"the share of {owner} is {share}, not {wanted}"
    if wanted_shares != found_shares:
        named = {one.of for one in example.direct} | example.last_known.keys()
        for name in sorted(named - of_day.owners - of_day.pools.keys()):
            yield f"{name!r} is neither an owner nor a pool on {example.day}: it takes no part"


def _shares(decider: Decider, example: Example, pool: str) -> dict[str, Fraction]:
    of_day = decider.calendar.on(example.day)
    part: dict[str, Any] = {c: example.same.get(c) for c in of_day.pools[pool].same}
    known = Known(example.day, example.last_known) if example.last_known else None
    directs = DayOfDirects([one.direct() for one in example.direct])
    made = DayOfShares(of_day, directs, lambda pool, part: known)
    taken = made.shares(pool, json.dumps(part) if part else "")
    return {share.owner: Fraction(share.fraction) for share in taken}
