"""How pools are split: drivers in their order, recipients, pools that feed pools; by hand."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_pipeline.allocate.in_force import Calendar
from finops_pipeline.allocate.load import load_rules
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.allocate.shares import DayOfShares, Earlier, Known, Share, method_of
from finops_pipeline.allocate.weights import DayOfDirects, Direct
from finops_pipeline.config import ConfigError

D = Decimal
DAY = date(2025, 3, 1)
OWNERS = ["data", "ops", "web"]


def pool(drivers: object, recipients: object = (), name: str = "p") -> dict[str, Any]:
    """A pool of rules."""
    match = {"ServiceName": name}
    return {"name": name, "match": match, "drivers": drivers, "recipients": recipients}


def split(
    pools: list[dict[str, Any]],
    *directs: Direct,
    part: dict[str, str | None] | None = None,
    earlier: Earlier = lambda pool, part: None,
    **further: Any,
) -> list[Share]:
    """The shares of the first pool."""
    rules = Rules.model_validate({"owners": OWNERS, "pools": pools, **further})
    made = DayOfShares(Calendar(rules).on(DAY), DayOfDirects(directs), earlier)
    return made.shares(pools[0]["name"], "" if part is None else json.dumps(part))


def fractions(shares: list[Share]) -> dict[str, str]:
    """The exact share of each owner."""
    assert shares[-1].share_after == 1 and sum(s.share for s in shares) == 1
    return {s.owner: s.fraction for s in shares}


def cost(taker: str, amount: str, **values: str | None) -> Direct:
    """Direct cost."""
    return Direct(taker, D(amount), {}, values)


def test_the_next_driver_is_asked_when_one_has_no_weight() -> None:
    drivers = ["cost", {"usage": "GB"}, "even"]
    used = Direct("web", D(0), {"GB": D(3)})
    assert fractions(split([pool(drivers)], cost("web", "1"), used)) == {"web": "1/1"}
    (share,) = split([pool(drivers)], cost("ops", "-1"), used)
    assert (share.owner, share.driver, share.weight) == ("web", "usage GB", D(3))
    even = split([pool(drivers)], cost("ops", "-1"))
    assert fractions(even) == dict.fromkeys(OWNERS, "1/3")
    assert {s.driver for s in even} == {"even"}


def test_requests_are_a_usage() -> None:
    used = [Direct("web", D(0), {"Requests": D(30)}), Direct("ops", D(9), {"Requests": D(10)})]
    assert fractions(split([pool("requests")], *used)) == {"ops": "1/4", "web": "3/4"}


def test_recipients_keep_others_out() -> None:
    directs = [cost("web", "1"), cost("data", "2"), cost("ops", "6")]
    assert fractions(split([pool("cost", ["web", "data"])], *directs)) == {
        "data": "2/3",
        "web": "1/3",
    }
    fixed = {"fixed": {"web": 1, "ops": 3}}
    assert fractions(split([pool(fixed, ["web", "data"])])) == {"web": "1/1"}
    assert fractions(split([pool([fixed, "even"], ["data"])])) == {"data": "1/1"}


def test_owners_below_another() -> None:
    owners = [
        "data", {"name": "digital"}, {"name": "web", "parent": "digital"},
        {"name": "shop", "parent": "web"}, {"name": "old", "parent": "digital", "to": "2025-02-28"},
    ]  # fmt: skip
    found = split([pool("even", [{"below": "digital"}])], owners=owners)
    assert fractions(found) == {"shop": "1/2", "web": "1/2"}


HEADS = [
    {"date": "2025-01-01", "owner": "web", "weight": 8},
    {"date": "2025-01-01", "owner": "ops", "weight": 2},
    {"date": "2025-03-02", "owner": "web", "weight": 1},
]


def test_a_table_of_weights_holds_until_it_has_a_later_day() -> None:
    drivers = [{"weights": "heads"}]
    rules = Rules.model_validate(
        {"owners": OWNERS, "pools": [pool(drivers)], "weights": {"heads": HEADS}}
    )

    def on(day: date) -> dict[str, str]:
        made = DayOfShares(Calendar(rules).on(day), DayOfDirects(()))
        return fractions(made.shares("p"))

    assert on(date(2024, 12, 31)) == {"unallocated": "1/1"}
    assert on(date(2025, 1, 1)) == on(date(2025, 3, 1)) == {"ops": "1/5", "web": "4/5"}
    assert on(date(2025, 3, 2)) == {"web": "1/1"}


def test_a_table_is_a_file_beside_the_rules(tmp_path: Path) -> None:
    (tmp_path / "heads.csv").write_text(
        "date,owner,weight\n2025-01-01,web,0.1\n2025-01-01,ops,0.3\n"
    )
    text = (
        "owners: [web, ops]\nweights: {heads: heads.csv}\n"
        "pools: [{name: p, match: {ServiceName: N}, drivers: {weights: heads}}]"
    )
    (tmp_path / "rules.yaml").write_text(text)
    rules = load_rules(tmp_path / "rules.yaml")
    made = DayOfShares(Calendar(rules).on(DAY), DayOfDirects(()))
    assert fractions(made.shares("p")) == {"ops": "3/4", "web": "1/4"}
    before = rules.hash
    (tmp_path / "heads.csv").write_text(
        "date,owner,weight\n2025-01-01,web,0.2\n2025-01-01,ops,0.3\n"
    )
    assert load_rules(tmp_path / "rules.yaml").hash != before
    # As Excel saves it: with a mark before the header, and its own line ends.
    (tmp_path / "heads.csv").write_bytes(
        b"\xef\xbb\xbfdate,owner,weight\r\n2025-01-01,web,0.1\r\n2025-01-01,ops,0.3\r\n"
    )
    assert load_rules(tmp_path / "rules.yaml").hash == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "owner,weight\n",
            r"heads.csv: line 1: expected date,owner,weight, not \[",
        ),
        ("date,owner,weight\n2025-01-01,web\n", "line 2: expected 3 cells"),
        ("date,owner,weight\n\n2025-01-01,web,many\n", "line 3: weight is no number: 'many'"),
        ("date,owner,weight\n2025-13-01,web,1\n", "heads.csv: line 2: date: Input should be"),
        ("date,owner,weight\n2025-01-01,web,-1\n", "heads.csv: line 2: weight: Input should be"),
        (
            "date,owner,weight\n2025-01-01,web,1\n2025-02-01,web,1\n2025-01-01,web,3\n",
            r"weights.heads.2.owner: has a weight of 2025-01-01 already \(row 1\); keep one",
        ),
        ('date,owner,weight\n2025-01-01,"web,1\n', "line 2: no CSV"),
    ],
)
def test_what_a_table_may_not_say(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "heads.csv").write_text(text)
    (tmp_path / "rules.yaml").write_text("owners: [web]\nweights: {heads: heads.csv}")
    with pytest.raises(ConfigError, match=said):
        load_rules(tmp_path / "rules.yaml")


def test_a_table_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("weights: {heads: heads.csv}")
    with pytest.raises(ConfigError, match=r"heads\.csv: cannot be read \(No such file"):
        load_rules(tmp_path / "rules.yaml")


LAST = Known(
    date(2025, 2, 27), {"web": Fraction(1, 3), "ops": Fraction(1, 6), "gone": Fraction(1, 2)}
)


def test_the_last_known_shares_are_taken_among_owners_of_today() -> None:
    found = split([pool(["cost", "last known"])], earlier=lambda pool, part: LAST)
    assert fractions(found) == {"ops": "1/3", "web": "2/3"}
    assert {s.driver for s in found} == {"last known of 2025-02-27"}
    assert {s.weight for s in found} == {None}
    nobody = Known(DAY, {"gone": Fraction(1)})
    found = split([pool(["last known", "even"])], earlier=lambda pool, part: nobody)
    assert {s.driver for s in found} == {"even"}
    assert fractions(split([pool(["cost", "last known"])])) == {"unallocated": "1/1"}


def test_the_last_known_shares_are_no_way_around_the_recipients() -> None:
    """`web` took a part until the recipients changed; the last share that is left is all."""

    def last(recipients: list[Any], *further: dict[str, Any]) -> dict[str, str]:
        pools = [pool(["cost", "last known"], recipients), *further]
        return fractions(split(pools, earlier=lambda pool, part: LAST))

    assert last(["ops", "data"]) == {"ops": "1/1"}
    assert last(["data"]) == {"unallocated": "1/1"}
    assert last(["data", "q"], pool("cost", ["web"], name="q")) == {"web": "1/1"}
    assert last(["q"], pool("cost", name="q")) == {"ops": "1/3", "web": "2/3"}


SAME = [
    {"cost": "direct", "same": "ResourceId"},
    {"usage": "GB", "same": ["SubAccountId"]},
    "cost",
]
OF_ACCOUNTS = [
    cost("web", "5", ResourceId="r1", SubAccountId="a"),
    cost("ops", "15", ResourceId="r1", SubAccountId="b"),
    cost("data", "20", ResourceId="r2", SubAccountId="a"),
    Direct("data", D(0), {"GB": D(7)}, {"ResourceId": None, "SubAccountId": "b"}),
]


@pytest.mark.parametrize(
    ("resource", "account", "expected", "driver"),
    [
        ("r1", "a", {"ops": "3/4", "web": "1/4"}, "cost of the same ResourceId"),
        ("r9", "b", {"data": "1/1"}, "usage GB of the same SubAccountId"),
        (None, "b", {"data": "1/1"}, "usage GB of the same SubAccountId"),
        (None, None, {"data": "1/2", "ops": "3/8", "web": "1/8"}, "cost"),
    ],
)
def test_a_charge_follows_what_it_belongs_to(
    resource: str | None, account: str | None, expected: dict[str, str], driver: str
) -> None:
    part = {"SubAccountId": account, "ResourceId": resource}
    found = split([pool(SAME)], *OF_ACCOUNTS, part=part)
    assert fractions(found) == expected
    assert {s.driver for s in found} == {driver}
    assert {s.pool_part for s in found} == {json.dumps(part)}


CHAIN = [
    pool({"fixed": {"web": 1, "q": 3}}, ["web", "q"]),
    pool("cost", ["web", "r"], name="q"),
    pool("even", ["ops", "data"], name="r"),
]


def test_pools_feed_pools() -> None:
    # p: 1/4 to web, 3/4 to q. q by cost: web 10 of 40, the pool r itself 30 of 40. r: halves.
    found = split(CHAIN, cost("web", "10"), cost("r", "30"), cost("ops", "99"))
    assert fractions(found) == {"data": "9/32", "ops": "9/32", "web": "7/16"}
    (ways,) = [json.loads(str(s.route)) for s in found if s.owner == "data"]
    assert ways == [
        [
            {"pool": "p", "to": "q", "driver": "fixed", "fraction": "3/4", "weight": "3"},
            {"pool": "q", "to": "r", "driver": "cost", "fraction": "3/4", "weight": "30"},
            {"pool": "r", "to": "data", "driver": "even", "fraction": "1/2", "weight": "1"},
        ]
    ]
    web = next(s for s in found if s.owner == "web")
    assert [len(way) for way in json.loads(str(web.route))] == [2, 1]
    assert next(s.weight for s in found if s.owner == "web") == D(1)


def test_the_way_through_a_pool_shows_every_digit_of_a_weight() -> None:
    weight = "12345678901234.000000000000000001"
    pools = [pool({"fixed": {"q": weight}}, ["q"]), pool({"fixed": {"web": 1}}, name="q")]
    (share,) = split(pools)
    assert json.loads(str(share.route))[0][0]["weight"] == weight


def test_a_pool_that_is_fed_and_has_no_weight_leaves_its_part_unallocated() -> None:
    found = split([CHAIN[0], pool("cost", ["web"], name="q")], cost("ops", "1"))
    assert fractions(found) == {"unallocated": "3/4", "web": "1/4"}


def test_the_method_is_how_a_pool_is_split_and_nothing_else() -> None:
    def method(*pools: dict[str, Any], **further: Any) -> str:
        rules = Rules.model_validate({"owners": OWNERS, "pools": pools, **further})
        return method_of(Calendar(rules).on(DAY), "p")

    one = method(*CHAIN)
    assert one == method(CHAIN[2], {**CHAIN[0], "match": {"ServiceName": "other"}}, CHAIN[1])
    assert one == method(*CHAIN, tags=[{"key": "team"}])
    assert one != method(CHAIN[0], CHAIN[1], pool("cost", ["ops", "data"], name="r"))
    assert one != method({**CHAIN[0], "recipients": ["web", "q", "ops"]}, *CHAIN[1:])
    table = pool({"weights": "heads"})
    assert method(table, weights={"heads": HEADS}) == method(table, weights={"heads": HEADS[:2]})
    assert method(table, weights={"heads": HEADS}) != method(table, weights={"heads": HEADS[1:]})


# Random graphs of pools: each may feed owners and pools after it.
NAMES = ["p", "q", "r"]
AMOUNT = st.sampled_from(["0", "-3", "7", "0.000000000000000001", "12345678901234567890"]).map(D)


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Pools that feed owners and later pools."""
    found = []
    for i, name in enumerate(NAMES):
        takers = draw(st.sets(st.sampled_from([*OWNERS, *NAMES[i + 1 :]]), min_size=1))
        fixed = {"fixed": {t: draw(st.integers(0, 3)) for t in sorted(takers)} | {"web": 1}}
        drivers = draw(st.lists(st.sampled_from(["cost", "even", "last known"]), max_size=2))
        found.append(pool([*drivers, *draw(st.sampled_from([[], [fixed]]))] or "cost",
                          sorted(takers), name))  # fmt: skip
    return found


@given(graphs(), st.dictionaries(st.sampled_from([*OWNERS, *NAMES]), AMOUNT))
def test_another_computation_of_random_graphs_agrees(
    pools: list[dict[str, Any]], costs: dict[str, Decimal]
) -> None:
    known = {"web": Fraction(2, 3), "data": Fraction(1, 3)}
    found = split(
        pools,
        *(Direct(taker, amount, {}) for taker, amount in costs.items()),
        earlier=lambda pool, part: Known(DAY, known),
    )
    ends: dict[str, Fraction] = {}
    todo = [("p", Fraction(1))]
    by_name = {p["name"]: p for p in pools}
    while todo:
        name, whole = todo.pop()
        if name not in by_name:
            ends[name] = ends.get(name, Fraction(0)) + whole
            continue
        among = {o: part for o, part in known.items() if o in _reached(name, by_name)}
        todo += [(taker, whole * part) for taker, part in _parts(by_name[name], costs, among)]
    assert sum(ends.values()) == 1
    assert all(0 < s.share <= 1 for s in found)
    assert {s.owner: Fraction(s.fraction) for s in found} == {
        owner: part for owner, part in ends.items() if owner in {s.owner for s in found}
    }
    for owner, part in ends.items():
        share = sum((Fraction(s.share) for s in found if s.owner == owner), Fraction(0))
        assert abs(share - part) <= Fraction(1, 10**12)


def _reached(name: str, pools: dict[str, dict[str, Any]]) -> set[str]:
    """All that a pool feeds, however far."""
    fed = set(pools[name]["recipients"])
    return fed.union(*(_reached(n, pools) for n in fed & pools.keys()))


def _parts(
    given_pool: dict[str, Any], costs: dict[str, Decimal], known: dict[str, Fraction]
) -> list[tuple[str, Fraction]]:
    """The parts of a pool, told once more: in whole units of 18 digits."""
    drivers = given_pool["drivers"]
    for driver in [drivers] if isinstance(drivers, str) else drivers:
        if driver == "last known":
            if known:
                return [(o, part / sum(known.values())) for o, part in known.items()]
            continue
        if driver == "even":
            weights = dict.fromkeys(given_pool["recipients"], 1)
        elif driver == "cost":
            weights = {t: int(c * 10**18) for t, c in costs.items()}
        else:
            weights = driver["fixed"]
        taking = {t: w for t, w in weights.items() if w > 0 and t in given_pool["recipients"]}
        if taking:
            return [(t, Fraction(w, sum(taking.values()))) for t, w in taking.items()]
    return [("unallocated", Fraction(1))]
