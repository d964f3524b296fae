"""The shares of a pool: golden cases by hand, the guide's examples, and what always holds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_pipeline.allocate.in_force import Calendar
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import DayOfShares, Known, Share
from finops_pipeline.allocate.weights import DayOfDirects, Direct, fold_unit
from finops_pipeline_tests.allocate.worked_examples import SHARES, Example, worked_examples

D = Decimal
DAY = date(2025, 1, 1)
WIDE = Context(prec=200)
EXAMPLES = worked_examples(SHARES)
OWNERS = ("web", "payments", "search", "data", "mobile")


def rules(driver: object = "cost", owners: tuple[str, ...] = OWNERS) -> Rules:
    """Rules with one pool."""
    pool = {"name": "net", "match": {"ServiceName": "NET"}, "drivers": driver}
    return Rules.model_validate({"owners": owners, "pools": [pool]})


def split(driver: object, *direct: Direct) -> list[Share]:
    """The shares of the one pool."""
    return shares(rules(driver), direct)


def shares(given_rules: Rules, direct: Iterable[Direct]) -> list[Share]:
    """The shares of the first pool of these rules on a day."""
    of_day = Calendar(given_rules).on(DAY)
    return DayOfShares(of_day, DayOfDirects(direct)).shares(given_rules.pools[0].name)


def cost(owner: str, amount: str | Decimal) -> Direct:
    """An owner that has cost only."""
    return Direct(owner, D(amount), {})


def parts(whole: Decimal, taken: list[Share]) -> list[Decimal]:
    """The parts of a cost, as they are computed where the charges are."""

    def upto(share: Decimal) -> Decimal:
        product = WIDE.multiply(whole, share)
        return product.quantize(D("1e-18"), ROUND_HALF_UP, context=WIDE)

    return [WIDE.subtract(upto(s.share_after), upto(s.share_before)) for s in taken]


def total(amounts: list[Decimal]) -> Decimal:
    """The exact sum."""
    exact = Context(prec=200, traps=[Inexact])
    whole = D(0)
    for amount in amounts:
        whole = exact.add(whole, amount)
    return whole


def test_thirds_by_hand() -> None:
    taken = split("cost", cost("web", "1"), cost("search", "1.0"), cost("payments", "1"))
    third, two, one = D("0.333333333333"), D("0.666666666667"), D("1.000000000000")
    assert taken == [
        Share("net", "payments", 1, "cost", D("1"), D("0E-12"), third, "1/3"),
        Share("net", "search", 2, "cost", D("1.0"), third, two, "1/3"),
        Share("net", "web", 3, "cost", D("1"), two, one, "1/3"),
    ]
    assert [str(s.share) for s in taken] == ["0.333333333333", "0.333333333334", "0.333333333333"]
    assert [str(s.share_after.as_tuple().exponent) for s in taken] == ["-12"] * 3


def test_half_a_step_rounds_up() -> None:
    taken = split("cost", cost("data", "1"), cost("web", "1999999999999"))
    assert [(s.owner, s.share) for s in taken] == [
        ("data", D("0.000000000001")),
        ("web", D("0.999999999999")),
    ]


def test_credits_strangers_and_unallocated_take_nothing() -> None:
    direct = [cost("web", "-4"), cost("unallocated", "9"), cost("ex-owner", "9"), cost("data", "2")]
    assert [(s.owner, s.share) for s in split("cost", *direct)] == [("data", D(1))]


def test_several_entries_of_an_owner_are_added_before_credits_are_cut() -> None:
    direct = [cost("web", "5"), cost("data", "3"), cost("web", "-4")]
    assert [(s.owner, s.weight, s.fraction) for s in split("cost", *direct)] == [
        ("data", D(3), "3/4"),
        ("web", D(1), "1/4"),
    ]


def test_a_sum_keeps_every_digit() -> None:
    large, small = "99999999999999999999", "0.000000000000000001"
    taken = split("cost", cost("web", large), cost("web", small))
    assert str(taken[0].weight) == "99999999999999999999.000000000000000001"


@pytest.mark.parametrize(
    ("first", "last", "left"), [("1e-18", "1e12", "web"), ("1e12", "1e-18", "data")]
)
def test_a_share_too_small_for_12_digits_is_left_out(first: str, last: str, left: str) -> None:
    taken = split("cost", cost("data", first), cost("web", last))
    assert [(s.owner, s.position, s.share_before, s.share_after) for s in taken] == [
        (left, 1, D(0), D(1))
    ]
    assert Fraction(taken[0].fraction) < 1


@pytest.mark.parametrize("unit", ["OCPU Hours", "OCPU-Hours", " OCPU - Hours "])
def test_units_are_the_same_with_hyphen_or_space(unit: str) -> None:
    assert fold_unit(unit) == "OCPU-Hours"
    used = Direct("web", D(0), {unit: D(3), "GB-Hours": D(5)})
    taken = split({"usage": "OCPU Hours"}, used, Direct("data", D(9), {"OCPUHours": D(1)}))
    assert [(s.owner, s.driver, s.weight) for s in taken] == [("web", "usage OCPU Hours", D(3))]


def test_upper_and_lower_case_are_different_units() -> None:
    taken = split({"usage": "GB-Hours"}, Direct("web", D(0), {"Gb-Hours": D(3)}))
    assert taken[0].driver == "unallocated"


def test_fixed_weights_need_nobody_to_have_cost() -> None:
    taken = split({"fixed": {"web": "0.5", "payments": 1, "data": 0}})
    assert [(s.owner, s.driver, s.weight, s.fraction) for s in taken] == [
        ("payments", "fixed", D(1), "2/3"),
        ("web", "fixed", D("0.5"), "1/3"),
    ]


@pytest.mark.parametrize("direct", [[], [cost("web", "0")], [cost("web", "-1")]])
@pytest.mark.parametrize("driver", ["cost", {"usage": "GB"}])
def test_without_a_weight_the_pool_is_unallocated(driver: object, direct: list[Direct]) -> None:
    whole = Share("net", "unallocated", 1, "unallocated", None, D(0), D(1), "1/1")
    assert split(driver, *direct) == [whole]


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_guide_is_right(example: Example) -> None:
    heading = next(h for h in example.rows[0] if h.startswith("part of "))
    whole, _, where = heading.removeprefix("part of ").partition(" where ")
    column, _, value = where.partition(" is ")
    last = {r["owner"]: Fraction(r["last known"]) for r in example.rows if r.get("last known")}
    known = Known(date(2025, 1, 14), last) if last else None
    made = DayOfShares(
        Calendar(example.rules).on(date(2025, 1, 15)),
        DayOfDirects([_direct(row) for row in example.rows]),
        lambda pool, part: known,
    )
    part = json.dumps({column: value}) if where else ""
    taken = made.shares(example.rules.pools[0].name, part)
    columns = ("weight", "running total", "share", heading)
    told = [
        (row["owner"], row.get("driver"), *(D(row[c]) if row[c] else None for c in columns))
        for row in example.rows
        if row["share"]
    ]
    assert [
        (s.owner, s.driver if "driver" in example.rows[0] else None,
         s.weight, s.share_after, s.share, part_)
        for s, part_ in zip(taken, parts(D(whole), taken), strict=True)
    ] == told  # fmt: skip


def test_the_guide_has_an_example_of_each_driver() -> None:
    used = {d.text for e in EXAMPLES.values() for pool in e.rules.pools for d in pool.drivers}
    kinds = {text.split()[0] for text in used}
    assert kinds == {"cost", "usage", "weights", "fixed", "even", "last"}
    ends = {row["owner"] for e in EXAMPLES.values() for row in e.rows if row["share"]}
    assert "unallocated" in ends and any(" of the same " in text for text in used)


def _direct(row: dict[str, str]) -> Direct:
    units = {h.removeprefix("direct "): D(n) for h, n in row.items() if h[:7] == "direct " and n}
    values = {"SubAccountId": row["SubAccountId"]} if row.get("SubAccountId") else {}
    return Direct(row["owner"], units.pop("cost", D(0)), units, values)


# Every DECIMAL(38,18), so that weights lie up to 38 orders of magnitude apart.
MONEY = st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: D(n).scaleb(-18, context=WIDE))
SMALL = st.integers(-5, 9).map(lambda n: D(n).scaleb(-18))
ROUND = st.integers(-5, 12).map(D)
DIRECT = st.lists(
    st.builds(cost, st.sampled_from([*OWNERS, "unallocated", "stranger"]), MONEY | SMALL | ROUND),
    max_size=9,
)


def exact(direct: list[Direct]) -> dict[str, Fraction]:
    """The shares as fractions, computed another way: in whole units of 18 digits."""
    units: dict[str, int] = {}
    for one in direct:
        shifted = one.cost.scaleb(18, context=WIDE)
        units[one.taker] = units.get(one.taker, 0) + int(shifted)
    takers = {owner: max(units.get(owner, 0), 0) for owner in OWNERS}
    whole = sum(takers.values())
    return {owner: Fraction(n, whole) for owner, n in takers.items() if n} or {
        "unallocated": Fraction(1)
    }


@given(DIRECT)
def test_shares_are_parts_of_one(direct: list[Direct]) -> None:
    taken = split("cost", *direct)
    assert [s.position for s in taken] == list(range(1, len(taken) + 1))
    assert [s.owner for s in taken] == sorted({s.owner for s in taken})
    ends = [D(0), *(s.share_after for s in taken)]
    assert [s.share_before for s in taken] == ends[:-1]
    assert ends[-1] == 1
    assert all(0 < s.share <= 1 for s in taken)
    assert sum(s.share for s in taken) == 1


@given(DIRECT)
def test_another_computation_agrees(direct: list[Direct]) -> None:
    taken = {s.owner: s for s in split("cost", *direct)}
    expected = exact(direct)
    assert taken.keys() <= expected.keys()
    assert all(Fraction(s.fraction) == expected[owner] for owner, s in taken.items())
    for owner, share in expected.items():
        found = Fraction(taken[owner].share) if owner in taken else Fraction(0)
        assert abs(found - share) <= Fraction(1, 10**12)


@given(DIRECT, MONEY | SMALL | ROUND)
def test_parts_of_any_cost_add_up_to_it(direct: list[Direct], whole: Decimal) -> None:
    pieces = parts(whole, split("cost", *direct))
    assert total(pieces) == whole
    assert all(piece * whole >= 0 for piece in pieces)


@given(DIRECT, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    direct: list[Direct], chance: random.Random
) -> None:
    shuffled, owners = list(direct), list(OWNERS)
    chance.shuffle(shuffled)
    chance.shuffle(owners)
    other = rules(owners=tuple(owners))
    one, two = split("cost", *direct), shares(other, shuffled)
    assert [(s.owner, s.share_after, s.weight) for s in one] == [
        (s.owner, s.share_after, s.weight) for s in two
    ]
