"""Rules of a large company for the made tenancy: 1,000 rules, 200 owners, the same every time.

What the made bills say in tags and scopes decides as by the demo's own rules. What that leaves goes
to the other owners: every one of them has resources of its own, named one by one. The rest of the
rules is there to be looked at: keys and scopes that no charge has, patterns that no value matches.
`python -m benchmarks.many_rules HOME RULES` writes them for the resources of a home.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.data import RULES as SMALL

OWNERS, TAGS, SCOPES, PLACES, POOLS = 200, 100, 600, 280, 20
RULES = TAGS + SCOPES + PLACES + POOLS
_DIVISIONS = 10


def make(small: dict[str, Any], resources: list[str]) -> dict[str, Any]:
    """The rules, with those of the demo among them; `resources` are what there is to own."""
    divisions = [f"division-{d}" for d in range(_DIVISIONS)]
    teams = [f"team-{t:03}" for t in range(OWNERS - len(small["owners"]) - _DIVISIONS)]
    owners = [*small["owners"], *divisions]
    owners += [{"name": t, "parent": divisions[i % _DIVISIONS]} for i, t in enumerate(teams)]
    return {
        "owners": owners,
        "tags": [*small["tags"], *_tags(teams, TAGS - len(small["tags"]))],
        "places": _places(teams, resources),
        "scopes": [*small["scopes"], *_scopes(small, teams, SCOPES - len(small["scopes"]))],
        "pools": [*_shared(small), *_pools(divisions, POOLS - len(small["pools"]))],
    }


def _tags(teams: list[str], number: int) -> list[dict[str, Any]]:
    """Keys by several names with aliases and patterns. The first is asked of most charges."""
    found = []
    for n in range(number):
        names = [f"cost-code-{n}", f"CostCode{n}", f"finance.code-{n}"]
        some = [teams[(n * 7 + i) % len(teams)] for i in range(4)]
        found.append(
            {
                "key": ["Oracle-Tags.CreatedBy", *names] if n == 0 else names,
                "aliases": {f"CC-{n:03}-{i}": team for i, team in enumerate(some)},
                "patterns": [
                    {"match": f"(cc|kst)[-_ ]?{n:03}[-_ ]?{i}[0-9]{{2,4}}.*", "owner": team}
                    for i, team in enumerate(teams if n == 0 else some)
                ],
                "invalid": ["n/a", "unknown"],
                "compare": "spelling" if n % 2 else "case",
            }
        )
    return found


def _places(teams: list[str], resources: list[str]) -> list[dict[str, Any]]:
    """The resources dealt out: every team has some, and some teams have places by service too."""
    return [
        {
            "name": f"place {p}",
            "match": {"ResourceId": resources[p::PLACES] or [f"ocid1.none.{p}"]}
            | ({"ProviderName": ["Oracle", "Oracle Cloud"]} if p % 2 else {}),
            "owner": teams[p % len(teams)],
        }
        for p in range(PLACES)
    ]


def _scopes(small: dict[str, Any], teams: list[str], number: int) -> list[dict[str, Any]]:
    """Places below those that charges have, and tags that scopes hand down."""
    above = [scope["path"] for scope in small["scopes"]]
    return [
        {"path": f"{above[n % len(above)]}/team-{n}", "owner": teams[n % len(teams)]}
        if n % 4
        else {"path": f"root/unit-{n}", "tags": {f"cost-code-{n % TAGS}": f"CC-{n % TAGS:03}-0"}}
        for n in range(number - 1)
    ] + [{"path": "root", "tags": {"level": "company"}}]


def _shared(small: dict[str, Any]) -> list[dict[str, Any]]:
    """The demo's pools among its own owners, so that as many figures come of them."""
    return [{**pool, "recipients": small["owners"]} for pool in small["pools"]]


def _pools(divisions: list[str], number: int) -> list[dict[str, Any]]:
    drivers: list[Any] = [
        [{"cost": "direct", "same": "SubAccountId"}, "cost", "last known"],
        [{"usage": "OCPU Hours"}, "even"],
        {"fixed": {division: n + 1 for n, division in enumerate(divisions)}},
    ]
    return [
        {
            "name": f"pool {n}",
            "match": {"ServiceName": [f"SERVICE {n}"], "scope": f"root/shared/{n}"},
            "drivers": drivers[n % len(drivers)],
            "recipients": divisions if n % 3 == 2 else [{"below": divisions[n % len(divisions)]}],
        }
        for n in range(number)
    ]


def main(home: Path, target: Path) -> None:
    """Write the rules as JSON, which is YAML, for the resources that a home's charges name."""
    import duckdb
    import yaml

    files = [str(path) for path in (home / "lake" / "focus_costs").rglob("*.parquet")]
    found = duckdb.execute(
        "SELECT DISTINCT ResourceId FROM read_parquet(?) WHERE ResourceId IS NOT NULL ORDER BY 1",
        [files],
    ).fetchall()
    small = yaml.safe_load(SMALL.read_text(encoding="utf-8"))
    rules = make(small, [resource for (resource,) in found])
    target.write_text(json.dumps(rules, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
