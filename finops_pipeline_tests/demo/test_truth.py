"""The truth that a tenancy's maker tells equals what an independent reader of its files counts."""

from __future__ import annotations

import csv
from collections import defaultdict
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from finops_pipeline.demo import Truth, make_tenancy, read_truth
from finops_pipeline_tests.demo.conftest import Made
from finops_pipeline_tests.demo.recount import Line, Tally, by_day, counting, lines

Rules = dict[str, Any]


@pytest.mark.parametrize("format_", ["cost", "focus"])
def test_delivered_net_and_superseded_are_true_to_the_last_digit(made: Made, format_: str) -> None:
    delivered = by_day(made.lines(format_))
    net = by_day(counting(made.lines(format_), made.truth.corrections))
    told = {(d.currency, d.day.isoformat()): d for d in made.truth.days}
    assert told.keys() == delivered.keys() == net.keys()
    for key, day in told.items():
        assert (day.delivered_rows, day.delivered_cost) == _both(delivered[key])
        assert (day.net_rows, day.net_cost) == _both(net[key])
        assert day.superseded_rows == delivered[key].rows - net[key].rows
        assert day.superseded_cost == delivered[key].cost - net[key].cost


def test_owners_are_those_that_the_rules_lead_to(made: Made) -> None:
    paths = _compartment_paths(made.folder)
    rules = _rules()
    owned: dict[tuple[str, str, str, str], Tally] = defaultdict(Tally)
    for line in counting(made.cost, made.truth.corrections):
        owner, tier = _owner(line, paths[line.compartment_id], rules)
        owned[line.currency, line.day, owner, tier].add(line.cost)
    told = {
        (o.currency, o.day.isoformat(), o.owner, o.tier): (o.rows, o.cost)
        for o in made.truth.owners
    }
    assert told == {key: _both(tally) for key, tally in owned.items()}
    assert {key[3] for key in told} == {"tag", "scope", "pool", "unallocated"}
    assert {key[2] for key in told} >= {"shared-network", "shared-database", "support"}


def test_both_formats_tell_of_the_same_charges(adding: Made) -> None:
    def charges(some: list[Line]) -> list[tuple[object, ...]]:
        return sorted(
            (
                line.reference,
                line.corrects,
                line.start,
                line.currency,
                line.cost,
                line.quantity,
                line.service,
                line.compartment_id,
                line.resource,
                line.tags,
            )
            for line in some
        )

    assert charges(adding.cost) == charges(adding.focus)


def test_files_and_their_lines_are_told(made: Made) -> None:
    counted: dict[str, int] = defaultdict(int)
    for line in made.cost + made.focus:
        counted[line.file] += 1
    assert {f.path: f.rows for f in made.truth.files} == counted
    for file in made.truth.files:
        assert (made.folder / file.path).stat().st_mtime == file.delivered_at.timestamp()
    assert made.truth.rows == len(made.cost) == len(made.focus)


def test_written_truth_reads_back_the_same(made: Made) -> None:
    assert read_truth(made.folder / "truth.json") == made.truth


def test_spikes_are_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spikes") / "t"
    truth: Truth = make_tenancy(folder, days=28, rows=70_000, formats={"cost"})
    paths, rules = _compartment_paths(folder), _rules()
    by: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for line in lines(folder, "cost"):
        if line.service in {a.service for a in truth.anomalies}:
            owner, _ = _owner(line, paths[line.compartment_id], rules)
            by[line.service, owner, line.day] += line.cost
    assert len(truth.anomalies) == 3
    for spike in truth.anomalies:
        series = {d: c for (s, o, d), c in by.items() if (s, o) == (spike.service, spike.owner)}
        on_the_day = series.pop(spike.day.isoformat())
        assert on_the_day > max(series.values()) * spike.factor / 3
        assert on_the_day > sum(series.values(), Decimal(0)) / len(series) * spike.factor / 2


def _both(tally: Tally) -> tuple[int, Decimal]:
    return tally.rows, tally.cost


def _rules() -> Rules:
    text = (files("finops_pipeline.demo") / "data/rules.yaml").read_text(encoding="utf-8")
    rules: Rules = yaml.safe_load(text)
    return rules


def _compartment_paths(folder: Path) -> dict[str, str]:
    with (folder / "compartments.csv").open(encoding="utf-8") as file:
        return {row["id"]: row["path"] for row in csv.DictReader(file)}


def _owner(line: Line, path: str, rules: Rules) -> tuple[str, str]:
    tags = dict(line.tags)
    keys = [
        (key, rule["aliases"])
        for rule in rules["tags"]
        for key in (rule["key"] if isinstance(rule["key"], list) else [rule["key"]])
    ]
    for key, names in keys:
        value = tags.get(key, "").strip().casefold()
        aliases = {k.casefold(): v for k, v in names.items()}
        owner = aliases.get(value, value)
        if owner in rules["owners"]:
            return owner, "tag"
    known = [r for r in rules["scopes"] if "provider" not in r]  # the others are not OCI's
    above = [r for r in known if f"{path}/".startswith(f"{r['path']}/")]
    if above:
        return str(max(above, key=lambda r: len(str(r["path"])))["owner"]), "scope"
    for pool in rules["pools"]:
        match: dict[str, Any] = pool["match"]
        services = match.get("ServiceName", [])
        if line.service in services or match.get("scope") == path:
            return str(pool["name"]), "pool"
    return "unallocated", "unallocated"
