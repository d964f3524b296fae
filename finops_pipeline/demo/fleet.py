"""Which resources exist: made until their billed hours reach the number of rows asked for.

A line is one resource billed by one SKU; each hour it is active makes one row. When a line is
active, and how much it uses, is `usage.py`'s. Lines are arrays: a hundred million rows come from a
hundred thousand lines, and nothing here grows with the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from finops_pipeline.demo.calendar import Calendar
from finops_pipeline.demo.catalogue import Catalogue, Kind, Profile, Seat
from finops_pipeline.demo.chance import Ints, generator, ocid
from finops_pipeline.demo.money import RUNGS_TO_DOUBLE

# Rungs above the middle that small, medium, large and huge resources use, and how common they are.
_SIZES = (0, RUNGS_TO_DOUBLE, 2 * RUNGS_TO_DOUBLE, 3 * RUNGS_TO_DOUBLE)
_SIZE_WEIGHTS = (50, 30, 15, 5)
_MIDDLE_RUNG = 100
_LONGEST_THIN_LIFE = 0.1  # share of the period below which a resource is not worth making

Place = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Fleet:
    """The lines of a tenancy, an array each; texts stand once and lines point at them.

    `places` are (compartment, region, availability domain, OCID type, service); `offers` are (SKU,
    subscription) numbers. `thinning` of 65,536 parts of the hours that a line is active make rows.
    """

    place: Ints
    resource: Ints
    offer: Ints
    seat: Ints
    bears_free_tier: Ints
    base: Ints
    born: Ints
    died: Ints
    hours: Ints
    rhythm: Ints
    places: list[Place]
    resources: list[bytes]
    offers: list[tuple[int, int]]
    thinning: int
    expected_rows: int

    def __len__(self) -> int:
        return len(self.place)


class _Lines:
    """Lines in the making: columns of plain integers, and the texts they point at."""

    def __init__(self) -> None:
        self.columns: dict[str, list[int]] = {}
        self.places: dict[Place, int] = {}
        self.offers: dict[tuple[int, int], int] = {}
        self.resources: list[bytes] = []
        self.expected = 0

    def add(self, **values: int) -> None:
        for name, value in values.items():
            self.columns.setdefault(name, []).append(value)


class FleetMaker:
    """Makes the fleet of one tenancy."""

    def __init__(self, profile: Profile, goods: Catalogue, calendar: Calendar, seed: int) -> None:
        self._profile = profile
        self._goods = goods
        self._calendar = calendar
        self._rng = generator(seed, profile.display_name, "fleet")
        self._sku_number = {s.sku: i for i, s in enumerate(goods.skus)}
        self._seat_number = {s.name: i for i, s in enumerate(goods.seats)}
        self._hours_number = {name: i for i, name in enumerate(goods.hours)}
        self._rhythm_number = {name: i for i, name in enumerate(goods.rhythms)}
        self._active_before = active_hours_before(goods, calendar)

    def fleet(self, rows: int) -> Fleet:
        """Lines whose active hours are about `rows`, and at least one of everything."""
        lines = _Lines()
        for seat, kind in self._founders():
            self._add_resource(lines, seat, kind, born=0, died=self._calendar.hours)
        while lines.expected < rows:
            seat, kind = self._any()
            self._add_resource(lines, seat, kind, *self._life())
        columns = {k: np.array(v, dtype=np.int64) for k, v in lines.columns.items()}
        return Fleet(
            **columns,
            places=list(lines.places),
            resources=lines.resources,
            offers=list(lines.offers),
            thinning=min(65536, round(65536 * rows / lines.expected)),
            expected_rows=min(rows, lines.expected),
        )

    def _founders(self) -> Iterator[tuple[Seat, Kind]]:
        # Whatever the size, each anomaly has its service, each kind and each seat a resource.
        goods, rng = self._goods, self._rng
        for spike in goods.anomalies:
            seat = next(s for s in goods.seats if s.owner == spike.owner and s.weight)
            kind = next(k for k in goods.kinds if spike.service in goods.services(k))
            yield seat, kind
        common = [s for s in goods.seats if not s.kinds and s.weight]
        for kind in goods.kinds:
            home = [s for s in goods.seats if kind.name in s.kinds] or [
                s for s in common if kind.name not in s.without
            ]
            yield rng.choice(home), kind
        for seat in common:
            yield seat, self._kind_for(seat)

    def _any(self) -> tuple[Seat, Kind]:
        seats = self._goods.seats
        (seat,) = self._rng.choices(seats, weights=[s.weight for s in seats])
        return seat, self._kind_for(seat)

    def _kind_for(self, seat: Seat) -> Kind:
        kinds = [k for k in self._goods.kinds if (k.name in seat.kinds if seat.kinds else k.weight)]
        kinds = [k for k in kinds if k.name not in seat.without]
        (kind,) = self._rng.choices(kinds, weights=[max(1, k.weight) for k in kinds])
        return kind

    def _life(self) -> tuple[int, int]:
        # Most resources are there throughout; some arrive, some go: that is how a fleet grows.
        hours, rng = self._calendar.hours, self._rng
        born = rng.randrange(hours) if rng.random() < 0.2 else 0
        died = rng.randrange(hours) if rng.random() < 0.08 else hours
        return (born, died) if died - born > hours * _LONGEST_THIN_LIFE else (0, hours)

    def _add_resource(self, lines: _Lines, seat: Seat, kind: Kind, born: int, died: int) -> None:
        number = len(lines.resources)
        region = self._region(seat)
        lines.resources.append(ocid(self._rng, kind.type, region).encode())
        size = self._rng.choices(_SIZES, _SIZE_WEIGHTS)[0] + _MIDDLE_RUNG
        domain = f"wIdn:{region.upper()}-AD-{number % 3 + 1}" if kind.type == "instance" else ""
        for code in kind.skus:
            sku = self._goods.skus[self._sku_number[code]]
            place = (seat.compartment, region, domain, kind.type, sku.service)
            offer = (self._sku_number[code], self._profile.subscription(seat.compartment))
            for where, start, end in self._stays(seat, born, died):
                hours = self._hours_number[kind.hours]
                active = self._active_before[hours]
                lines.expected += int(active[end] - active[start])
                lines.add(
                    place=lines.places.setdefault(place, len(lines.places)),
                    resource=number,
                    offer=lines.offers.setdefault(offer, len(lines.offers)),
                    seat=where,
                    bears_free_tier=int(kind.free_tier),
                    base=size,
                    born=start,
                    died=end,
                    hours=hours,
                    rhythm=self._rhythm_number[sku.rhythm],
                )

    def _stays(self, seat: Seat, born: int, died: int) -> list[tuple[int, int, int]]:
        here = self._seat_number[seat.name]
        half = self._calendar.hours // 2
        if seat.becomes is None:
            return [(here, born, died)]
        stays = [(here, born, min(died, half)), (self._seat_number[seat.becomes], half, died)]
        return [(s, max(born, b), d) for s, b, d in stays if d > max(born, b)]

    def _region(self, seat: Seat) -> str:
        for path, region in self._profile.region_of.items():
            if seat.compartment.startswith(path):
                return region
        regions = self._profile.regions
        return regions[0] if self._rng.random() < 0.8 else regions[-1]


def hours_of_week(goods: Catalogue) -> Ints:
    """For each kind of hours, whether (1 or 0) a resource is billed in each hour of the week."""
    table = np.zeros((len(goods.hours), 168), dtype=np.int64)
    for row, hours in zip(table, goods.hours.values(), strict=True):
        for day in range(7):
            start, end = hours.weekday if day < 5 else hours.weekend
            row[day * 24 + start : day * 24 + end] = 1
    return table


def active_hours_before(goods: Catalogue, calendar: Calendar) -> Ints:
    """For each kind of hours, how many billed hours lie before each hour of the period."""
    week = calendar.hour_of_week(np.arange(calendar.hours, dtype=np.int64))
    billed = hours_of_week(goods)[:, week]
    return np.concatenate([np.zeros((len(billed), 1), dtype=np.int64), billed.cumsum(axis=1)], 1)
