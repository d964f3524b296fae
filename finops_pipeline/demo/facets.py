"""What a report can say of a row, by what it depends on: place, period, resource, tags, amounts.

Each facet has numbered entries, and an entry is a handful of named texts. A layout (`layout.py`)
says which of them a format writes in which column. Formats share the facets, so a cost CSV and a
FOCUS file of the same tenancy tell of the same charges.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta

from finops_pipeline.demo.calendar import Calendar
from finops_pipeline.demo.catalogue import Catalogue, Profile
from finops_pipeline.demo.chance import Ints
from finops_pipeline.demo.compartments import Compartment
from finops_pipeline.demo.fleet import Fleet
from finops_pipeline.demo.money import Cells, Money
from finops_pipeline.demo.usage import Rows

_CREATED_ON = "2026-0{month}-1{day}T08:{minute:02d}:11.000Z"
# Every third line writes its times with seconds, so that a file mixes both spellings.
_SPELLINGS = 2
_SECONDS_EVERY = 3

ORDINARY: Cells = {"is_correction": "false", "back_reference": "", "category": "Usage"}


class Facets:
    """The texts of one tenancy."""

    def __init__(
        self,
        fleet: Fleet,
        money: Money,
        goods: Catalogue,
        profile: Profile,
        calendar: Calendar,
        compartments: dict[str, Compartment],
    ) -> None:
        self._fleet = fleet
        self._money = money
        self._goods = goods
        self._calendar = calendar
        self._compartments = compartments
        self._category = {s.service: s.category for s in goods.skus}
        self.tenancy: Cells = {
            "id": compartments["root"].id,
            "name": profile.display_name,
            "empty": "",
            "zero": "0",
            "provider": "Oracle",
            "frequency": "Usage-based",
        }
        self._cells: dict[str, Callable[[int], Cells]] = {
            "place": self._place,
            "period": self._period,
            "resource": self._resource,
            "tags": self._tags,
            "money": money.cells,
        }
        self._size = {
            "place": len(fleet.places),
            "period": calendar.hours * _SPELLINGS,
            "resource": len(fleet.resources),
            "tags": len(goods.seats) * 2,
            "money": len(money),
        }

    def size(self, facet: str) -> int:
        """How many entries a facet has."""
        return self._size[facet]

    def cells(self, facet: str, entry: int) -> Cells:
        """The texts of one entry of a facet."""
        return self._cells[facet](entry)

    def entries(self, rows: Rows) -> dict[str, Ints]:
        """For each facet, the entry of each row."""
        fleet, line = self._fleet, rows.line
        seconds = (line % _SECONDS_EVERY == 0).astype(line.dtype)
        return {
            "place": fleet.place[line],
            "period": rows.hour * _SPELLINGS + seconds,
            "resource": fleet.resource[line],
            "tags": fleet.seat[line] * 2 + fleet.bears_free_tier[line],
            "money": rows.entry,
        }

    def _place(self, entry: int) -> Cells:
        compartment, region, domain, kind, service = self._fleet.places[entry]
        known = self._compartments[compartment]
        return {
            "compartment_id": known.id,
            "compartment_name": known.name,
            "region": region,
            "domain": domain,
            "type": kind,
            "service": service,
            "category": self._category[service],
        }

    def _period(self, entry: int) -> Cells:
        hour, seconds = divmod(entry, _SPELLINGS)
        start, end = self._calendar.time_of(hour), self._calendar.time_of(hour + 1)
        spell = "%Y-%m-%dT%H:%M:%SZ" if seconds else "%Y-%m-%dT%H:%MZ"
        month = datetime(start.year, start.month, 1)
        following = (month + timedelta(days=31)).replace(day=1)
        return {
            "start": start.strftime(spell),
            "end": end.strftime(spell),
            "short_start": start.strftime("%Y-%m-%dT%H:%MZ"),
            "short_end": end.strftime("%Y-%m-%dT%H:%MZ"),
            "month_start": month.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "month_end": following.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }

    def _resource(self, entry: int) -> Cells:
        return {"id": self._fleet.resources[entry].decode()}

    def _tags(self, entry: int) -> Cells:
        number, free_tier = divmod(entry, 2)
        people = self._goods.people
        tags = {
            "Oracle-Tags.CreatedBy": people[number % len(people)],
            "Oracle-Tags.CreatedOn": _CREATED_ON.format(
                month=1 + number % 7, day=number % 10, minute=number * 7 % 60
            ),
            **self._goods.seats[number].tags,
        }
        if free_tier:
            tags["orcl-cloud.free-tier-retained"] = "true"
        return {key.key: tags.get(key.key, "") for key in self._goods.tag_keys}


def tags_json(tags: Cells) -> str:
    """Tags as a FOCUS file has them: one JSON object, absent ones left out."""
    return json.dumps({k: v for k, v in tags.items() if v}, ensure_ascii=False)
