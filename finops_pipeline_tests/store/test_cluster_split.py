"""A cluster's cost through the whole pipeline: split, told, rebuilt where its usage is new."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from finops_pipeline.allocate.rules import Rules
from finops_pipeline.config import Cluster
from finops_pipeline.exact_yaml import read_yaml
from finops_pipeline.orchestration.partitions import range_tags
from finops_pipeline.query.answer import ask as ask_lake
from finops_pipeline.query.diff import diff
from finops_pipeline.query.effects import left_by
from finops_pipeline.query.explain import explain
from finops_pipeline.query.model import CostQuery
from finops_pipeline.query.rules_diff import rules_diff
from finops_pipeline.query.show_explanation import show_explanation
from finops_pipeline_tests.ingest.opencost_files import allocation, answer, idle
from finops_pipeline_tests.orchestration.company import Company, asset, day
from finops_pipeline_tests.orchestration.test_automation import ask, asked

D = Decimal
RULES = """
owners: [web, data, ops]
tags: [{key: team}]
scopes: [{path: prod-1/shop, owner: web, provider: Kubernetes}]
clusters:
  - name: prod-1
    match: {"tag:cluster": prod-1}
    weights: {cpu: 4, memory: 1}
    measure: request
    idle: ops
    otherwise: last known
"""
# Of 24 hours: 960 + 480 and 240 + 480, and 480 + 240 idle: parts 1/2, 1/4 and 1/4.
SHOP = {"namespace": "shop", "kind": "deployment", "name": "web", "cores": "10", "gib": "20"}
LOAD = {"namespace": "etl", "kind": "cronjob", "name": "load", "cores": "2.5", "gib": "20"}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """Four days of a node's cost and another charge; usage is known of the first two."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "opencost").mkdir()
    cluster = Cluster(name="prod-1", opencost=tmp_path / "opencost")
    made = Company(tmp_path, options={"rules": tmp_path / "rules.yaml", "clusters": (cluster,)})
    for n in range(1, 5):
        node = made.charge(day(n), "100", ref=f"n{n}", **{"tags/cluster": "prod-1"})
        other = made.charge(day(n), "7", ref=f"o{n}", **{"tags/cluster": "", "tags/team": "data"})
        made.deliver(f"r{n}", node, other, on=day(n))
    known(made, 1)
    known(made, 2)
    return made


def known(acme: Company, number: int, **shop: str) -> None:
    """OpenCost's answer about a day."""
    on = day(number)
    found = answer(
        on,
        allocation(on, **{**SHOP, **shop}),
        allocation(on, **LOAD, labels={"team": "data"}),
        idle(on, cpu="5", memory="10"),
    )
    (acme.folder / "opencost" / f"{on}.json").write_text(found)


def by_taker(acme: Company, on: date) -> dict[str, Decimal]:
    """What went where on a day of the cluster's 100."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in acme.rows("allocated_costs"):
        if row["x_ChargeDay"] == on and row["x_Pool"] == "prod-1":
            found[f"{row['x_BusinessUnit']} {row['AllocatedResourceId']}"] += row["BilledCost"]
    return dict(found)


def rebuilt(acme: Company) -> list[date]:
    """The days that the next run makes anew."""
    report = acme.run()
    assert not report.problems
    return list(report.rebuilt.get("acme-oci", ()))


def test_a_cluster_is_split_to_workloads(acme: Company) -> None:
    assert rebuilt(acme) == acme.days(4)
    assert by_taker(acme, day(1)) == {
        "web prod-1/shop/deployment/web": D(50),
        "data prod-1/etl/cronjob/load": D(25),
        "ops prod-1/__idle__": D(25),
    }
    assert by_taker(acme, day(4)) == {"web web": D(50), "data data": D(25), "ops ops": D(25)}
    assert set(acme.costs().values()) == {D(107)}
    assert rebuilt(acme) == []
    before = acme.versions()
    acme.run()
    assert acme.versions() == before


def test_the_columns_of_focus_say_what_it_went_to(acme: Company) -> None:
    acme.run()
    (row,) = _rows(acme, day(1), "prod-1/etl/cronjob/load")
    assert row["AllocatedResourceName"] == "etl/cronjob/load"
    assert json.loads(row["AllocatedTags"]) == {
        "team": "data",
        "x_BusinessUnit": "data",
        "x_BusinessUnitPath": "data",
        "x_Cluster": "prod-1",
        "x_Namespace": "etl",
        "x_Workload": "cronjob/load",
    }
    assert json.loads(row["AllocatedMethodDetails"], parse_float=D) == {
        "Elements": [
            {
                "AllocatedRatio": ratio,
                "UsageUnit": unit,
                "UsageQuantity": hours,
                "x_Driver": "workloads by requests",
                "x_Fraction": "1/4",
            }
            # of 720 that it weighs 240 are CPU's; to the last digit a quarter together
            for ratio, unit, hours in (
                (D("0.083333333333333333"), "Core-Hours", 60),
                (D("0.166666666666666667"), "GiB-Hours", 480),
            )
        ]
    }
    assert (row["x_Tier"], row["x_Rule"]) == ("pool", "cluster prod-1")


def test_cost_is_asked_for_by_namespace(acme: Company) -> None:
    acme.run()
    query = CostQuery(by=("cluster", "namespace", "workload"), since=day(1), until=day(2))
    with acme.pipeline.engine() as engine:
        found = ask_lake(acme.pipeline.home, engine, query)
    assert {row[:-1]: row[-1] for row in found.rows} == {
        ("prod-1", "shop", "deployment/web"): D(100),
        ("prod-1", "etl", "cronjob/load"): D(50),
        ("prod-1", "__idle__", None): D(50),
        (None, None, None): D(14),
    }


def test_it_is_explained(acme: Company) -> None:
    acme.run()
    (row,) = _rows(acme, day(1), "prod-1/etl/cronjob/load")
    with acme.pipeline.engine() as engine:
        found = explain(acme.pipeline.home, engine, row["x_AllocationId"])
    assert found.adds_up and found.own_share and found.own_share.place == "prod-1/etl/cronjob/load"
    told = show_explanation(found)
    assert "cluster prod-1 (tier pool)" in told and '"measure": "request"' in told
    assert (
        "Workload: prod-1/etl/cronjob/load: 60 core hours, 480 GiB hours; tag team: "
        'team = "data" (name of the owner); labels {"team": "data"}'
    ) in told


def _rows(acme: Company, on: date, resource: str) -> list[dict[str, Any]]:
    rows = acme.rows("allocated_costs")
    return [r for r in rows if r["x_ChargeDay"] == on and r["AllocatedResourceId"] == resource]


def test_new_usage_makes_its_day_stale_and_those_that_rest_on_it(acme: Company) -> None:
    acme.run()
    known(acme, 2, cores="12.5")  # in place of what was told of the day before
    assert rebuilt(acme) == [day(2)]  # and then those that rest on it
    shop = D("53.8461538462")  # 1680 of 1680 + 720 + 720
    assert by_taker(acme, day(2))["web prod-1/shop/deployment/web"] == shop
    assert [by_taker(acme, day(n))["web web"] for n in (3, 4)] == [shop, shop]
    assert rebuilt(acme) == []
    known(acme, 4)
    assert rebuilt(acme) == [day(4)]
    assert "web prod-1/shop/deployment/web" in by_taker(acme, day(4))


def test_what_new_usage_moved_is_told_by_namespace(acme: Company) -> None:
    acme.run()
    then = datetime.now(UTC)
    known(acme, 2, cores="12.5")
    acme.run()
    query = CostQuery(by=("namespace",), since=day(2), until=day(2), filters={"pool": ("prod-1",)})
    with acme.pipeline.engine() as engine:
        found = diff(acme.pipeline.home, engine, query, then)
    assert {line.names: (line.before, line.after) for line in found.lines} == {
        ("shop",): (D(50), D("53.8461538462")),
        ("etl",): (D(25), D("23.0769230769")),
        ("__idle__",): (D(25), D("23.0769230769")),
    }
    causes = {cause.kind for line in found.lines for cause in line.causes}
    assert causes == {"shares"}


def test_new_usage_of_a_day_is_seen_by_the_sensor(acme: Company) -> None:
    acme.run()
    known(acme, 3)
    with acme.pipeline.working_on("cluster prod-1"):
        assert acme.pipeline.usage(acme.settings.clusters[0]).load([]).days == [day(3)]
    with dg.DagsterInstance.ephemeral() as instance:
        assert list(asked(ask(acme, instance, "acme_oci__stale_days"))) == [
            ("2025-01-03", "2025-01-03")
        ]


def test_idle_without_a_capacity_is_told_and_the_last_good_data_stays(acme: Company) -> None:
    acme.run()
    before = by_taker(acme, day(1))
    for path in (acme.folder / "opencost").iterdir():
        sets = json.loads(path.read_text())
        sets["data"] = [{k: v for k, v in one.items() if "idle" not in k} for one in sets["data"]]
        path.write_text(json.dumps(sets))
    report = acme.run()
    assert any("clusters: prod-1: idle is 'ops', but its usage" in p for p in report.problems)
    assert by_taker(acme, day(1)) == before


CHANGES: Mapping[str, tuple[str, str, list[int]]] = {
    "another owner of a namespace": ("owner: web,", "owner: ops,", [1, 2]),
    "a scope of another cluster": ("scopes: [", "scopes: [{path: dev/x, owner: ops}, ", []),
    "idle unallocated": ("idle: ops", "idle: unallocated", [1, 2, 3, 4]),
    "another measure": ("measure: request", "measure: usage", [1, 2, 3, 4]),
}


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES.values(), ids=CHANGES)
def test_other_rules_rebuild_what_they_change(
    acme: Company, old: str, new: str, expected: list[int]
) -> None:
    acme.run()
    assert old in RULES
    (acme.folder / "rules.yaml").write_text(RULES.replace(old, new))
    assert rebuilt(acme) == [day(n) for n in expected]
    assert rebuilt(acme) == []


def test_what_other_rules_would_move_is_foretold(acme: Company) -> None:
    acme.run()
    new = Rules.model_validate(read_yaml(RULES.replace("idle: ops", "idle: unallocated")))
    with acme.pipeline.engine() as engine:
        found = rules_diff(acme.pipeline.home, engine, acme.pipeline.rules, new, ["acme-oci"])
    (move,) = found.moves
    assert (move.source_owner, move.target_owner, move.cost) == ("ops", "unallocated", D(100))
    assert found.days == {"acme-oci": tuple(acme.days(4))}


def test_what_other_rules_would_leave_unallocated_is_told_of_workloads_too(acme: Company) -> None:
    acme.run()
    others = {
        # a quarter of 4 x 100 was load's; and 4 x 7 of another charge
        RULES.replace("tags: [{key: team}]", "tags: []"): D(128),
        RULES.replace("idle: ops", "idle: unallocated"): D(100),
        RULES.replace("owner: web,", "owner: ops,"): D(0),
    }
    sets = [Rules.model_validate(read_yaml(text)) for text in others]
    with acme.pipeline.engine() as engine:
        left = left_by(acme.pipeline.home, engine, [acme.pipeline.rules, *sets])
    assert [costs.get("USD", D(0)) for costs in left] == [D(0), *others.values()]


def test_usage_is_an_asset_that_shares_rest_on(acme: Company) -> None:
    usage = dg.AssetKey(["cluster_usage", "prod_1"])
    graph = acme.definitions().resolve_asset_graph()
    assert usage in graph.get(asset("shares")).parent_keys
    definitions = acme.definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)],
            selection=[usage],
            instance=instance,
            resources=definitions.resources,
            tags=range_tags(day(2), day(3)),
        )
        checks = {e.partition: e.passed for e in result.get_asset_check_evaluations()}
    assert result.success and checks == {"2025-01-02": True, "2025-01-03": False, None: False}
    assert {(r["charge_day"], r["cpu_capacity"]) for r in acme.rows("cluster_usage")} == {
        (day(1), D(420)),
        (day(2), D(420)),
    }
