"""The exact shares that owners take of a pool on a charge day.

Shares are running totals, so that parts computed from them telescope to the whole: with the cost
C of a pool, part_i = round(C·S_i) − round(C·S_{i−1}), S_0 = 0, S_n = 1. Only the small table of
shares is made here; the charges are split where they are stored.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from fractions import Fraction

from finops_pipeline.allocate.rules import UNALLOCATED, Driver, Pool, Rules

_STEPS = 10**12
# Room for any sum of DECIMAL(38,18); a sum that would lose a digit is an error.
_EXACT = Context(prec=1000, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a pool that one owner takes: between two running totals of 12 digits.

    `fraction` is the part before rounding; `weight` is in units of the driver, None where the
    pool falls back to `unallocated`.
    """

    pool: str
    owner: str
    position: int
    driver: str
    weight: Decimal | None
    share_before: Decimal
    share_after: Decimal
    fraction: str

    @property
    def share(self) -> Decimal:
        """The exact share; the shares of a pool sum to 1."""
        return _EXACT.subtract(self.share_after, self.share_before)


@dataclass(frozen=True, slots=True)
class Direct:
    """What an owner has of its own on the charge day: cost (reporting currency), usage by unit."""

    owner: str
    cost: Decimal
    usage: Mapping[str, Decimal]


def shares(rules: Rules, pool: Pool, direct: Sequence[Direct]) -> list[Share]:
    """The shares of `pool`, by owner in sorted order.

    Only `rules.owners` take part, with what is above zero: credits count as nothing. A part that
    rounds to nothing at 12 digits is left out. Without any weight the whole pool is `unallocated`.
    """
    weights = _weights(rules, pool.driver, direct)
    if not weights:
        zero, one = _decimal(0), _decimal(_STEPS)
        return [Share(pool.name, UNALLOCATED, 1, "fallback", None, zero, one, "1/1")]
    driver = _driver_text(pool.driver)
    total = sum(map(Fraction, weights.values()), Fraction(0))
    taken: list[Share] = []
    running, before = Fraction(0), _decimal(0)
    for owner, weight in sorted(weights.items()):
        part = Fraction(weight) / total
        running += part
        after = _decimal(_steps(running))
        if after > before:
            position, ratio = len(taken) + 1, f"{part.numerator}/{part.denominator}"
            taken.append(Share(pool.name, owner, position, driver, weight, before, after, ratio))
        before = after
    return taken


def fold_unit(unit: str) -> str:
    """A unit as it is compared: `OCPU Hours`, as OCI writes it, is `OCPU-Hours`, as FOCUS does."""
    return re.sub(r"[ -]+", "-", unit.strip())


def _weights(rules: Rules, driver: Driver, direct: Iterable[Direct]) -> dict[str, Decimal]:
    """The weights above zero. An owner given in several entries has their sum."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for owner, weight in _amounts(driver, direct):
        sums[owner] = _EXACT.add(sums[owner], weight)
    return {owner: sums[owner] for owner in rules.owners if sums[owner] > 0}


def _amounts(driver: Driver, direct: Iterable[Direct]) -> Iterator[tuple[str, Decimal]]:
    if driver.fixed is not None:
        yield from driver.fixed.items()
    elif driver.usage is None:
        yield from ((one.owner, one.cost) for one in direct)
    else:
        wanted = fold_unit(driver.usage)
        for one in direct:
            used = (n for unit, n in one.usage.items() if fold_unit(unit) == wanted)
            yield from ((one.owner, n) for n in used)


def _driver_text(driver: Driver) -> str:
    if driver.fixed is not None:
        return "fixed"
    return "cost" if driver.usage is None else f"usage {driver.usage}"


def _steps(share: Fraction) -> int:
    """The share in steps of 12 digits, half up."""
    return (share * _STEPS + Fraction(1, 2)).__floor__()


def _decimal(steps: int) -> Decimal:
    return Decimal(f"{steps // _STEPS}.{steps % _STEPS:012d}")
