"""Tag compliance and drift: by hand, and summed in plain Python over the lake's rows."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from finops_pipeline.allocate.rules import Rules
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.lake.home import Home
from finops_pipeline.query.show_tagging import percent, show_tagging
from finops_pipeline.query.tagging import Drift, Spell, Tagging, tagging
from finops_pipeline_tests.query.made_lake import Charge, charge, home_with

D = Decimal
RULES = Rules.model_validate(
    {
        "owners": ["web", "data"],
        "tags": [
            {"key": "team", "aliases": {"store": "web"}, "invalid": ["n/a"], "to": "2025-03-04"},
            {"key": "team", "aliases": {"shop": "web"}, "from": "2025-03-05"},
            {"key": "cost-center", "patterns": [{"match": "cc-1.*", "owner": "data"}],
             "providers": ["AWS"]},
        ],
    }
)  # fmt: skip


def on(day: int, cost: str, team: str | None, resource: str | None = "vm", **more: Any) -> Charge:
    tags = {} if team is None else {"team": team}
    columns = {"x_BusinessUnit": "web", "SubAccountId": "a", "ResourceId": resource}
    columns |= {"Tags": json.dumps(tags | more.pop("tags", {}))}
    return charge(cost, date(2025, 3, day), **(columns | more))


CHARGES = [
    on(1, "10", "web", "one"), on(2, "5", " STORE ", "two"), on(3, "1", "n/a", "two"),
    on(4, "2", "lab", "three"), on(5, "7", "store", "two"), on(6, "4", "shop", "two"),
    on(7, "0.5", None, "one"), on(8, "0.25", " ", None), on(8, "3", None, None, Tags=None),
    on(9, "20", "data", "four", x_BusinessUnit="data", SubAccountId=None),
    on(9, "6", None, "five", ProviderName="AWS", tags={"cost-center": "cc-17"}, SubAccountId="p"),
    on(9, "2", None, "six", ProviderName="AWS", tags={"cost-center": "x"}, SubAccountId="p"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with(tmp_path, CHARGES)


@pytest.fixture
def found(home: Home, engine: DuckDBEngine) -> Tagging:
    return tagging(home, engine, RULES)


def test_compliance_by_hand(found: Tagging) -> None:
    """`store` names web until 4 March alone, `shop` from then on; cost-center is for AWS alone."""
    told = {(t.key, t.owner, t.account): tuple(t.costs.values()) for t in found.tagged}
    assert told == {
        # valid: 10 of web, 5 of STORE, 4 of shop; invalid: n/a, lab, store on the fifth
        ("team", "web", "a"): (D(19), D(10), D("3.75")),
        ("team", "web", "p"): (0, 0, D(8)),
        ("team", "data", None): (D(20), 0, 0),
        ("cost-center", "web", "p"): (D(6), D(2), 0),
    }
    by_place = {(t.key, t.owner, t.account): t for t in found.tagged}
    web = by_place["team", "web", "a"]
    assert [web.share(s) for s in ("valid", "invalid", "none")] == [
        Fraction(19 * 4, 131), Fraction(10 * 4, 131), Fraction(15, 131),
    ]  # fmt: skip


def test_the_cost_is_that_of_the_lake(home: Home, found: Tagging) -> None:
    expected: dict[tuple[str, str | None], Decimal] = defaultdict(Decimal)
    for uri in DeltaTable(Path(home.path) / "lake" / "allocated_costs").file_uris():
        for row in pq.ParquetFile(uri).read().to_pylist():
            place = row["x_BusinessUnit"], row["SubAccountId"]
            expected[place] += row["x_ReportingEffectiveCost"]
    assert {(t.owner, t.account): t.total for t in found.tagged if t.key == "team"} == expected


def test_drift_by_hand(found: Tagging) -> None:
    """One lost its tag, two had four values; three and four kept theirs; no resource, no drift."""
    two, one = found.drifts

    def spell(value: str | None, first: int, cost: str) -> Spell:
        return Spell(value, date(2025, 3, first), date(2025, 3, first), D(cost))

    assert two == Drift(
        "acme-oci", "a", "two", "team",
        (spell(" STORE ", 2, "5"), spell("n/a", 3, "1"), spell("store", 5, "7"),
         spell("shop", 6, "4")),
    )  # fmt: skip
    assert one == Drift(
        "acme-oci", "a", "one", "team", (spell("web", 1, "10"), spell(None, 7, "0.5"))
    )
    assert found.drifted == {"team": 2, "cost-center": 0}


def test_a_period_and_a_limit(home: Home, engine: DuckDBEngine) -> None:
    part = tagging(home, engine, RULES, date(2025, 3, 2), date(2025, 3, 5), top=1)
    (web,) = part.tagged
    assert tuple(web.costs.values()) == (D(5), D(10), 0)
    assert [d.resource for d in part.drifts] == ["two"]
    limited = tagging(home, engine, RULES, top=1)
    assert len(limited.drifts) == 1 and limited.drifted["team"] == 2
    assert "Drift of team: 2 resources, the 1 costliest" in show_tagging(limited)


def test_json_and_table(found: Tagging) -> None:
    content = json.loads(show_tagging(found, "json"))
    web = next(t for t in content["tags"] if (t["key"], t["account"]) == ("team", "a"))
    assert web["cost"] == {"valid": "19", "invalid": "10", "none": "3.75"}
    assert web["percent"] == {"valid": "58.0", "invalid": "30.5", "none": "11.5"}
    assert content["drift"][1]["values"][1] == {
        "value": None, "first_day": "2025-03-07", "last_day": "2025-03-07", "cost": "0.5",
    }  # fmt: skip
    lines = [line.split() for line in show_tagging(found).splitlines()]
    assert ["team", "web", "a", "32.75", "58.0", "30.5", "11.5"] in lines
    assert "web (2025-03-01, 10.00) → (none) (2025-03-07, 0.50)" in show_tagging(found)


def test_what_has_no_share(tmp_path: Path, engine: DuckDBEngine) -> None:
    nothing = tagging(home_with(tmp_path, [on(1, "-1", "web")]), engine, RULES)
    (web,) = nothing.tagged
    assert web.share("valid") is None and percent(None) == ""
    assert percent(Fraction(1, 800)) == "0.1" and percent(Fraction(-2, 3)) == "-66.7"
    untagged = tagging(home_with(tmp_path / "x", [on(1, "1", "web")]), engine, Rules())
    assert "look at no tag" in show_tagging(untagged)
