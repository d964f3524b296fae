"""What the mapping looks up: services, regions, units, compartments.

The facts are data files; here they are bound to the names that the mapping joins with, and hashed,
so that a changed fact is a changed fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache

import pyarrow as pa

from finops_pipeline.contracts.tables import read_facts
from finops_pipeline.engine.protocol import Engine


@cache
def _catalogues() -> dict[str, pa.Table]:
    services = read_facts("normalize/data/oci_services.csv")
    regions = read_facts("normalize/data/oci_regions.csv")
    units = read_facts("normalize/data/oci_units.csv")
    keyed = {
        key.strip().lower(): (row["region_id"], row["region_name"])
        for row in regions
        for key in (row["region_key"], row["region_id"])
        if key
    }
    return {
        "catalogue service": pa.table(
            {
                "key": [service_key(row["service"]) for row in services],
                "category": [row["category"] for row in services],
                "subcategory": [row["subcategory"] for row in services],
            }
        ),
        "catalogue region": pa.table(
            {
                "key": list(keyed),
                "id": [region for region, _ in keyed.values()],
                "name": [name for _, name in keyed.values()],
            }
        ),
        "catalogue unit": pa.table(
            {
                "key": [row["unit"].strip().lower() for row in units],
                "focus": [row["focus_unit"] for row in units],
            }
        ),
    }


def service_key(service: str) -> str:
    """A service's name as the mapping keys it (`expressions.lookup_key`)."""
    return service.strip().upper().replace("_", " ").replace("-", " ")


@cache
def catalogue_hash() -> str:
    """A hash of every fact that the mapping looks up, the compartments apart."""
    digest = hashlib.sha256()
    for name, table in _catalogues().items():
        digest.update(repr((name, table.to_pydict())).encode())
    return digest.hexdigest()


def bind_catalogues(engine: Engine, compartments: Mapping[str, str]) -> None:
    """Bind all catalogues; `compartments` maps a compartment's identifier to its path."""
    for name, table in _catalogues().items():
        engine.keep(name, table)
    engine.keep(
        "catalogue compartment",
        pa.table(
            {
                "id": pa.array(list(compartments), pa.string()),
                "path": pa.array(list(compartments.values()), pa.string()),
            }
        ),
    )


def paths_of(scopes: Iterable[str], compartments: Mapping[str, str]) -> list[tuple[str, str]]:
    """The paths of these compartments, in order: what a report's fingerprint rests on."""
    return sorted((s, compartments[s]) for s in scopes if s in compartments)
