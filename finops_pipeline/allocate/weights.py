"""What owners and pools have of their own on a charge day: what the drivers of pools weigh."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

# Room for any sum of DECIMAL(38,18); a sum that would lose a digit is an error.
EXACT = Context(prec=1000, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])

_Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Direct:
    """What one taker, an owner or a pool, has of its own.

    `cost` is in the reporting currency, `usage` is by unit; `values` say what it is of, in the
    columns that drivers keep to.
    """

    taker: str
    cost: Decimal
    usage: Mapping[str, Decimal]
    values: Mapping[str, str | None] = field(default_factory=dict)


def fold_unit(unit: str) -> str:
    """A unit as it is compared: `OCPU Hours`, as OCI writes it, is `OCPU-Hours`, as FOCUS does."""
    return re.sub(r"[ -]+", "-", unit.strip())


class DayOfDirects:
    """The directs of a day, summed by taker once for each set of columns that is asked for."""

    def __init__(self, directs: Iterable[Direct]) -> None:
        self._directs = tuple(directs)
        self._sums: dict[tuple[Sequence[str], str | None], dict[_Key, dict[str, Decimal]]] = {}

    def weights(
        self, unit: str | None, same: Sequence[str], values: Mapping[str, str | None]
    ) -> dict[str, Decimal]:
        """Direct usage in a unit by taker, or without a unit direct cost, of the same values.

        A charge that has no value in one of the columns belongs to nothing.
        """
        wanted = tuple(values.get(column) for column in same)
        if None in wanted:
            return {}
        folded = None if unit is None else fold_unit(unit)
        key = (tuple(same), folded)
        if key not in self._sums:
            self._sums[key] = self._summed(folded, same)
        return self._sums[key].get(wanted, {})

    def _summed(self, unit: str | None, same: Sequence[str]) -> dict[_Key, dict[str, Decimal]]:
        found: dict[_Key, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for one in self._directs:
            sums = found[tuple(one.values.get(column) for column in same)]
            for amount in _amounts(one, unit):
                sums[one.taker] = EXACT.add(sums[one.taker], amount)
        return found


def _amounts(one: Direct, unit: str | None) -> Iterable[Decimal]:
    if unit is None:
        return (one.cost,)
    return (amount for name, amount in one.usage.items() if fold_unit(name) == unit)
