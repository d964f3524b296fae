"""What both GCP formats have in common: the invoice month, what a resource is, units of usage."""

from __future__ import annotations

from functools import cache

import ibis
import ibis.expr.types as ir

from finops_pipeline.contracts.tables import read_facts

PROVIDER = "Google Cloud"


def invoice_period(month: ir.StringValue) -> tuple[ir.TimestampValue, ir.TimestampValue]:
    """Start and end of an invoice month `YYYYMM`, which Google counts in Pacific time; else null.

    Midnight of the first in Los Angeles is 07:00 UTC in the months that begin in daylight saving
    time, which since 2007 lasts from the second Sunday of March to the first of November (Energy
    Policy Act of 2005, section 110), so from April to November; 08:00 UTC in the others.
    """
    text = month.strip()
    valid = text.re_search(r"^[0-9]{4}(0[1-9]|1[0-2])$").fill_null(False)
    known = valid.ifelse(text, "200001")
    year, number = known.left(4).cast("int64"), known.substr(4, 2).cast("int64")
    following = (number == 12).ifelse(1, number + 1)
    year_of_following = (number == 12).ifelse(year + 1, year)
    none = ibis.null("timestamp('UTC', 6)")
    return (
        valid.ifelse(_first_instant(year, number), none),
        valid.ifelse(_first_instant(year_of_following, following), none),
    )


def _first_instant(year: ir.IntegerValue, month: ir.IntegerValue) -> ir.TimestampValue:
    midnight = ibis.date(year, month, 1).cast("timestamp('UTC', 6)")
    daylight = month.between(4, 11)
    seven, eight = (midnight + ibis.interval(hours=h) for h in (7, 8))
    instant: ir.TimestampValue = daylight.ifelse(seven, eight).cast("timestamp('UTC', 6)")
    return instant


def resource_type(name: ir.StringValue, service: ir.StringValue) -> ir.StringValue:
    """The kind that a resource's global name tells, else the service; null with no resource.

    `//compute.googleapis.com/projects/p/zones/z/instances/1` is one of the instances.
    """
    kind = name.re_extract(r"/([A-Za-z]+)/[^/]+/?$", 1).nullif("")
    return name.notnull().ifelse(kind.coalesce(service), ibis.null(str))


def usage_unit(text: ir.StringValue, by_rule: ir.StringValue) -> ir.StringValue:
    """A unit of usage in FOCUS's unit format: as the catalogue has it, else `by_rule`.

    That is `focus_unit` of it, a column of an earlier step: nested any deeper it could not be
    compiled.
    """
    lowered = text.strip().lower()
    found = ibis.cases(*((lowered == unit, focus) for unit, focus in _units()), else_=by_rule)
    return text.notnull().ifelse(found.fill_null("Units"), ibis.null(str))


@cache
def _units() -> tuple[tuple[str, str], ...]:
    rows = read_facts("normalize/data/gcp_units.csv")
    return tuple((row["unit"].strip().lower(), row["focus_unit"]) for row in rows)
