"""Random histories: two steps differ by what plain Python finds, and causes say all of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import combinations
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.query import CostQuery
from finops_pipeline.query.diff import diff
from finops_pipeline_tests.query.history import EXACT, History, charge

RULES = """
owners: [web, data, ops]
tags: [{key: team, aliases: {shop: SHOP}}]
pools:
  - {name: net, match: {ServiceName: [NETWORK]}, drivers: cost}
  - {name: sup, match: {ServiceName: [SUPPORT]}, drivers: {fixed: {web: 1, data: 1, ops: 1}}}
"""
REPORT_KINDS = {"new", "repeated", "restated", "corrected", "rewritten", "restored"}
COSTS = st.decimals(-(10**6), 10**6, places=18).map(lambda d: format(d, "f"))


@dataclass(frozen=True)
class Row:
    """A line of a report."""

    ref: str
    cost: str
    on: int
    team: str
    service: str
    currency: str


ROWS = st.builds(
    Row,
    ref=st.sampled_from([f"ref-{n}" for n in range(6)]),
    cost=COSTS,
    on=st.integers(2, 3),
    team=st.sampled_from(["shop", "data", "", "ops"]),
    service=st.sampled_from(["COMPUTE", "COMPUTE", "NETWORK", "SUPPORT"]),
    currency=st.sampled_from(["USD", "USD", "EUR"]),
)
# A step: reports by name (a name may come again, rewritten), and perhaps other rules or rates.
STEPS = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(["r1", "r2", "r3"]), st.lists(ROWS, min_size=1, max_size=5), max_size=2
        ),
        st.sampled_from(["web", "web", "data"]),
        st.sampled_from(["1.1", "1.1", "1.234567890123"]),
    ),
    min_size=2,
    max_size=4,
)
BY = st.sampled_from(
    [
        ("day", "service", "owner"),
        ("owner",),
        (),
        ("tag:team", "currency"),
        ("rule", "tier", "pool"),
    ]
)


def walk(folder: Path, steps: list[tuple[dict[str, list[Row]], str, str]], policy: str) -> History:
    history = History(folder, corrections="replace" if policy == "replace" else "add")
    for number, (reports, shop, rate) in enumerate(steps):
        history.rules(RULES.replace("SHOP", shop))
        history.rates(f"2025-01-01,EUR,USD,{rate}")
        for name, rows in reports.items():
            made = [
                charge(r.team, r.cost, r.ref, r.on, service=r.service, currency=r.currency)
                for r in rows
            ]
            history.deliver(name, *made, on=5 + number)
        history.step()
    return history


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, by=BY, policy=st.sampled_from(["add", "replace"]))
def test_any_two_steps_differ_by_what_is_known_at_each(
    engine: DuckDBEngine,
    steps: list[tuple[dict[str, list[Row]], str, str]],
    by: tuple[str, ...],
    policy: str,
) -> None:
    with tempfile.TemporaryDirectory() as folder, localcontext(EXACT):
        history = walk(Path(folder), steps, policy)
        home = history.pipeline.home
        for first, second in combinations(range(len(steps)), 2):
            (then, _), (now, _) = history.steps[first], history.steps[second]
            if not history.costs(first, ("owner",), "BilledCost"):
                continue
            found = diff(home, engine, CostQuery(by=by), then, now)
            before = history.costs(first, by, "x_ReportingEffectiveCost")
            after = history.costs(second, by, "x_ReportingEffectiveCost")
            expected = {
                names: (before.get(names, Decimal(0)), after.get(names, Decimal(0)))
                for names in before.keys() | after.keys()
                if before.get(names, Decimal(0)) != after.get(names, Decimal(0))
            }
            assert {i.names: (i.before, i.after) for i in found.lines} == expected
            assert found.before == sum(before.values()) and found.after == sum(after.values())
            assert sum(i.change for i in found.lines) == found.change

            ruled = any(steps[n][1] != steps[first][1] for n in range(first + 1, second + 1))
            rated = any(steps[n][2] != steps[first][2] for n in range(first + 1, second + 1))
            allowed = REPORT_KINDS | {"shares"}
            allowed |= ({"rules"} if ruled else set()) | ({"exchange rate"} if rated else set())
            for each in found.lines:
                assert sum(c.change for c in each.causes) == each.change
                assert {c.kind for c in each.causes} <= allowed
                assert all((c.report is not None) == (c.kind in REPORT_KINDS) for c in each.causes)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(reports=st.lists(st.lists(ROWS, min_size=1, max_size=4), min_size=2, max_size=5))
def test_each_report_is_charged_with_what_it_brought_and_took(
    engine: DuckDBEngine, reports: list[list[Row]]
) -> None:
    """Without rules the oracle is a dictionary: the latest report's row of a charge stands."""
    with tempfile.TemporaryDirectory() as folder, localcontext(EXACT):
        history = History(Path(folder))
        standing: dict[tuple[int, str], tuple[Decimal, str]] = {}
        for number, rows in enumerate(reports):
            name = f"r{number}"
            made = [charge(r.team, r.cost, r.ref, r.on) for r in rows]
            history.deliver(name, *made, on=5 + number)
            history.step()
            if number == 0:
                known = _delivered({}, rows, name)
            standing = _delivered(standing, rows, name)
        found = diff(history.pipeline.home, engine, CostQuery(by=("day",)), history.steps[0][0])
        expected: dict[tuple[str, str], Decimal] = {}
        for key in known.keys() | standing.keys():
            (was, _), (cost, report) = known.get(key, (Decimal(0), "")), standing[key]
            place = (f"2025-01-{key[0]:02}", f"reports/cost-csv/{report}.csv.gz")
            expected[place] = expected.get(place, Decimal(0)) + cost - was
        told: dict[tuple[str, str], Decimal] = {}
        for each in found.lines:
            for cause in each.causes:
                assert cause.kind in REPORT_KINDS
                place = (str(each.names[0]), str(cause.report))
                told[place] = told.get(place, Decimal(0)) + cause.change
        shown = {each.names[0] for each in found.lines}
        assert told == {k: v for k, v in expected.items() if v and k[0] in shown}
        assert all(
            sum((v for k, v in expected.items() if k[0] == on), Decimal(0)) == 0
            for on in {k[0] for k in expected} - shown
        )


def _delivered(
    standing: dict[tuple[int, str], tuple[Decimal, str]], rows: list[Row], name: str
) -> dict[tuple[int, str], tuple[Decimal, str]]:
    return standing | {(r.on, r.ref): (Decimal(r.cost), name) for r in rows}
