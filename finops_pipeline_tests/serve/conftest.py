"""A small company in two months and three currencies, that was run, and a server over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.serve.server import Server, serving

RULES = """\
owners: [web, data, "shop, \\"zürich\\""]
tags:
  - key: team
    aliases: {lake: data}
pools:
  - name: rest
    match: {tag:team: [everybody]}
    drivers: {fixed: {web: 1, data: 2}}
"""


def shop_in(folder: Path) -> Place:
    """The company in a folder: by tag, by pool, by nothing, without a rate."""
    place = Place(folder)
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    (folder / "rates.csv").write_text(
        "date,from,to,rate\n2025-01-01,EUR,USD,1.1\n2025-02-01,EUR,USD,1.2\n", encoding="utf-8"
    )
    place.configure(rules="rules.yaml", rates="rates.csv")
    place.deliver(
        "one",
        row("1.005"),
        row("2.000000000000000001", team="lake"),
        row("10", team="everybody"),
        row("4", team="", day="2025-01-03"),
        row("100", currency="EUR"),
        row("700", currency="ARS", day="2025-01-03"),
    )
    place.deliver("two", row("3", day="2025-02-02", team="web"), on=date(2025, 2, 3))
    run(place)
    return place


def run(place: Place) -> None:
    """`finops run`; a cost without a rate makes it end with 1."""
    here = Path.cwd()
    os.chdir(place.folder)  # away from this project's own dagster.yaml
    try:
        done = place.finops("run")
        assert done.exit_code in (0, 1), done.output
        assert (place.folder / "home" / "lake" / "allocated_costs").exists(), done.output
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return shop_in(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def server(shop: Place) -> Iterator[Server]:
    with serving(shop.config) as found:
        yield found
