"""Which lines a cloud's bill has: resources made until their rows reach the number asked for.

A line is one resource billed by one SKU, or one special charge (`goods.Special`); what it costs on
a day is `usage.py`'s. Amounts are integers: quantities in ten-thousandths of a unit, prices in
ten-millionths of the currency, costs therefore in 10^-11 of it, and nothing ever rounds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from finops_pipeline.demo.chance import Ints, generator
from finops_pipeline.demo.clouds.goods import Cloud, CloudKind, CloudSeat, CloudSku, Special

QUANTITY_DIGITS = 4
PRICE_DIGITS = 7
COST_DIGITS = QUANTITY_DIGITS + PRICE_DIGITS
USE = "use"
_ARRIVE_LATE = 0.15

Texts = dict[str, str]


@dataclass(frozen=True)
class Line:
    """One line. `texts` are what a report can say of it; `seat` numbers its owner and tier."""

    role: str
    export: str
    owner: str
    tier: str
    texts: Texts
    sku: CloudSku | None = None
    special: Special | None = None
    covered: bool = False
    born: int = 0


class Lines:
    """All lines of a cloud, as objects and as an array of each number that usage needs."""

    def __init__(self, lines: list[Line], exports: list[str]) -> None:
        self.all = lines
        self.exports = exports
        self.owners = sorted({(line.owner, line.tier) for line in lines})
        self.owner = _ints(self.owners.index((line.owner, line.tier)) for line in lines)
        self.export = _ints(exports.index(line.export) for line in lines)
        self.covered = np.array([line.covered for line in lines], dtype=np.bool_)
        self.born = _ints(line.born for line in lines)
        skus = [line.sku for line in lines]
        self.is_use = np.array([s is not None for s in skus], dtype=np.bool_)
        self.quantity = _ints(_scaled(s.quantity, QUANTITY_DIGITS) if s else 0 for s in skus)
        self.list_price = _ints(_scaled(s.list, PRICE_DIGITS) if s else 0 for s in skus)
        self.price = _ints(_scaled(s.contracted, PRICE_DIGITS) if s else 0 for s in skus)
        self.committed = _ints(
            _scaled(s.committed or s.contracted, PRICE_DIGITS) if s else 0 for s in skus
        )
        self.weekend = _ints(s.weekend if s else 1000 for s in skus)
        self.rows_a_day = _ints(s.rows_a_day if s else 0 for s in skus)

    def specials(self, export: str | None = None) -> Iterator[tuple[int, Special]]:
        """The special lines, of one export or all, with their numbers."""
        for number, line in enumerate(self.all):
            if line.special is not None and export in (None, line.export):
                yield number, line.special

    def covered_a_day(self, export: str) -> int:
        """What all covered resources of an export cost on a day under the commitment."""
        mine = self.covered & (self.export == self.exports.index(export))
        return int((self.quantity[mine] * self.committed[mine]).sum())


class LineMaker:
    """Makes the lines of one cloud; the same seed makes the same lines."""

    def __init__(self, goods: Cloud, days: int, seed: int) -> None:
        self._goods = goods
        self._days = days
        self._rng = generator(seed, goods.display_name, "lines")
        self._skus = {sku.sku: sku for sku in goods.skus}
        bought = {s.export for s in goods.specials if s.role == "purchase"}
        # Google's discounts need nothing bought in the same bill.
        self._covering = bought if goods.commitment else set(goods.exports)
        self._lines: list[Line] = []
        self._rows = 0
        self._resources = 0

    def lines(self, rows: int) -> Lines:
        """Lines whose rows of all days are about `rows`: one of everything at least."""
        for special in self._goods.specials:
            self._add_special(special)
        for seat, kind in self._founders():
            self._add(seat, kind, 0)
        while self._rows < rows:
            (seat,) = self._rng.choices(
                self._goods.seats, weights=[s.weight for s in self._goods.seats]
            )
            kind = self._kind_for(seat, rows - self._rows)
            late = self._rng.random() < _ARRIVE_LATE
            self._add(seat, kind, self._rng.randrange(self._days) if late else 0)
        return Lines(self._lines, list(self._goods.exports))

    def _founders(self) -> Iterator[tuple[CloudSeat, CloudKind]]:
        common = [s for s in self._goods.seats if not s.kinds]
        for kind in self._goods.kinds:
            if kind.weight:
                yield self._rng.choice(common), kind
        for seat in self._goods.seats:
            yield seat, self._kind_for(seat, 0)

    def _kind_for(self, seat: CloudSeat, room: int) -> CloudKind:
        kinds = [k for k in self._goods.kinds if (k.name in seat.kinds if seat.kinds else k.weight)]
        # What is billed each hour makes many rows: only where many are still missing.
        small = [k for k in kinds if self._rows_a_day(k) * self._days <= max(room, 2 * self._days)]
        fitting = small or kinds
        (kind,) = self._rng.choices(fitting, weights=[max(1, k.weight) for k in fitting])
        return kind

    def _rows_a_day(self, kind: CloudKind) -> int:
        return sum(self._skus[sku].rows_a_day for sku in kind.skus)

    def _add(self, seat: CloudSeat, kind: CloudKind, born: int) -> None:
        number = self._resources
        self._resources += 1
        texts = {
            **seat.texts, **_identity(kind, seat, number, self._rng),
            "name": seat.name, "type": kind.type, "tags": _tags(seat.tags),
        }  # fmt: skip
        export = seat.export or next(iter(self._goods.exports))
        can_be_covered = export in self._covering and seat.tier != "unallocated" and number % 3 != 0
        for code in kind.skus:
            sku = self._skus[code]
            self._rows += sku.rows_a_day * (self._days - born)
            said = {n: str(v) for n, v in sku if isinstance(v, str)}
            self._lines.append(
                Line(
                    role=USE,
                    export=export,
                    owner=seat.owner,
                    tier=seat.tier,
                    texts={**texts, **said},
                    sku=sku,
                    covered=sku.committed is not None and can_be_covered,
                    born=born,
                )
            )

    def _add_special(self, special: Special) -> None:
        said = {n: str(v) for n, v in special if isinstance(v, str)}
        self._lines.append(
            Line(
                role=special.role,
                export=special.export or next(iter(self._goods.exports)),
                owner=special.owner,
                tier=special.tier,
                texts={**said, **special.texts, "tags": "{}"},
                special=special,
            )
        )


def _identity(kind: CloudKind, seat: CloudSeat, number: int, rng: random.Random) -> Texts:
    hexes = f"{rng.getrandbits(64):016x}"
    known = {**seat.texts, "name": seat.name, "hex": hexes, "number": f"{number:04d}"}
    resource = kind.id.format(**known)
    zone = "" if kind.zone is None else seat.texts["region"] + kind.zone
    return {"resource": resource, "resource_name": resource.rpartition("/")[2], "zone": zone}


def _tags(tags: Texts) -> str:
    return json.dumps(tags, ensure_ascii=False)


def _scaled(value: Decimal, digits: int) -> int:
    scaled = value.scaleb(digits)
    if scaled != int(scaled):
        raise ValueError(f"{value} has more than {digits} digits after the point")
    return int(scaled)


def _ints(values: Iterator[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)
