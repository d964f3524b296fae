"""The provider's own hierarchy: what turns an account or a compartment into a path.

From the provider's service (`oci_identity.py`, `aws_organizations.py`,
`azure_groups.py`), or from an inventory file
beside the reports of a directory. Reports carry no path, so this is the inventory that rules by
path rest on.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.ingest.location import INVENTORIES, IngestError, missing_library
from finops_pipeline.lake.delta import LakeFile, LakeTable

ROOT = "root"


@dataclass(frozen=True, order=True)
class Scope:
    """A place of the hierarchy and the one that holds it; the root has none."""

    id: str
    name: str
    parent_id: str | None


def read_scopes(source: Source) -> list[Scope]:
    """The places of a source's hierarchy as they are now, in order of their identifiers.

    Empty where nobody tells them, such as for a directory without an inventory: then no path is
    known. Raises IngestError.
    """
    if source.location.startswith("file:"):
        folder = Path(source.location.removeprefix("file:"))
        found = [scope for name in INVENTORIES for scope in _from_file(source, folder / name)]
        return sorted(found)
    try:
        return sorted(Scope(*found) for found in _listed(source))
    except ModuleNotFoundError as error:
        raise missing_library(source, error) from None


def _listed(source: Source) -> Iterable[tuple[str, str, str | None]]:
    # Imported only here: a directory of reports needs no SDK nor its start-up time.
    provider = formats()[source.format].provider
    if provider == "oci":
        from finops_pipeline.ingest.oci_identity import list_compartments

        return list_compartments(source)
    if provider == "aws":
        from finops_pipeline.ingest.aws_organizations import list_accounts

        return list_accounts(source)
    if provider == "azure":
        from finops_pipeline.ingest.azure_groups import list_groups

        return list_groups(source)
    return ()


def _from_file(source: Source, path: Path) -> list[Scope]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return sorted(_rows(f"{source.name}: {path}", file))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IngestError(
            f"{source.name}: {path} cannot be read ({type(error).__name__}: {error}). It must be "
            "a CSV file in UTF-8 that this user may read, with the columns id,name,parent_id."
        ) from None


def _rows(place: str, file: Iterable[str]) -> Iterator[Scope]:
    reader = csv.DictReader(file)
    missing = {"id", "name", "parent_id"} - set(reader.fieldnames or ())
    if missing:
        raise IngestError(
            f"{place}: line 1: column {sorted(missing)[0]!r} is missing; expected id,name,parent_id"
        )
    seen: set[str] = set()
    root: str | None = None
    for row in reader:
        for column in ("id", "name"):
            if not row[column]:
                raise IngestError(
                    f"{place}: line {reader.line_num}: column {column!r} is empty; expected the "
                    f"{'identifier' if column == 'id' else 'name'} of an account or compartment"
                )
        if row["id"] in seen:
            raise IngestError(
                f"{place}: line {reader.line_num}: column 'id': {row['id']!r} stands there twice; "
                "expected each of them once"
            )
        if not row["parent_id"] and root is not None:
            raise IngestError(
                f"{place}: line {reader.line_num}: column 'parent_id' is empty, as it is for "
                f"{root!r}; expected so for the top alone"
            )
        root = root if row["parent_id"] else row["id"]
        seen.add(row["id"])
        yield Scope(row["id"], row["name"], row["parent_id"] or None)


def paths(scopes: Iterable[Scope]) -> dict[str, str]:
    """The path of each place: `root`, then names joined by a slash.

    The root is `root` whatever the tenancy or organisation is called: so rules name it for any. A
    place whose parent is unknown starts a path of its own; a circle is cut.
    """
    by_id = {c.id: c for c in scopes}
    found: dict[str, str] = {}
    for start in by_id.values():
        names: list[str] = []
        seen: set[str] = set()
        current: Scope | None = start
        while current is not None and current.id not in seen:
            seen.add(current.id)
            names.append(current.name if current.parent_id else ROOT)
            current = by_id.get(current.parent_id or "")
        found[start.id] = "/".join(reversed(names))
    return found


def store_scopes(table: LakeTable, source: str, scopes: Iterable[Scope]) -> dict[str, str]:
    """Make these the source's inventory; the same inventory makes no new version.

    A place that is listed no more stays as it was last seen: OCI forgets a deleted compartment
    after 90 days, AWS a closed account, and past charges keep their owner.
    """
    seen = {c.id: c for c in (*_stored(table, source), *scopes)}
    listed = sorted(seen.values())  # The service lists in any order; the rows have one.
    known = paths(listed)
    rows = [
        {"source": source, "id": c.id, "name": c.name, "parent_id": c.parent_id,
         "path": known[c.id]}
        for c in listed
    ]  # fmt: skip
    file = LakeFile((source,), _hash(rows))
    if rows and not table.holds(file):
        table.write(file, pa.Table.from_pylist(rows, schema=arrow_schema(table.table)))
    table.replace([(source,)], [file] if rows else [])
    return known


def stored_paths(table: LakeTable, source: str) -> dict[str, str]:
    """The paths of the source's inventory as last stored."""
    return paths(_stored(table, source))


def _stored(table: LakeTable, source: str) -> list[Scope]:
    rows = [row for file in table.files(source) for row in table.read(file).to_pylist()]
    return [Scope(row["id"], row["name"], row["parent_id"]) for row in rows]


def _hash(rows: object) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:32]
