"""Why an owner's cost changed from one month to the next, by driver, to the last digit.

An item is a resource and what it is billed for: all of `_KIND`, and the resource. The engine sums
items that the same takers (owners, pools) have in both months into groups; there are few of these
however many charges there are, and on them the exact chain below is worked out with fractions.

The chain of an owner in a group, each link rounded once, half up, at 18 digits:

    what it cost before                                   R0
    what it had cost before with the shares of now        A = R0(all) x R1 / R1(all)
    ... with the quantity of now                          V = A x Q1(all) / Q0(all)
    what it costs now at the exchange rates of before     W = R1 x rate before / rate now
    what it costs now                                     R1

A driver's effect is the difference of two neighbours, so the effects sum to R1 - R0 whatever the
rounding; A is rounded on running totals, so what one owner loses by it others take, exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import ibis
import ibis.expr.types as ir

from finops_pipeline.allocate.weights import EXACT
from finops_pipeline.contracts.forms import MONEY, ibis_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.functions import text_hash
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.query.compile import bound

# Drivers, in the order they are told.
NEW, GONE, RULES, SHARES = "new", "gone", "rule_change", "shares"
USAGE, PRICE, AMOUNT, EXCHANGE, OTHER = "usage", "price", "amount", "exchange_rate", "other"
DRIVERS = (NEW, GONE, USAGE, PRICE, AMOUNT, EXCHANGE, RULES, SHARES, OTHER)

# What is priced and measured alike: the columns of an item but for its resource.
_KIND = (
    "x_Source", "BillingAccountId", "SubAccountId", "RegionId", "ServiceName", "ChargeCategory",
    "SkuId", "SkuMeter", "ConsumedUnit", "BillingCurrency",
)  # fmt: skip
ITEM = (*_KIND, "ResourceId")
# The same and what else is looked at, as questions name it: what a roll-up must have.
LOOKED_AT = (
    "source", "billing_account", "account", "region", "service", "charge_category", "sku", "meter",
    "unit", "currency", "resource", "owner", "pool", "month",
)  # fmt: skip
_FIGURES = ("cost_before", "cost_now", "billed_before", "billed_now")
_QUANTITIES = ("quantity_before", "quantity_now")
_ITEMS, _TAKERS = "items of two months", "takers of items"
_SEPARATOR = "\x1f"
_STEPS = 10**18
_ZERO = Decimal(0)

Effects = dict[str, dict[str, Decimal]]


@dataclass(frozen=True)
class Part:
    """What one owner has of a group: cost in the reporting currency, before and now."""

    owner: str
    before: Decimal
    now: Decimal


@dataclass(frozen=True)
class Group:
    """Items of one kind that had the same takers before, and have the same takers now.

    `takers_before` is None where the items are new, `takers_now` where they are gone. The sums
    are over all owners: `billed` in the billing currency, `quantity` None where nothing is
    measured.
    """

    currency: str
    takers_before: str | None
    takers_now: str | None
    billed: tuple[Decimal, Decimal]
    quantity: tuple[Decimal | None, Decimal | None]
    parts: tuple[Part, ...]


def effects(engine: Engine, read: Iterable[str], first: date, reporting: str) -> Effects:
    """The effect of each driver by owner; `first` is the first day of the later month.

    The tables named by `read` must be bound, with the two months alone. What has no cost in the
    reporting currency is left out.
    """
    items = _items(read, first)
    engine.make(_ITEMS, engine.compile(items))
    takers = _takers(ibis.table(items.schema(), name=_ITEMS))
    engine.make(_TAKERS, engine.compile(takers))
    grouped = _grouped(
        ibis.table(items.schema(), name=_ITEMS), ibis.table(takers.schema(), name=_TAKERS)
    )
    found: Effects = defaultdict(lambda: defaultdict(Decimal))
    for group in _groups(engine.rows(engine.compile(grouped)).to_pylist()):
        for owner, driver, effect in explained(group, reporting):
            found[owner][driver] = EXACT.add(found[owner][driver], effect)
    return found


def explained(group: Group, reporting: str) -> list[tuple[str, str, Decimal]]:
    """The effects of the drivers on each owner of a group: owner, driver, effect."""
    if group.takers_before is None:
        return [(p.owner, NEW, p.now) for p in group.parts]
    if group.takers_now is None:
        return [(p.owner, GONE, -p.before) for p in group.parts]
    all_before = _sum(p.before for p in group.parts)
    all_now = _sum(p.now for p in group.parts)
    shared = _as_shared_now(group.parts, Fraction(all_before), Fraction(all_now))
    if shared is None:
        return [(p.owner, OTHER, EXACT.subtract(p.now, p.before)) for p in group.parts]
    quantities = _ratio(*group.quantity)
    rates = _rates(group, Fraction(all_before), Fraction(all_now), reporting)
    moved = SHARES if group.takers_before == group.takers_now else RULES
    found: list[tuple[str, str, Decimal]] = []
    for part, as_now in zip(group.parts, shared, strict=True):
        links = [(moved, as_now)]
        if quantities is not None:
            links.append((USAGE, _rounded(Fraction(as_now) * quantities)))
        at_old_rates = part.now if rates is None else _rounded(Fraction(part.now) * rates)
        links += [(_rest(group, quantities, rates), at_old_rates), (EXCHANGE, part.now)]
        last = part.before
        for driver, amount in links:
            found.append((part.owner, driver, EXACT.subtract(amount, last)))
            last = amount
    return found


def _as_shared_now(parts: Sequence[Part], before: Fraction, now: Fraction) -> list[Decimal] | None:
    """What each owner had cost before with the shares of now; None if these cannot be told."""
    takers = [p for p in parts if p.now]
    if not now:
        # What costs nothing now has no shares; with one owner there is nothing to share.
        return [p.before for p in parts] if len(parts) == 1 else None
    if len(takers) == 1:
        whole = _sum(p.before for p in parts)
        return [whole if p is takers[0] else _ZERO for p in parts]
    found: list[Decimal] = []
    running, last = Fraction(0), _ZERO
    for part in parts:
        running += Fraction(part.now)
        upto = _rounded(before * running / now)
        found.append(EXACT.subtract(upto, last))
        last = upto
    return found


def _ratio(before: Decimal | None, now: Decimal | None) -> Fraction | None:
    """How many times the quantity of before is that of now; None where that says nothing."""
    return Fraction(now) / Fraction(before) if before and now else None


def _rates(group: Group, before: Fraction, now: Fraction, reporting: str) -> Fraction | None:
    """The exchange rate of before for one of now, as the group was converted on average."""
    if group.currency == reporting:
        return Fraction(1)
    billed_before, billed_now = map(Fraction, group.billed)
    if not (billed_before and billed_now and before and now):
        return None
    return (before / billed_before) / (now / billed_now)


def _rest(group: Group, quantities: Fraction | None, rates: Fraction | None) -> str:
    """What is left when owner, quantity and exchange rate are taken out."""
    if rates is None:
        return OTHER
    if quantities is not None:
        return PRICE
    return AMOUNT if group.quantity == (None, None) else OTHER


def _rounded(amount: Fraction) -> Decimal:
    """At 18 digits, half up (away from zero)."""
    steps = (abs(amount) * _STEPS + Fraction(1, 2)).__floor__()
    return EXACT.scaleb(Decimal(steps if amount >= 0 else -steps), -18)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def _groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[Group]:
    """The groups, from one row for each of their owners, in the order of the owners' names."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        key = (row["takers_before"] or "", row["takers_now"] or "", row["kind"], row["currency"])
        found[key].append(row)
    for _, of_group in sorted(found.items()):
        of_group.sort(key=lambda row: str(row["owner"]))
        yield Group(
            currency=of_group[0]["currency"],
            takers_before=of_group[0]["takers_before"],
            takers_now=of_group[0]["takers_now"],
            billed=(_total(of_group, "billed_before"), _total(of_group, "billed_now")),
            quantity=(_measured(of_group, "quantity_before"), _measured(of_group, "quantity_now")),
            parts=tuple(
                Part(row["owner"], row["cost_before"], row["cost_now"]) for row in of_group
            ),
        )


def _total(rows: Iterable[Mapping[str, Any]], name: str) -> Decimal:
    return _sum(row[name] for row in rows)


def _measured(rows: Iterable[Mapping[str, Any]], name: str) -> Decimal | None:
    amounts = [row[name] for row in rows if row[name] is not None]
    return _sum(amounts) if amounts else None


# Expressions


def _items(read: Iterable[str], first: date) -> ir.Table:
    """Each item by who takes it: its cost, billed cost and quantity of both months."""
    parts = []
    for table in read:
        costs = ibis.table(ibis_schema(tables()[table]), name=bound(table))
        costs = costs.filter(costs.x_ReportingEffectiveCost.notnull())
        parts.append(
            costs.select(
                *ITEM,
                owner=costs.x_BusinessUnit,
                taker=costs.x_Pool.notnull().ifelse("pool " + costs.x_Pool, costs.x_BusinessUnit),
                now=costs.x_ChargeDay >= ibis.literal(first),
                cost=costs.x_ReportingEffectiveCost,
                billed=costs.EffectiveCost,
                quantity=costs.ConsumedQuantity,
            )
        )
    rows = ibis.union(*parts) if len(parts) > 1 else parts[0]
    summed = rows.group_by(*ITEM, "owner", "taker").agg(
        **{
            f"{name}_{side}": rows[name].sum(where=where).cast(MONEY)
            for name in ("cost", "billed", "quantity")
            for side, where in (("before", ~rows.now), ("now", rows.now))
        },
        in_before=(~rows.now).any(),
        in_now=rows.now.any(),
    )
    return summed.select(
        *("owner", "taker", "in_before", "in_now", *_QUANTITIES),
        **{name: summed[name].fill_null(ibis.literal(_ZERO).cast(MONEY)) for name in _FIGURES},
        currency=summed.BillingCurrency,
        kind=text_hash([summed[name] for name in _KIND]),
        item=text_hash([summed[name] for name in ITEM]),
    )


def _takers(items: ir.Table) -> ir.Table:
    """Who took each item before and who takes it now, as one text; null for nobody."""
    each = items.group_by("item", "taker").agg(was=items.in_before.any(), is_now=items.in_now.any())
    return each.group_by("item").agg(
        takers_before=_listed(each, each.was), takers_now=_listed(each, each.is_now)
    )


def _listed(each: ir.Table, where: ir.BooleanValue) -> ir.StringValue:
    # Sorted as a list: not every engine orders within an aggregate. Of nothing some make "".
    listed: ir.StringValue = each.taker.collect(where=where).sort().join(_SEPARATOR).nullif("")
    return listed


def _grouped(items: ir.Table, takers: ir.Table) -> ir.Table:
    both = items.join(takers, "item")
    # An item that is in one month only is explained by that alone, whatever kind it is.
    lasting = both.takers_before.notnull() & both.takers_now.notnull()
    keyed = both.mutate(kind=lasting.ifelse(both.kind, ""))
    return keyed.group_by("kind", "currency", "takers_before", "takers_now", "owner").agg(
        **{name: keyed[name].sum().cast(MONEY) for name in (*_FIGURES, *_QUANTITIES)}
    )
