"""The compartment tree of a tenancy, and its inventory file.

Cost reports name a compartment by id and name only; `compartments.csv` says where in the tree
it is.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from pathlib import Path

from finops_pipeline.demo.catalogue import Catalogue
from finops_pipeline.demo.chance import ocid


@dataclass(frozen=True)
class Compartment:
    """One compartment; `path` begins with `root`, which is the tenancy itself."""

    id: str
    name: str
    parent_id: str
    path: str


def compartment_tree(
    goods: Catalogue, display_name: str, rng: random.Random
) -> dict[str, Compartment]:
    """Every compartment that a seat is in, and those above it, by path."""
    paths = {"root"}
    for seat in goods.seats:
        steps = seat.compartment.split("/")
        paths |= {"/".join(steps[: i + 1]) for i in range(len(steps))}
    tree = {"root": Compartment(ocid(rng, "tenancy"), display_name, "", "root")}
    for path in sorted(paths - {"root"}):
        above, name = path.rsplit("/", 1)
        tree[path] = Compartment(ocid(rng, "compartment"), name, tree[above].id, path)
    return tree


def write_inventory(tree: dict[str, Compartment], path: Path) -> None:
    """Write `compartments.csv`: id, name, parent_id, path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "parent_id", "path"])
        for known in tree.values():
            writer.writerow([known.id, known.name, known.parent_id, known.path])
