"""What the made company can buy and how it is organised, read from the tables in `data/`.

Only the shape of those tables lives here. Which resources come to exist is `fleet.py`'s choice;
what an hour of one costs is `money.py`'s.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

Tier = Literal["tag", "scope", "pool", "unallocated"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sku(_Entry):
    """A line of the price list. `quantity` units an hour is the middle of what a resource uses."""

    sku: str
    service: str
    category: str
    description: str
    billing_unit: str
    unit: str
    usd: Decimal
    eur: Decimal
    quantity: Decimal
    digits: int
    rhythm: str
    overage: str

    def price(self, currency: str) -> Decimal:
        """What one unit costs in `currency`."""
        return {"USD": self.usd, "EUR": self.eur}[currency]


class Kind(_Entry):
    """A kind of resource: its OCID type, and the SKUs one of it is billed by."""

    name: str
    type: str
    skus: tuple[str, ...]
    weight: int
    hours: str
    free_tier: bool = False


class Hours(_Entry):
    """The hours of a day in which a resource is billed, from the first to before the last."""

    weekday: tuple[int, int]
    weekend: tuple[int, int]


class Rhythm(_Entry):
    """How usage swings, in rungs of the quantity ladder; `growth` is what 100 days add."""

    weekend: int
    growth: int
    noise: int
    day: tuple[int, ...]


class Seat(_Entry):
    """A place where resources live, with the tags they bear there and the true owner of their cost.

    `owner` is the pool's name where `tier` is `pool`. `kinds` and `without` limit what lives here;
    resources that arrive in a seat which `becomes` another move there half-way through the period.
    """

    name: str
    compartment: str
    owner: str
    tier: Tier
    weight: int
    tags: dict[str, str]
    kinds: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    becomes: str | None = None


class TagKey(_Entry):
    """A tag key, and the share of the period in which reports have it."""

    key: str
    since: Decimal = Decimal(0)
    until: Decimal = Decimal(2)


class Spike(_Entry):
    """An anomaly to inject: a service of an owner costs `factor` times as much on one day."""

    service: str
    owner: str
    factor: Decimal
    at: Decimal


class Subscription(_Entry):
    """Who pays, and in which currency, for the compartments below `path`."""

    id: str
    currency: str
    path: str


class Profile(_Entry):
    """A tenancy: its name, regions and subscriptions."""

    display_name: str
    regions: tuple[str, ...]
    region_of: dict[str, str]
    subscriptions: tuple[Subscription, ...]

    def subscription(self, compartment: str) -> int:
        """The place in `subscriptions` of the one that pays for a compartment."""
        return next(i for i, s in enumerate(self.subscriptions) if compartment.startswith(s.path))


class Catalogue(_Entry):
    """All tables of `data/` that say what may exist."""

    skus: tuple[Sku, ...]
    kinds: tuple[Kind, ...]
    hours: dict[str, Hours]
    rhythms: dict[str, Rhythm]
    seats: tuple[Seat, ...]
    tag_keys: tuple[TagKey, ...]
    people: tuple[str, ...]
    anomalies: tuple[Spike, ...]

    def services(self, kind: Kind) -> set[str]:
        """The services that a kind of resource is billed under."""
        return {s.service for s in self.skus if s.sku in kind.skus}


def data_text(name: str) -> str:
    """The text of a table in `data/`."""
    return (files(__package__) / "data" / name).read_text(encoding="utf-8")


def data_rows(name: str) -> list[dict[str, str]]:
    """The rows of a CSV table in `data/`."""
    return list(csv.DictReader(data_text(name).splitlines()))


@cache
def catalogue() -> Catalogue:
    """The catalogue as it stands in `data/`."""
    things = {**yaml.safe_load(data_text("resources.yaml"))}
    things |= yaml.safe_load(data_text("organisation.yaml"))
    return Catalogue.model_validate({"skus": data_rows("skus.csv"), **things})


@cache
def profile(name: str) -> Profile:
    """The tenancy of that name in `data/tenancies.yaml`. Raises KeyError for an unknown one."""
    return Profile.model_validate(yaml.safe_load(data_text("tenancies.yaml"))[name])
