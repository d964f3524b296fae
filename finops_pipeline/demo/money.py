"""What a row costs: quantity times price, exactly, and how the reports write such numbers.

Quantities stand on a ladder: each rung is a fixed ratio above the one below, and 58 rungs double
it. Size, rhythm, growth, noise and spikes add rungs, so usage is integers until a rung becomes a
decimal here. No binary float touches an amount.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np

from finops_pipeline.demo.catalogue import Profile, Sku, Subscription
from finops_pipeline.demo.chance import Ints

RUNGS = 720
RUNGS_TO_DOUBLE = 58
_RUNG_OF_ONE = 100
# Exact up to 60 digits: products of quantities and prices never round.
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
# An amount as two integers: billionths, and what stays in billionths of these.
_PART = 10**9
_E_NOTATION_BELOW = -4

Cells = dict[str, str]


def number_text(value: Decimal) -> str:
    """A number as OCI writes it: no needless zeros, small ones as `3.52E-5`."""
    if not value:
        return "0"
    value = value.normalize(EXACT)
    if value.adjusted() >= _E_NOTATION_BELOW:
        return format(value, "f")
    sign, digits, _ = value.as_tuple()
    tail = "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{digits[0]}.{tail}E{value.adjusted()}"


class Money:
    """The amounts of one tenancy: one entry an offer, overage (0 or 1) and rung."""

    def __init__(
        self, skus: tuple[Sku, ...], profile: Profile, offers: list[tuple[int, int]]
    ) -> None:
        self._offers = [(skus[sku], profile.subscriptions[payer]) for sku, payer in offers]
        self._ladder = _ladder()
        size = len(offers) * 2 * RUNGS
        self._billionths = np.zeros(size, dtype=np.int64)
        self._rest = np.zeros(size, dtype=np.int64)
        self._known = np.zeros(size, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._known)

    def first_entries(self, commitment_used_up: bool) -> Ints:
        """For each offer its entry on the lowest rung; some SKUs are outside any commitment."""
        over = [commitment_used_up or sku.overage == "Y" for sku, _ in self._offers]
        return np.array([(2 * i + o) * RUNGS for i, o in enumerate(over)], dtype=np.int64)

    def parts(self, entries: Ints) -> tuple[Ints, Ints]:
        """The exact cost of each row as two integers; `amount` puts sums of them together."""
        unknown = entries[~self._known[entries]]
        for entry in np.unique(unknown).tolist():
            units = int(self.cost(entry).scaleb(18, EXACT))
            self._billionths[entry], self._rest[entry] = divmod(units, _PART)
            self._known[entry] = True
        return self._billionths[entries], self._rest[entries]

    def quantity(self, entry: int) -> Decimal:
        """Units used in the hour."""
        sku, _ = self._offer(entry)
        step = Decimal(1).scaleb(-sku.digits)
        return EXACT.multiply(sku.quantity, self._ladder[entry % RUNGS]).quantize(step)

    def price(self, entry: int) -> Decimal:
        """The price of one unit in the subscription's currency."""
        sku, payer = self._offer(entry)
        return sku.price(payer.currency)

    def cost(self, entry: int) -> Decimal:
        """Quantity times price, every digit."""
        return EXACT.multiply(self.quantity(entry), self.price(entry))

    def cells(self, entry: int, quantity: Decimal | None = None) -> Cells:
        """What a report says about the amounts of a row; `quantity` stands for the entry's own."""
        sku, payer = self._offer(entry)
        used = self.quantity(entry) if quantity is None else quantity
        amount = number_text(used)
        cost, price = number_text(EXACT.multiply(used, self.price(entry))), str(self.price(entry))
        over = entry // RUNGS % 2 == 1
        return {
            "quantity": amount,
            "quantity_overage": amount if over else "",
            "price": price,
            "price_overage": price if over else "",
            "cost": cost,
            "cost_overage": cost if over else "",
            "overage": "Y" if over else "N",
            "subscription": payer.id,
            "currency": payer.currency,
            "sku": sku.sku,
            "description": sku.description,
            "billing_unit": sku.billing_unit,
            "unit": sku.unit,
        }

    def _offer(self, entry: int) -> tuple[Sku, Subscription]:
        return self._offers[entry // (2 * RUNGS)]


def amount(billionths: int, rest: int) -> Decimal:
    """A sum of parts as one exact decimal with 18 digits after the point."""
    return Decimal(billionths * _PART + rest).scaleb(-18, EXACT)


def _ladder() -> list[Decimal]:
    steps = (Decimal(n - _RUNG_OF_ONE) / RUNGS_TO_DOUBLE for n in range(RUNGS))
    return [EXACT.power(Decimal(2), step) for step in steps]
