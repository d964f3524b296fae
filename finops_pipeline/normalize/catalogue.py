"""What the mapping looks up: services, regions, units, places of the provider's hierarchy.

The facts are data files, a set for each provider; here they are bound to the names that the
mapping joins with, and hashed, so that a changed fact is a changed fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import pyarrow as pa

from finops_pipeline.contracts.tables import read_facts
from finops_pipeline.engine.protocol import Engine


@cache
def _catalogues(provider: str) -> dict[str, dict[str, list[str]]]:
    """The columns of each catalogue by its name."""
    services = _facts(provider, "services")
    regions = _facts(provider, "regions")
    units = _facts(provider, "units")
    keyed = {
        key.strip().lower(): (row["region_id"], row["region_name"])
        for row in regions
        for key in (row["region_key"], row["region_id"])
        if key
    }
    return {
        "catalogue service": {
            "key": [service_key(row["service"]) for row in services],
            "category": [row["category"] for row in services],
            "subcategory": [row["subcategory"] for row in services],
        },
        "catalogue region": {
            "key": list(keyed),
            "id": [region for region, _ in keyed.values()],
            "name": [name for _, name in keyed.values()],
        },
        "catalogue unit": {
            "key": [row["unit"].strip().lower() for row in units],
            "focus": [row["focus_unit"] for row in units],
        },
    }


def _facts(provider: str, kind: str) -> list[dict[str, str]]:
    """The provider's facts of a kind; none where its reports need none."""
    path = f"normalize/data/{provider}_{kind}.csv"
    return read_facts(path) if files("finops_pipeline").joinpath(path).is_file() else []


def _texts(columns: Mapping[str, Sequence[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def service_key(service: str) -> str:
    """A service's name as the mapping keys it (`expressions.lookup_key`)."""
    return service.strip().upper().replace("_", " ").replace("-", " ")


@cache
def catalogue_hash(provider: str) -> str:
    """A hash of every fact that the mapping looks up, the provider's hierarchy apart."""
    digest = hashlib.sha256()
    for named in _catalogues(provider).items():
        digest.update(repr(named).encode())
    return digest.hexdigest()


def bind_catalogues(engine: Engine, provider: str, scopes: Mapping[str, str]) -> None:
    """Bind all catalogues; `scopes` maps a place of the provider's hierarchy to its path."""
    paths = {"id": list(scopes), "path": list(scopes.values())}
    for name, columns in {**_catalogues(provider), "catalogue scope": paths}.items():
        engine.keep(name, _texts(columns))


def paths_of(scopes: Iterable[str], paths: Mapping[str, str]) -> list[tuple[str, str]]:
    """The paths of these places, in order: what a report's fingerprint rests on."""
    return sorted((s, paths[s]) for s in scopes if s in paths)
