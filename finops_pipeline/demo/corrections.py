"""Correction rows: appended weeks or hours later, pointing back at the row they correct.

`add`: the row holds the difference, to be summed with what it corrects. `replace`: it holds the
full new value and stands instead of it. Some corrections are corrected once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from finops_pipeline.demo.chance import luck, references
from finops_pipeline.demo.delivery import Deliveries
from finops_pipeline.demo.money import EXACT, Money
from finops_pipeline.demo.usage import Rows

Style = Literal["add", "replace"]

_EVERY, _PHASE, _HOUR, _ONE_LINE_IN = 4, 1, 3, 997
_AFTER, _AGAIN_AFTER = 3, 6  # deliveries after the corrected row's own
_AGAIN_ONE_IN = 3
# What of the first quantity stays, after the first correction and after the second.
_STAYS, _STAYS_AGAIN = Decimal("0.6"), Decimal("0.75")


@dataclass(frozen=True)
class Correction:
    """One correction row, of the one row in `row`.

    `replaces` is the cost that no longer counts because of it, if any.
    """

    row: Rows
    reference: str
    corrects: str
    quantity: Decimal
    cost: Decimal
    replaces: Decimal | None


class Corrections:
    """The corrections of every delivery."""

    def __init__(self, deliveries: Deliveries, money: Money, salt: np.uint64, style: Style) -> None:
        self._deliveries = deliveries
        self._money = money
        self._salt = salt
        self._style = style

    def of_delivery(self, delivery: int) -> Iterator[Correction]:
        """First corrections of rows of three deliveries ago, and second ones of six ago."""
        for again, after in ((False, _AFTER), (True, _AGAIN_AFTER)):
            window = delivery - after
            if window % _EVERY == _PHASE:
                yield from self._of_window(window, again)

    def _of_window(self, window: int, again: bool) -> Iterator[Correction]:
        rows = self._deliveries.sample(window, _HOUR, _ONE_LINE_IN)
        chain = [references(rows.luck)]
        chain += [references(luck(self._salt, rows.line, rows.hour, kind)) for kind in (1, 2)]
        for i in range(0, len(rows), _AGAIN_ONE_IN if again else 1):
            entry = int(rows.entry[i])
            whole = self._money.quantity(entry)
            before = EXACT.multiply(whole, _STAYS) if again else whole
            after = EXACT.multiply(whole, _STAYS_AGAIN if again else _STAYS)
            adds = self._style == "add"
            quantity = after - before if adds else after
            price = self._money.price(entry)
            yield Correction(
                row=rows.where(np.arange(len(rows)) == i),
                reference=chain[1 + again][i].decode(),
                corrects=chain[again][i].decode(),
                quantity=quantity,
                cost=EXACT.multiply(quantity, price),
                replaces=None if adds else EXACT.multiply(before, price),
            )
