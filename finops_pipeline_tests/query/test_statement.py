"""Statements: each driver worked out by hand, and random months against plain fractions."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query import CostQuery, QueryError, ask
from finops_pipeline.query.show_statement import show_statements, statement_warnings
from finops_pipeline.query.statement import Statements, statements
from finops_pipeline.store.summaries import Summaries
from finops_pipeline_tests.query.made_lake import Charge, charge, home_with

D = Decimal
FEB, MAR = date(2025, 2, 10), date(2025, 3, 10)
Item = tuple[Any, ...]


def pooled(cost: str, day: date, owner: str) -> Charge:
    return charge(
        cost, day, ResourceId="net", SkuId="N", x_Pool="network", x_Tier="pool",
        x_BusinessUnit=owner,
    )  # fmt: skip


def by_hand() -> list[Charge]:
    """Something for every driver."""

    def vm(cost: str, day: date, quantity: str | None, name: str, **more: Any) -> Charge:
        measured = None if quantity is None else D(quantity)
        return charge(cost, day, ResourceId=name, SkuId=name, ConsumedQuantity=measured, **more)

    data = {"x_BusinessUnit": "data", "x_Tier": "scope"}
    euro = {"BillingCurrency": "EUR", "x_BusinessUnit": "euro"}
    none = {"x_BusinessUnit": "unallocated", "x_Tier": "unallocated"}
    return [
        vm("20", FEB, "10", "one"), vm("45", MAR, "15", "one"),
        vm("7", MAR, "1", "two"), vm("4", FEB, "1", "three"),
        vm("8", FEB, "4", "four"), vm("8.5", MAR, "4", "four", **data),
        vm("10", FEB, "2", "five", **euro) | {"x_ReportingEffectiveCost": D("11")},
        vm("10", MAR, "2", "five", **euro) | {"x_ReportingEffectiveCost": D("12")},
        vm("3", FEB, None, "tax", ChargeCategory="Tax"),
        vm("5", MAR, None, "tax", ChargeCategory="Tax"),
        pooled("10", FEB, "retail"), pooled("20", FEB, "data"),
        pooled("20", MAR, "retail"), pooled("10", MAR, "data"),
        vm("1", FEB, "2", "odd", **none), vm("2", MAR, None, "odd", **none),
    ]  # fmt: skip


# By hand: one was 20 for 10, so 15 are 30 at the old price; four went from retail to data at 8;
# five is billed 10 in both months, at 1.1 and 1.2; the network moved by 10; odd has lost its unit.
EXPECTED = {
    "retail": {
        "usage": "10", "price": "15", "new": "7", "gone": "-4", "rule_change": "-8",
        "amount": "2", "shares": "10",
    },
    "data": {"rule_change": "8", "price": "0.5", "shares": "-10"},
    "euro": {"exchange_rate": "1"},
    "unallocated": {"other": "1"},
}  # fmt: skip


@pytest.fixture
def hand(tmp_path: Path, engine: DuckDBEngine) -> Statements:
    return statements(home_with(tmp_path, by_hand()), engine, "2025-03")


def test_each_driver_by_hand(hand: Statements) -> None:
    told = {
        s.owner: {name: effect for name, effect in s.drivers.items() if effect}
        for s in hand.statements
    }
    assert told == {o: {n: D(e) for n, e in of.items()} for o, of in EXPECTED.items()}


def test_the_parts_by_hand(hand: Statements) -> None:
    assert (hand.month, hand.previous, hand.currency) == ("2025-03", "2025-02", "USD")
    assert [s.owner for s in hand.statements] == ["retail", "data", "euro", "unallocated"]
    found = {
        s.owner: {name: (a.before, a.now, a.change) for name, a in s.parts.items()}
        for s in hand.statements
    }
    assert found == {
        "retail": {"direct": (35, 57, 22), "shared": (10, 20, 10)},
        "data": {"inherited": (0, D("8.5"), D("8.5")), "shared": (20, 10, -10)},
        "euro": {"direct": (11, 12, 1)},
        "unallocated": {"unallocated": (1, 2, 1)},
    }


def random_charges(seed: int) -> list[Charge]:
    """Few resources and many charges, so that owners, pools and rates change all the time."""
    dice = random.Random(seed)
    pools = [None, None, "net", "db"]
    found = []
    for _ in range(160):
        pool = dice.choice(pools)
        foreign = dice.random() < 0.3
        found.append(
            charge(
                str((D(dice.randint(-50, 400)) / 7).quantize(D("1e-12"))),
                date(2025, 1, 1) + timedelta(days=dice.randrange(59)),
                str(D(dice.randint(90, 130)) / 100) if foreign else "1",
                ResourceId=dice.choice([None, "vm-1", "vm-2", "vm-3"]),
                SkuId=dice.choice([None, "a", "b"]),
                ServiceName=dice.choice(["Compute", "Storage"]),
                ConsumedQuantity=dice.choice([None, D(0), D(dice.randint(1, 90)) / 8]),
                BillingCurrency="EUR" if foreign else "USD",
                x_Pool=pool,
                x_Tier="pool" if pool else dice.choice(["tag", "scope"]),
                x_BusinessUnit=dice.choice(["a", "b", "c"]),
            )
        )
    for each in found[::17]:
        each["x_ReportingEffectiveCost"] = None  # no rate is known
    return found


def delta_rows(home: Home) -> Iterable[dict[str, Any]]:
    for uri in DeltaTable(Path(home.path) / "lake" / "allocated_costs").file_uris():
        yield from pq.ParquetFile(uri).read().to_pylist()


KIND = (
    "x_Source", "BillingAccountId", "SubAccountId", "RegionId", "ServiceName", "ChargeCategory",
    "SkuId", "SkuMeter", "ConsumedUnit", "BillingCurrency",
)  # fmt: skip


def rounded(amount: Fraction) -> Fraction:
    """Half up, away from zero, at 18 digits."""
    steps = int(abs(amount) * 10**18 + Fraction(1, 2))
    return Fraction(steps if amount >= 0 else -steps, 10**18)


def recounted(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Fraction]]:
    """The drivers of February as docs/allocation.md defines them, charge by charge."""
    items: dict[Item, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["x_ReportingEffectiveCost"] is not None:
            items[tuple(row[c] for c in (*KIND, "ResourceId"))].append(row)
    groups: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    effects: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for item, of_item in items.items():
        takers = [
            frozenset(
                (bool(r["x_Pool"]), r["x_Pool"] or r["x_BusinessUnit"])
                for r in of_item
                if r["x_ChargeDay"].month == month
            )
            for month in (1, 2)
        ]
        if all(takers):
            groups[item[:-1], takers[0], takers[1]] += of_item
            continue
        for row in of_item:
            cost = Fraction(row["x_ReportingEffectiveCost"])
            effects[row["x_BusinessUnit"]]["new" if takers[1] else "gone"] += (
                cost if takers[1] else -cost
            )
    for (_, before, now), of_group in groups.items():
        recount_group(of_group, before == now, effects)
    return effects


def recount_group(
    rows: list[Mapping[str, Any]], same: bool, effects: dict[str, dict[str, Fraction]]
) -> None:
    def total(month: int, column: str, owner: str | None = None) -> Fraction | None:
        values = [
            Fraction(r[column])
            for r in rows
            if r["x_ChargeDay"].month == month
            and owner in (None, r["x_BusinessUnit"])
            and r[column] is not None
        ]
        return sum(values, Fraction(0)) if values else None

    cost = "x_ReportingEffectiveCost"
    owners = sorted({r["x_BusinessUnit"] for r in rows})
    r0, r1 = total(1, cost) or 0, total(2, cost) or 0
    q0, q1 = total(1, "ConsumedQuantity"), total(2, "ConsumedQuantity")
    b0, b1 = total(1, "EffectiveCost"), total(2, "EffectiveCost")
    home_currency = rows[0]["BillingCurrency"] == rows[0]["x_ReportingCurrency"]
    running = Fraction(0)
    for owner in owners:
        was, now = total(1, cost, owner) or Fraction(0), total(2, cost, owner) or Fraction(0)
        mine = effects[owner]
        if not r1 and len(owners) > 1:
            mine["other"] += now - was
            continue
        if r1:
            as_now = rounded(r0 * (running + now) / r1) - rounded(r0 * running / r1)
            running += now
        else:
            as_now = was
        mine["shares" if same else "rule_change"] += as_now - was
        base = as_now
        if q0 and q1:
            base = rounded(as_now * q1 / q0)
            mine["usage"] += base - as_now
        old_rates: Fraction | None = now
        if not home_currency:
            known = r0 and r1 and b0 and b1
            old_rates = rounded(now * (r0 / b0) / (r1 / b1)) if known else None  # type: ignore[operator]
        if old_rates is None:
            mine["other"] += now - base
            continue
        mine["exchange_rate"] += now - old_rates
        rest = "price" if q0 and q1 else "amount" if q0 is None and q1 is None else "other"
        mine[rest] += old_rates - base


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rolled_up", [False, True])
def test_random_months_to_the_last_digit(
    tmp_path: Path, engine: DuckDBEngine, seed: int, rolled_up: bool
) -> None:
    home = home_with(tmp_path, random_charges(seed))
    if rolled_up:
        summaries = Summaries(home, engine)
        summaries.run(summaries.stale_months())
    expected = recounted(delta_rows(home))
    found = statements(home, engine, "2025-02")
    assert {s.owner for s in found.statements} == expected.keys()
    for s in found.statements:
        told = {name: Fraction(effect) for name, effect in s.drivers.items() if effect}
        assert told == {name: effect for name, effect in expected[s.owner].items() if effect}
        with localcontext(Context(prec=100)):
            assert sum(s.drivers.values()) == s.total.change
            for amounts in (s.parts.values(), [amount for _, amount in s.services]):
                assert sum(a.now for a in amounts) == s.total.now
                assert sum(a.before for a in amounts) == s.total.before
    for month, side in (("2025-01", "before"), ("2025-02", "now")):
        asked = ask(home, engine, CostQuery(by=("owner",), filters={"month": (month,)}))
        totals = {s.owner: getattr(s.total, side) for s in found.statements}
        assert {o: c for o, c in asked.rows if c} == {o: c for o, c in totals.items() if c}
    assert found.without_rate and len(statement_warnings(found)) == len(found.without_rate)


def test_who_moves_takes_what_others_lose(tmp_path: Path, engine: DuckDBEngine) -> None:
    home = home_with(tmp_path, random_charges(99))
    found = statements(home, engine, "2025-02")
    with localcontext(Context(prec=100)):
        for driver in ("rule_change", "shares"):
            assert any(s.drivers[driver] for s in found.statements)
            assert sum(s.drivers[driver] for s in found.statements) == 0


def test_csv_and_json_carry_every_digit(hand: Statements) -> None:
    rows = list(csv.DictReader(io.StringIO(show_statements(hand, "csv"))))
    assert {k: rows[0][k] for k in ("owner", "month", "currency", "direct", "shared", "total")} == {
        "owner": "retail", "month": "2025-03", "currency": "USD", "direct": "57", "shared": "20",
        "total": "77",
    }  # fmt: skip
    assert (rows[0]["change"], rows[0]["rule_change"], rows[0]["gone"]) == ("32", "-8", "-4")
    content = json.loads(show_statements(hand, "json"))
    assert content["statements"][1]["drivers"]["price"] == "0.5"
    assert content["statements"][1]["services"] == [
        {"service": "Compute", "before": "20", "now": "18.5", "change": "-1.5"}
    ]
    table = [line.split() for line in show_statements(hand).splitlines()]
    assert ["direct", "35.00", "57.00", "+22.00"] in table
    assert ["rule", "change", "-8.00"] in table


class Page(HTMLParser):
    """What a page has: its tags with attributes, and its text outside styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_stands_alone_and_escapes(tmp_path: Path, engine: DuckDBEngine) -> None:
    evil = '<script>alert("1")</script> & co'
    charges = [
        charge("12.345", MAR, x_BusinessUnit=evil, ServiceName='<img src="x">'),
        charge("1", MAR, x_BusinessUnit="web"),
    ]
    text = show_statements(statements(home_with(tmp_path, charges), engine, "2025-03"), "html")
    page = Page(text)
    assert evil in page.text and '<img src="x">' in page.text
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "a"}
    assert not {name for _, attrs in page.tags for name in attrs} & {"src", "href", "style"}
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert [tag for tag, _ in page.tags].count("section") == 2
    assert "@media print" in text and "break-before: page" in text
    assert ("td", {"class": "n", "title": "12.345"}) in page.tags and "12.35" in page.text


def test_a_name_is_no_markup_and_commands_no_terminal(tmp_path: Path, engine: DuckDBEngine) -> None:
    names = ["[bold]x[/bold]", "[/]", "\x1b[2Jx"]
    charges = [charge("1", MAR, x_BusinessUnit=name) for name in names]
    text = show_statements(statements(home_with(tmp_path, charges), engine, "2025-03"))
    assert "[bold]x[/bold], USD" in text and "[/], USD" in text
    assert "\N{REPLACEMENT CHARACTER}[2Jx, USD" in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("month", "owner", "said"),
    [
        ("2025-3", None, "no date written as YYYY-MM"),
        ("2025-13", None, "no date written as YYYY-MM"),
        ("2025-03", "nobody", "there is cost of: data, euro, retail, unallocated"),
    ],
)
def test_wrong_use_teaches(
    tmp_path: Path, engine: DuckDBEngine, month: str, owner: str | None, said: str
) -> None:
    home = home_with(tmp_path, by_hand())
    with pytest.raises(QueryError, match=said):
        statements(home, engine, month, owner)


def test_one_owner_is_told_as_among_all(
    tmp_path: Path, engine: DuckDBEngine, hand: Statements
) -> None:
    (only,) = statements(home_with(tmp_path / "x", by_hand()), engine, "2025-03", "data").statements
    assert only == hand.statements[1]


def test_one_owner_is_told_what_its_own_figures_lack(tmp_path: Path, engine: DuckDBEngine) -> None:
    charges = [
        charge("1", MAR, x_BusinessUnit="web"),
        charge("5", MAR, None, x_BusinessUnit="data", BillingCurrency="ARS"),
        charge("7", FEB, None, x_BusinessUnit="retail", BillingCurrency="ARS"),
    ]
    home = home_with(tmp_path, charges)
    lacks = {
        owner: dict(statements(home, engine, "2025-03", owner).without_rate)
        for owner in (None, "web", "data")
    }
    assert lacks == {None: {"ARS": (2, D(12))}, "web": {}, "data": {"ARS": (1, D(5))}}


def test_a_month_without_cost_says_so(tmp_path: Path, engine: DuckDBEngine) -> None:
    found = statements(home_with(tmp_path, by_hand()), engine, "2024-03")
    forms: list[Callable[[], str]] = [
        lambda: show_statements(found), lambda: show_statements(found, "html"),
    ]  # fmt: skip
    assert not found.statements and all("No charge matches." in form() for form in forms)
