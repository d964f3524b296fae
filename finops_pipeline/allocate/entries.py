"""What all entries of `rules.yaml` have in common: what they match, and the days they hold."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from finops_pipeline.allocate.terms import Values, scope_path

# Columns of a charge that a rule may match, and those by which a driver may keep to its own.
COLUMNS = (
    "ProviderName", "BillingAccountId", "SubAccountId", "ServiceName", "ChargeCategory",
    "ResourceId", "CommitmentDiscountId", "scope",
)  # fmt: skip
TAG = "tag:"
SameColumn = Literal[
    "BillingAccountId", "SubAccountId", "ServiceName", "ResourceId", "CommitmentDiscountId", "scope"
]


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


class Entry(BaseModel):
    """What a rules file says at one place; it says nothing else there."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Dated(Entry):
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
