"""Other rules: which charge days they rebuild, in Dagster; what was foretold; what was logged."""

from __future__ import annotations

import getpass
import json
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from finops_pipeline.allocate.load import load_rules
from finops_pipeline.config import ConfigError
from finops_pipeline.lake.delta import LakeTable
from finops_pipeline.query.rules_diff import RulesDiff, rules_diff
from finops_pipeline.query.show_rules import show_rules_diff
from finops_pipeline.store import affected
from finops_pipeline.store.audit import known_rules, rule_changes, rules_of
from finops_pipeline_tests.orchestration.company import Company, day
from finops_pipeline_tests.orchestration.test_automation import ask, asked

RULES = """
owners: [web, data, ops]
tags: [{key: team, aliases: {storefront: web}}]
scopes: [{path: other, owner: ops}]
pools: [{name: net, match: {ServiceName: NETWORK}, drivers: cost}]
"""
Span = tuple[str, str]


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """Six days: web and data on each, an unknown team on the third, the network on all."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Company(tmp_path, options={"rules": tmp_path / "rules.yaml"})
    write(made, RULES)
    for n in range(1, 7):
        rows = [
            made.charge(day(n), f"{n}.5", ref=f"w{n}", **{"tags/team": "storefront"}),
            made.charge(day(n), "2", ref=f"d{n}", **{"tags/team": "data"}),
            made.charge(day(n), "1", ref=f"n{n}", service="NETWORK", **{"tags/team": ""}),
        ]
        if n == 3:
            rows.append(made.charge(day(n), "7", ref="u3", **{"tags/team": "lab"}))
        made.deliver(f"r{n}", *rows, on=day(n))
    assert not made.run().problems
    return made


def write(acme: Company, text: str) -> None:
    """Other rules from now on."""
    (acme.folder / "rules.yaml").write_text(text)


def rebuilt(acme: Company) -> list[date]:
    """The days that the next run makes anew."""
    report = acme.run()
    assert not report.problems
    return list(report.rebuilt.get("acme-oci", ()))


def sets_by_day(acme: Company) -> dict[date, set[str]]:
    """The rule sets that are stored beside each day's figures."""
    found: dict[date, set[str]] = defaultdict(set)
    for row in acme.rows("allocated_costs"):
        found[row["x_ChargeDay"]].add(row["x_RuleSet"])
    return dict(found)


def other(*changes: str) -> str:
    """RULES with each `old => new` of these applied."""
    text = RULES
    for change in changes:
        old, new = change.split(" => ")
        assert old in text
        text = text.replace(old, new)
    return text


NET = "match: {ServiceName: NETWORK}"
ALL = [1, 2, 3, 4, 5, 6]
CHANGES = {
    "an alias that one day has": (other("storefront: web => storefront: web, lab: ops"), [3]),
    "an alias that nothing has": (other("storefront: web => storefront: web, x: ops"), []),
    "an alias from a day on": (
        other(
            "{storefront: web}} => {storefront: web}, to: 2025-01-04}",
            "tags: [ => tags: [{key: team, aliases: {storefront: ops}, from: 2025-01-05}, ",
        ),
        [5, 6],
    ),
    "a scope without charges": (other("path: other => path: another"), []),
    "a pool without charges": (
        other("pools: [ => pools: [{name: sup, match: {ServiceName: SUPPORT}, drivers: even}, "),
        [],
    ),
    "another driver": (other("drivers: cost => drivers: even"), ALL),
    "another driver from a day on": (
        other(
            "name: net => name: net, to: 2025-01-05",
            f"pools: [ => pools: [{{name: net, drivers: even, from: 2025-01-06, {NET}}}, ",
        ),
        [6],
    ),
    "an owner who ends": (other("data, ops] => {name: data, to: 2025-01-02}, ops]"), [3, 4, 5, 6]),
    "the order of owners": (other("[web, data, ops] => [ops, web, data]"), []),
    "an owner who goes elsewhere from a day on": (
        other("[web, => [{name: web, to: 2025-01-04}, {name: web, parent: ops, from: 2025-01-05},"),
        [5, 6],
    ),
    "an owner without shares who goes elsewhere": (
        other("data, ops] => data, {name: ops, parent: web}]"),
        [],
    ),
    "an owner who is new": (other("data, ops] => data, ops, new]"), []),
    "an owner who is new, and takes a part": (
        other("data, ops] => data, ops, new]", "drivers: cost => drivers: {fixed: {new: 1}}"),
        ALL,
    ),
}


@pytest.mark.parametrize(("text", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_rebuilds_the_days_it_can_affect(
    acme: Company, text: str, expected: list[int]
) -> None:
    before = sets_by_day(acme)
    write(acme, text)
    with dg.DagsterInstance.ephemeral() as instance:
        spans = asked(ask(acme, instance, "acme_oci__stale_days"))
    assert _days(spans) == [day(n) for n in expected]

    assert rebuilt(acme) == [day(n) for n in expected]

    (rule_set,) = {acme.pipeline.rules.hash}
    after = sets_by_day(acme)
    assert {d for d in after if after[d] != before[d]} == {day(n) for n in expected}
    assert all(after[day(n)] == {rule_set} for n in expected)
    assert rebuilt(acme) == []


def _days(spans: dict[Span, str]) -> list[date]:
    found = []
    for start, end in spans:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
        found += [date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1)]
    return sorted(found)


@pytest.mark.parametrize("stopped_at", ["ownership", "shares", "rule_changes", "allocated_costs"])
def test_a_run_that_was_stopped_between_two_tables_is_done_again(
    acme: Company, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    """Decisions that are newer than the figures do not make the figures count as current."""
    write(acme, CHANGES["an alias that one day has"][0])
    replace = LakeTable.replace

    def stopping(table: LakeTable, *arguments: Any, **further: Any) -> bool:
        if table.table.name == stopped_at:
            raise OSError("the power went")
        return replace(table, *arguments, **further)

    with monkeypatch.context() as broken:
        broken.setattr(LakeTable, "replace", stopping)
        assert acme.run().problems
    assert "ops" not in _by_owner_of(acme, 3)

    assert rebuilt(acme) == [day(3)]

    assert _by_owner_of(acme, 3)["ops"] > 7
    logged = [c.values for c in rule_changes(acme.pipeline.home) if c.values["previous"]]
    assert len(logged) == len({c["owner"] for c in logged}) > 0, "the change is logged once"
    assert rebuilt(acme) == []


def _by_owner_of(acme: Company, number: int) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in acme.rows("allocated_costs"):
        if row["x_ChargeDay"] == day(number):
            found[row["x_BusinessUnit"]] += row["EffectiveCost"]
    return dict(found)


def test_a_run_that_makes_all_anew_comes_to_the_same(acme: Company, tmp_path: Path) -> None:
    write(acme, CHANGES["an alias that one day has"][0])
    acme.run()
    other = Company(tmp_path / "other", options=acme.options)
    for path in sorted(acme.place().iterdir()):
        (other.place() / path.name).write_bytes(path.read_bytes())
    other.run()

    def figures(company: Company) -> list[tuple[str, ...]]:
        rows = company.rows("allocated_costs")
        left = ("x_RuleSet", "x_AllocationId", "x_OwnershipId", "AllocatedMethodId")
        return sorted(tuple(f"{k}={v}" for k, v in r.items() if k not in left) for r in rows)

    assert figures(acme) == figures(other)


def test_what_is_foretold_comes_true(acme: Company) -> None:
    old = acme.pipeline.rules
    before = _by_owner(acme)
    text = RULES.replace("storefront: web", "storefront: ops, lab: data")
    write(acme, text.replace("drivers: cost", "drivers: {fixed: {web: 1, data: 2}}"))
    found = _foretold(acme, old)
    assert found.days == {"acme-oci": tuple(day(n) for n in range(1, 7))}
    assert _by_owner(acme) == before, "nothing is rebuilt by looking"

    acme.run()

    after = _by_owner(acme)
    assert {o: b for (_, o), (b, _) in found.totals.items() if b} == before
    assert {o: a for (_, o), (_, a) in found.totals.items() if a} == after
    moved: dict[str, Decimal] = defaultdict(Decimal)
    for move in found.moves:
        moved[move.source_owner] -= move.cost
        moved[move.target_owner] += move.cost
        assert move.cost > 0
    assert {o: c for o, c in moved.items() if c} == {
        owner: after.get(owner, Decimal(0)) - before.get(owner, Decimal(0))
        for owner in before.keys() | after.keys()
        if after.get(owner) != before.get(owner)
    }
    # By hand: 1.5 + 2.5 + … + 6.5 of web's own goes to ops, 7 of the third day to data.
    direct = {(m.before, m.after): m.cost for m in found.moves if "pool" not in m.before}
    assert direct == {("web", "ops"): Decimal(24), ("unallocated", "data"): Decimal(7)}
    assert not any(_foretold(acme, acme.pipeline.rules).days.values())


def _foretold(acme: Company, old: object) -> RulesDiff:
    pipeline = acme.pipeline
    with pipeline.engine() as engine:
        return rules_diff(pipeline.home, engine, old, pipeline.rules, ["acme-oci"])  # type: ignore[arg-type]


def _by_owner(acme: Company) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in acme.rows("allocated_costs"):
        found[row["x_BusinessUnit"]] += row["EffectiveCost"]
    return dict(found)


BIG, BIGGER = Decimal("123456789012.000000000000000001"), Decimal("987654321098.3")


def test_changes_of_thirty_digits_are_foretold_to_the_last(acme: Company) -> None:
    """As bills in rupiah have them: more digits than Decimal keeps unless it is told to."""
    rows = [
        acme.charge(day(7), str(cost), ref=f"big{i}", **{"tags/team": "lab"})
        for i, cost in enumerate((BIG, BIGGER))
    ]
    acme.deliver("r7", *rows, on=day(7))
    acme.run()
    old = acme.pipeline.rules
    write(acme, other("storefront: web => storefront: web, lab: ops"))
    found = _foretold(acme, old)
    whole = Decimal("1111111110117.300000000000000001")  # with the 7 of the third day
    assert [m.cost for m in found.moves if m.before == "unallocated"] == [whole]
    shown = {o["owner"]: o for o in json.loads(show_rules_diff(found, "json"))["owners"]}
    assert shown["unallocated"]["change"] == f"-{whole}"
    changes = {o: a - b for (_, o), (b, a) in found.totals.items() if o != "unallocated"}
    assert shown.keys() == {*changes, "unallocated"}


def test_rules_that_only_call_it_otherwise_move_nothing(acme: Company) -> None:
    old = acme.pipeline.rules
    write(acme, other("storefront: web => Storefront: web", "name: net, => name: wide,"))
    told = show_rules_diff(_foretold(acme, old))
    assert "The EffectiveCost of every owner stays as it is" in told
    assert "before" not in told


def test_every_change_is_logged_once_with_totals(acme: Company) -> None:
    first, before = acme.pipeline.rules.hash, _by_owner(acme)
    write(acme, CHANGES["an alias that one day has"][0])
    acme.run()
    acme.run()
    second, home = acme.pipeline.rules.hash, acme.pipeline.home

    lines = rule_changes(home, "acme-oci")

    newest = [c.values for c in lines if c.values["rule_set"] == second]
    assert {c["previous"] for c in newest} == {first}
    assert {(c["first_day"], c["last_day"], c["days"]) for c in newest} == {(day(3), day(3), 1)}
    assert {c["who"] for c in newest} == {getpass.getuser()}
    totals = {c["owner"]: (c["cost_before"], c["cost_after"]) for c in newest}
    assert totals["ops"][1] > 7 and totals["ops"][0] is None
    assert totals["unallocated"] == (Decimal(7), None)
    assert sum(a or 0 for _, a in totals.values()) == sum(b or 0 for b, _ in totals.values())
    begun = [c.values for c in lines if c.values["rule_set"] == first]
    assert {c["owner"]: c["cost_after"] for c in begun} == before
    assert all(c["previous"] is None and c["cost_before"] is None for c in begun)
    assert lines[0].changed_at >= lines[-1].changed_at
    assert len(lines) == len(newest) + len(begun)
    # Back again is a change too; and the rules of each are kept.
    write(acme, RULES)
    assert rebuilt(acme) == [day(3)]
    again = [c.values for c in rule_changes(home) if c.values["previous"] == second]
    assert {c["owner"]: c["cost_after"] for c in again} == {o: b for o, (b, _) in totals.items()}
    assert sorted(known_rules(home)) == sorted([first, second])
    assert rules_of(home, first) == load_rules(acme.folder / "rules.yaml")
    assert rules_of(home, "0" * 32) is None


def test_a_change_made_again_after_it_was_undone_is_logged_again(acme: Company) -> None:
    """The same figures each time: an entry is told from an earlier one by when it was made."""
    first = acme.pipeline.rules.hash
    changed = CHANGES["an alias that one day has"][0]
    for text in (changed, RULES, changed, RULES):
        write(acme, text)
        assert rebuilt(acme) == [day(3)]
        assert rebuilt(acme) == []
    entries = {
        c.changed_at: (c.values["previous"], c.values["rule_set"])
        for c in rule_changes(acme.pipeline.home)
    }
    write(acme, changed)
    second = acme.pipeline.rules.hash
    assert [entries[moment] for moment in sorted(entries)] == [
        (None, first),
        *[(first, second), (second, first)] * 2,
    ]


def test_rules_that_would_be_refused_now_are_still_known(
    acme: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of an older release lead to the rules that made them."""
    row = "{date: 2025-01-01, owner: web, weight: %s}"
    twice = RULES + f"weights: {{heads: [{row % 1}, {row % 2}]}}\n"
    write(acme, twice.replace("drivers: cost", "drivers: {weights: heads}"))
    with monkeypatch.context() as older:
        older.setattr("finops_pipeline.allocate.findings.findings", lambda rules: ())
        rules = acme.pipeline.rules
        assert rebuilt(acme) == [day(n) for n in ALL]
    with pytest.raises(ConfigError, match="has a weight of 2025-01-01 already"):
        load_rules(acme.folder / "rules.yaml")
    assert rules_of(acme.pipeline.home, rules.hash) == rules


PLATFORM = (
    "pools: [{name: platform, match: {ServiceName: PLATFORM}, drivers: {fixed: {web: 1, net: 3}},"
    " recipients: [web, net]}, "
)


def test_a_pool_may_rest_on_earlier_shares_of_a_pool_that_it_feeds(acme: Company) -> None:
    """Day 7 has cost of the platform alone: what of it goes to the network is as on day 6."""
    text = other("drivers: cost => drivers: [cost, last known]", f"pools: [ => {PLATFORM}")
    write(acme, text)
    shared = acme.charge(day(7), "8", ref="p7", service="PLATFORM", **{"tags/team": ""})
    acme.deliver("r7", shared, on=day(7))
    assert day(7) in rebuilt(acme)
    # Of web's 6.5 and data's 2 on day 6.
    assert _shares(acme, 7) == {"web": "14/17", "data": "3/17"}
    assert rebuilt(acme) == [], "and nothing is left to do"

    acme.deliver("late", acme.charge(day(6), "1.5", ref="l6", **{"tags/team": "data"}), on=day(9))
    assert rebuilt(acme) == [day(6)]  # and then the day that rests on it
    assert _shares(acme, 7) == {"web": "59/80", "data": "21/80"}
    assert rebuilt(acme) == []


def test_days_that_rest_on_a_day_of_other_rules_are_foretold(acme: Company) -> None:
    text = other("drivers: cost => drivers: [cost, last known]")
    write(acme, text)
    shared = acme.charge(day(7), "3", ref="n7", service="NETWORK", **{"tags/team": ""})
    acme.deliver("r7", shared, on=day(7))
    acme.run()
    old, before = acme.pipeline.rules, _by_owner(acme)
    # The sixth day alone: what web had is ops'.
    alias = "tags: [{key: team, aliases: {storefront: "
    write(
        acme,
        text.replace("tags: [{key: team, aliases: {storefront: web}}]", (
            f"{alias}web}}, to: 2025-01-05}}, {{key: team, aliases: {{storefront: ops}}, "
            "from: 2025-01-06, to: 2025-01-06}, {key: team, aliases: {storefront: web}, "
            "from: 2025-01-07}]"
        )),
    )  # fmt: skip
    found = _foretold(acme, old)
    assert found.days == {"acme-oci": (day(6), day(7))}

    acme.run()

    after = _by_owner(acme)
    changes = {o: a - b for (_, o), (b, a) in found.totals.items() if a != b}
    names = before.keys() | after.keys()
    moved = {o: after.get(o, Decimal(0)) - before.get(o, Decimal(0)) for o in names}
    assert changes == {o: change for o, change in moved.items() if change}
    assert sum(changes.values()) == 0 and changes["ops"] > Decimal("6.5") + 2
    assert rebuilt(acme) == []


def test_days_rest_on_the_last_shares_that_were_known(acme: Company) -> None:
    """Day 7 has no direct cost: it is split as day 6 was, and again when day 6 changes."""
    write(acme, other("drivers: cost => drivers: [cost, last known]"))
    shared = acme.charge(day(7), "3", ref="n7", service="NETWORK", **{"tags/team": ""})
    acme.deliver("r7", shared, on=day(7))
    assert rebuilt(acme) == [day(n) for n in (*ALL, 7)]
    assert _drivers(acme, 7) == {"last known of 2025-01-06"}
    assert _shares(acme, 7) == _shares(acme, 6)

    acme.deliver("late", acme.charge(day(6), "100", ref="l6", **{"tags/team": "data"}), on=day(9))
    assert rebuilt(acme) == [day(6)]  # and then the day that rests on it
    assert _shares(acme, 7) == _shares(acme, 6)
    assert rebuilt(acme) == []

    acme.deliver("own", acme.charge(day(7), "1", ref="o7", **{"tags/team": "data"}), on=day(9))
    assert rebuilt(acme) == [day(7)]
    assert _drivers(acme, 7) == {"cost"}
    assert _shares(acme, 7) == {"data": "1/1"}


def _drivers(acme: Company, number: int) -> set[str]:
    return {r["driver"] for r in acme.rows("shares") if r["charge_day"] == day(number)}


def _shares(acme: Company, number: int) -> dict[str, str]:
    rows = acme.rows("shares")
    return {r["owner"]: r["fraction"] for r in rows if r["charge_day"] == day(number)}


def test_a_day_once_found_unaffected_is_not_decided_again(
    acme: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[list[date]] = []
    look = affected._decided_otherwise

    def counted(*given: Any) -> set[date]:
        looked_at.append(list(given[-1]))
        return look(*given)

    monkeypatch.setattr(affected, "_decided_otherwise", counted)
    write(acme, CHANGES["an alias that nothing has"][0])
    assert rebuilt(acme) == rebuilt(acme) == []
    assert looked_at == [[day(n) for n in ALL]]
    write(acme, CHANGES["an alias that one day has"][0])
    assert (rebuilt(acme), rebuilt(acme)) == ([day(3)], [])
    # The third is made by these rules now; the others have another set of neighbours once.
    others = [day(n) for n in ALL if n != 3]
    assert looked_at[1:] == [[day(n) for n in ALL], others]
    assert rebuilt(acme) == []
    assert len(looked_at) == 3
