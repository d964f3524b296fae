"""Whether an explained figure adds up: its charges and its share, computed again to the last digit.

In Python's exact decimals, and not by the engine that made the figure. What charges and shares a
figure has is found in `explain.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation
from typing import Any

from finops_pipeline.query.explanation import Amounts, PoolShare

_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
_ROUNDING = Context(prec=120, rounding=ROUND_HALF_UP)
_HIGH, _MONEY = Decimal("1E-6"), Decimal("1E-18")

Row = Mapping[str, Any]


def sum_of(values: Iterable[Decimal | None]) -> Decimal | None:
    """The exact sum of what is there, as SQL has it: of nothing it is null."""
    total = None
    for value in values:
        if value is not None:
            total = value if total is None else _EXACT.add(total, value)
    return total


def differences(
    figure: Row, whole: Amounts, charges: int, shares: Sequence[PoolShare], own: PoolShare | None
) -> list[str]:
    """What of the figure is not what its charges and its share make."""
    found = []
    if charges != figure["x_ChargeCount"]:
        found.append(f"it sums {figure['x_ChargeCount']} charges; the lake has {charges} of them")
    before, after = Decimal(0), Decimal(1)
    if figure["x_Pool"] is not None:
        if own is None:
            return [*found, f"the table `shares` has no share of pool {figure['x_Pool']} for it"]
        before, after = own.share_before, own.share_after
    if (share := _EXACT.subtract(after, before)) != figure["x_Share"]:
        found.append(f"its share is {figure['x_Share']}; the table `shares` says {share}")
    if shares and (whole_pool := sum_of(s.share for s in shares)) != 1:
        found.append(f"the shares of its pool sum to {whole_pool}, not to 1")
    found += _methods(figure)
    for name, amount in whole.items():
        made = None if amount is None else _part(amount, before, after)
        if made != figure[name]:
            found.append(f"{name} is {figure[name]}; its charges and share make {made}")
    return found


def _methods(figure: Row) -> list[str]:
    """What FOCUS's own column says of the share, where it is another than the share."""
    if figure["x_Pool"] is None:
        return []
    told = json.loads(figure["AllocatedMethodDetails"], parse_float=Decimal, parse_int=Decimal)
    ratio = sum_of(element["AllocatedRatio"] for element in told["Elements"])
    if ratio == figure["x_Share"]:
        return []
    return [f"AllocatedMethodDetails has the ratio {ratio}; its share is {figure['x_Share']}"]


def _part(amount: Decimal, before: Decimal, after: Decimal) -> Decimal:
    """As `part` of store/allocated.py has it: the parts of all owners telescope to the amount."""
    return _EXACT.subtract(_up_to(amount, after), _up_to(amount, before))


def _up_to(amount: Decimal, share: Decimal) -> Decimal:
    high = amount.quantize(_HIGH, context=_ROUNDING)
    low = _EXACT.subtract(amount, high)
    first, second = (
        _EXACT.multiply(piece, share).quantize(_MONEY, context=_ROUNDING) for piece in (high, low)
    )
    return _EXACT.add(first, second)
