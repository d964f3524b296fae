"""Random companies, rules and charges: the engine's figures are those of plain fractions.

The other side reads the rules as the guide tells them and knows neither the engine nor the code
under test: Python's `Fraction`, a loop over charges, a recursion over pools.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import Known
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.store.allocated import allocated_sql, daily_sql
from finops_pipeline.store.allocation import allocate
from finops_pipeline.store.cluster_usage import ClusterUsage

WIDE = Context(prec=100)
NO_USAGE = ClusterUsage(Home(Path("no home")))  # of no cluster is anything known
DAYS = [date(2025, 1, 1), date(2025, 1, 2)]
OWNERS = ["data", "digital", "ops", "shop", "web"]
SERVICES = ["COMPUTE", "COMPUTE", "NETWORK", "SUPPORT", "TAX"]
TEAMS = [None, None, "web", "WEB", "retail", "n/a", "nobody", "data", "ops"]
SCOPES = ["org", "org/a", "org/a/b", "org/ab", "lab"]
ACCOUNTS = ["1", "2"]
POOLS = ["network", "support", "tax"]
COSTS = ("BilledCost", "EffectiveCost", "x_ReportingEffectiveCost")


class Nothing:
    """No day before."""

    def last(self, pool: str, part: str, before: date) -> Known | None:
        """None."""

    def record(self, day: date, shares: Any) -> None:
        """Forget it."""


# Everything from a unit of the last digit to what a bank has, credits among them.
UNITS = st.one_of(
    st.integers(-9, 9),
    st.integers(1, 10**20),
    st.integers(1, 10**20),
    st.integers(-(10**14), 10**14),
    st.integers(-(10**29), 10**29),
    st.sampled_from([0, 500_000_000_001, -1, 5 * 10**17]),
)
CHARGE = st.fixed_dictionaries(
    {
        "day": st.sampled_from(DAYS),
        "service": st.sampled_from(SERVICES),
        "scope": st.sampled_from([None, None, *SCOPES]),
        "account": st.sampled_from(ACCOUNTS),
        "team": st.sampled_from(TEAMS),
        "currency": st.sampled_from(["EUR", "USD"]),
        "units": UNITS,
        "quantity": st.integers(-3, 9),
    }
)

# A day is a company's: so many charges that owners have several each.
CHARGES = st.sampled_from([1, 8, 20, 30]).flatmap(
    lambda n: st.lists(CHARGE, min_size=n, max_size=n)
)


@st.composite
def rule_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Owners in a hierarchy, some with days; tags, places, scopes; pools that may feed others."""
    tree = {"shop": "digital", "web": draw(st.sampled_from(["digital", "shop"]))}
    ended = draw(st.sets(st.sampled_from(["data", "shop"])))
    owners = [
        {"name": o}
        | ({"parent": tree[o]} if o in tree else {})
        | ({"to": DAYS[0]} if o in ended else {})
        for o in draw(st.permutations(OWNERS))
    ]
    owner = st.sampled_from(OWNERS)
    scopes = [
        {"path": path, "owner": draw(owner)} for path in draw(st.sets(st.sampled_from(SCOPES)))
    ]
    tags = {"key": "team", "aliases": {"retail": draw(owner)}, "invalid": "n/a"}
    places = [{"name": "p", "match": {"SubAccountId": "2", "scope": "lab"}, "owner": draw(owner)}]
    return {
        "owners": owners,
        "tags": [tags] if draw(st.integers(0, 9)) else [],
        "places": places if draw(st.booleans()) else [],
        "scopes": scopes if draw(st.booleans()) else [],
        "pools": [draw(pools(i)) for i in range(len(POOLS))],
    }


@st.composite
def pools(draw: st.DrawFn, i: int) -> dict[str, Any]:
    """The pool of that number: only the first keeps to its account, since none feeds it."""
    fed = draw(st.just(set()) | st.sets(st.sampled_from([*OWNERS, *POOLS[i + 1 :]]), min_size=2))
    fixed = {"fixed": {name: draw(st.integers(0, 4)) for name in sorted(fed)} | {"web": 1}}
    drivers: list[Any] = ["cost", "even", {"usage": "GB-Hours"}, fixed]
    if i == 0:
        drivers.append({"cost": "direct", "same": "SubAccountId"})
    return {
        "name": POOLS[i],
        "match": {"ServiceName": POOLS[i].upper()},
        "drivers": draw(st.lists(st.sampled_from(drivers), min_size=1, max_size=3)),
        "recipients": sorted(fed),
    }


def row(number: int, charge: dict[str, Any]) -> dict[str, Any]:
    """The charge as `focus_costs` has it."""
    start = datetime(charge["day"].year, 1, charge["day"].day, 10, tzinfo=UTC)
    cost = Decimal(charge["units"]).scaleb(-18, context=WIDE)
    tags = None if charge["team"] is None else json.dumps({"team": charge["team"]})
    given = {
        "ProviderName": "Oracle", "ServiceName": charge["service"], "Tags": tags,
        "SubAccountId": charge["account"], "x_ScopePath": charge["scope"],
        "BillingCurrency": charge["currency"], "ChargePeriodStart": start,
        "ChargePeriodEnd": start + timedelta(hours=1), "x_ChargeDay": charge["day"],
        "x_Source": "acme", "ConsumedUnit": "GB-Hours", "ResourceId": "r",
        "ConsumedQuantity": Decimal(charge["quantity"]), "x_ReportRow": number,
        **dict.fromkeys(COSTS, cost),
    }  # fmt: skip
    return {**_blank(), **given}


@cache
def _blank() -> dict[str, Any]:
    """A value for each column that may not be null."""
    plain = {
        "String": "x", "JSON": "{}", "Decimal": Decimal(0), "Integer": 1, "Boolean": False,
        "Date": DAYS[0], "Date/Time": datetime(2025, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    columns = tables()["focus_costs"].columns
    return {c.name: None if c.nullable else plain[c.type] for c in columns}


def allocated(
    engine: DuckDBEngine, rules: dict[str, Any], charges: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The figures that the engine makes."""
    schema = arrow_schema(tables()["focus_costs"])
    rows = [row(n, charge) for n, charge in enumerate(charges)]
    engine.bind_arrow("charges", pa.Table.from_pylist(rows, schema=schema))
    engine.make("daily", daily_sql())
    allocate(engine, "acme", Decider(Rules.model_validate(rules)), Nothing(), NO_USAGE)
    found: list[dict[str, Any]] = engine.rows(allocated_sql()).to_pylist()
    return found


Subject = tuple[date, str, str | None, str, str | None, str]


def subject(charge: dict[str, Any]) -> Subject:
    """What a daily figure of these charges is grouped by."""
    names = ("day", "service", "scope", "account", "team", "currency")
    return tuple(charge[name] for name in names)  # type: ignore[return-value]


def plainly(
    rules: dict[str, Any], charges: list[dict[str, Any]]
) -> dict[tuple[Subject, str], Fraction]:
    """The same figures in plain fractions: cost by daily figure and owner."""
    sums: dict[Subject, int] = defaultdict(int)
    for charge in charges:
        sums[subject(charge)] += charge["units"]
    takers = {one: _taker(rules, one) for one in sums}
    found: dict[tuple[Subject, str], Fraction] = defaultdict(Fraction)
    for one, units in sums.items():
        amount = Fraction(units, 10**18)
        if takers[one] not in POOLS:
            found[one, takers[one]] += amount
            continue
        day = _Day(rules, one[0], [c for c in charges if c["day"] == one[0]])
        ends: dict[str, Fraction] = defaultdict(Fraction)
        for owner, part in day.ends(takers[one], one[3]):
            ends[owner] += part
        assert sum(ends.values()) == 1
        running, before = Fraction(0), Fraction(0)
        for owner in sorted(ends):
            running += ends[owner]
            after = _rounded(running, 12)
            if after > before:
                found[one, owner] += _upto(amount, after) - _upto(amount, before)
            before = after
    return dict(found)


def _present(rules: dict[str, Any], day: date) -> list[str]:
    return [o["name"] for o in rules["owners"] if day <= o.get("to", day)]


def _taker(rules: dict[str, Any], one: Subject) -> str:
    """Who takes a charge, by reading the rules from top to bottom."""
    day, service, scope, account, team, _ = one
    present = _present(rules, day)
    for tag in rules["tags"]:
        owner = tag["aliases"].get((team or "").lower(), (team or "").lower())
        if owner in present:
            return str(owner)
    for place in rules["places"]:
        if account == "2" and f"{scope}/".startswith("lab/") and place["owner"] in present:
            return str(place["owner"])
    above = [s for s in rules["scopes"] if f"{scope}/".startswith(f"{s['path']}/")]
    for rule in sorted(above, key=lambda s: -len(s["path"])):
        if rule["owner"] in present:
            return str(rule["owner"])
    return service.lower() if service.lower() in POOLS else "unallocated"


class _Day:
    """What the drivers of a day weigh."""

    def __init__(self, rules: dict[str, Any], day: date, charges: list[dict[str, Any]]) -> None:
        self.present = _present(rules, day)
        self.pools = {p["name"]: p for p in rules["pools"]}
        self.direct = [(_taker(rules, subject(c)), c) for c in charges]

    def ends(self, pool: str, account: str | None) -> Iterator[tuple[str, Fraction]]:
        """The owners that a pool's cost ends at, and their parts."""
        for taker, part in self._split(self.pools[pool], account):
            if taker in self.pools:
                yield from ((o, p * part) for o, p in self.ends(taker, None))
            else:
                yield taker, part

    def _split(self, pool: dict[str, Any], account: str | None) -> list[tuple[str, Fraction]]:
        named = pool["recipients"] or self.present
        takers = [t for t in named if t in self.present or t in self.pools]
        for driver in pool["drivers"]:
            weights = {t: Fraction(self._weight(driver, t, account)) for t in takers}
            weights = {t: w for t, w in weights.items() if w > 0}
            if weights:
                whole = sum(weights.values())
                return [(t, w / whole) for t, w in weights.items()]
        return [("unallocated", Fraction(1))]

    def _weight(self, driver: Any, taker: str, account: str | None) -> int:
        mine = [c for t, c in self.direct if t == taker]
        if driver == "even":
            return 1
        if driver == "cost":
            return sum(c["units"] for c in mine)
        if "usage" in driver:
            return sum(c["quantity"] for c in mine)
        if "same" in driver:
            return sum(c["units"] for c in mine if c["account"] == account)
        return int(driver["fixed"].get(taker, 0))


def _rounded(value: Fraction, digits: int) -> Fraction:
    """Half away from zero, at so many digits."""
    steps = (abs(value) * 10**digits + Fraction(1, 2)).__floor__()
    return Fraction(steps if value >= 0 else -steps, 10**digits)


def _upto(amount: Fraction, share: Fraction) -> Fraction:
    """The cost times a running total, rounded; what lies below a millionth on its own."""
    high = _rounded(amount, 6)
    return high * share + _rounded((amount - high) * share, 18)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    with DuckDBEngine("600MB", tmp_path_factory.mktemp("duckdb")) as made:
        yield made


def keyed(figure: dict[str, Any]) -> tuple[Subject, str]:
    """A figure's place beside the plain ones."""
    team = None if figure["Tags"] is None else json.loads(figure["Tags"])["team"]
    return (
        figure["x_ChargeDay"], figure["ServiceName"], figure["x_ScopePath"],
        figure["SubAccountId"], team, figure["BillingCurrency"],
    ), figure["x_BusinessUnit"]  # fmt: skip


RANDOM = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip


@RANDOM
@given(rule_sets(), CHARGES, st.randoms(use_true_random=False))
def test_plain_fractions_agree_row_by_row(
    engine: DuckDBEngine,
    rules: dict[str, Any],
    charges: list[dict[str, Any]],
    chance: random.Random,
) -> None:
    figures = allocated(engine, rules, charges)
    expected = plainly(rules, charges)

    found = {keyed(f): f for f in figures}
    assert len(found) == len(figures)
    assert {k: Fraction(f["BilledCost"]) for k, f in found.items()} == expected
    for metric in COSTS:
        assert {k: Fraction(f[metric]) for k, f in found.items()} == expected
    _conserved(charges, figures)
    _focus_adds_up(figures)

    mixed = list(charges)
    chance.shuffle(mixed)
    again = allocated(engine, rules, mixed)
    assert sorted(map(repr, again)) == sorted(map(repr, figures))


def _conserved(charges: list[dict[str, Any]], figures: list[dict[str, Any]]) -> None:
    """The parts sum to the whole, for each day and currency; every share is within 0 and 1."""
    whole: dict[tuple[date, str], int] = defaultdict(int)
    parts: dict[tuple[date, str], Fraction] = defaultdict(Fraction)
    for charge in charges:
        whole[charge["day"], charge["currency"]] += charge["units"]
    for figure in figures:
        assert 0 < figure["x_Share"] <= 1
        parts[figure["x_ChargeDay"], figure["BillingCurrency"]] += Fraction(figure["BilledCost"])
    assert {k: Fraction(v, 10**18) for k, v in whole.items()} == parts


def _focus_adds_up(figures: list[dict[str, Any]]) -> None:
    """The ratios of an origin, as FOCUS's own column has them, sum to exactly 1."""
    ratios: dict[str, Decimal] = defaultdict(Decimal)
    for figure in figures:
        split = figure["x_Pool"] is not None
        columns = ("MethodId", "ResourceId", "ResourceName", "Tags", "MethodDetails")
        assert all((figure[f"Allocated{name}"] is not None) == split for name in columns)
        if split:
            told = json.loads(figure["AllocatedMethodDetails"], parse_float=Decimal)
            (element,) = told["Elements"]
            ratios[repr(keyed(figure)[0])] += Decimal(element["AllocatedRatio"])
            tags = json.loads(figure["AllocatedTags"])
            assert (
                tags["x_BusinessUnit"] == figure["AllocatedResourceId"] == figure["x_BusinessUnit"]
            )
            assert tags["x_BusinessUnitPath"] == figure["AllocatedResourceName"]
    assert set(ratios.values()) <= {Decimal(1)}
