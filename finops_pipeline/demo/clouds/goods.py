"""What Acme buys at a cloud and which of its units do, read from the tables in `data/clouds/`."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from finops_pipeline.demo.catalogue import Tier, data_rows, data_text

Provider = Literal["aws", "azure", "gcp"]
Role = Literal[
    "purchase", "unused", "tax", "support", "credit", "late-credit", "marketplace",
    "late-marketplace", "rounding", "adjustment",
]  # fmt: skip


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CloudSku(_Entry):
    """A line of a price list: prices of one unit, and how many units a resource uses on a day.

    `committed` is the price under the commitment, if it covers the SKU. `weekend` is what stays of
    a day's use on Saturday and Sunday, in thousandths; use that stays whole does not swing at all.
    """

    sku: str
    service: str
    service_code: str
    category: str
    subcategory: str
    description: str
    meter: str
    unit: str
    list: Decimal
    contracted: Decimal
    committed: Decimal | None
    quantity: Decimal
    rows_a_day: int
    weekend: int


class CloudKind(_Entry):
    """A kind of resource, the SKUs it is billed by, and what its identifiers look like."""

    name: str
    skus: tuple[str, ...]
    weight: int
    type: str
    id: str
    zone: str | None = None


class CloudSeat(_Entry):
    """A place where resources live, and the true owner of their cost (see `catalogue.Seat`)."""

    name: str
    export: str | None = None
    texts: dict[str, str]
    owner: str
    tier: Tier
    weight: int
    kinds: tuple[str, ...] = ()
    tags: dict[str, str]


class Special(_Entry):
    """A charge that no resource makes: a commitment's fee, tax, support, a credit.

    `amount` is in the billing currency; `share` is in thousandths of what the month bills for use.
    """

    role: Role
    export: str | None = None
    service: str
    service_code: str
    category: str
    subcategory: str
    description: str
    sku: str = ""
    publisher: str = ""
    amount: Decimal = Decimal(0)
    share: int = 0
    texts: dict[str, str]
    owner: str
    tier: Tier


class Export(_Entry):
    """An export that is set up at the provider, and the account whose bill it tells."""

    billing_account: str
    billing_account_name: str
    format: Literal["csv", "parquet"] = "parquet"
    overwrite: bool = False


class Commitment(_Entry):
    """A savings plan or reservation."""

    id: str
    name: str
    type: str
    category: str
    unit: str


class Cloud(_Entry):
    """All tables of one provider."""

    display_name: str
    currency: str
    exports: dict[str, Export]
    seats: tuple[CloudSeat, ...]
    kinds: tuple[CloudKind, ...]
    specials: tuple[Special, ...]
    commitment: Commitment | None = None
    skus: tuple[CloudSku, ...]


@cache
def cloud(provider: Provider) -> Cloud:
    """The tables of a provider as they stand in `data/clouds/`."""
    told = yaml.safe_load(data_text(f"clouds/{provider}.yaml"))
    rows = data_rows(f"clouds/{provider}_skus.csv")
    skus = [{k: v or (None if k == "committed" else v) for k, v in row.items()} for row in rows]
    return Cloud.model_validate({**told, "skus": skus})
