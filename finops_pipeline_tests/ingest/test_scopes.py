"""The compartment tree: read from a tenancy or a file, turned into paths, kept once."""

from __future__ import annotations

import csv
from itertools import permutations
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.contracts.tables import tables
from finops_pipeline.demo.tenancy import make_tenancy
from finops_pipeline.ingest.location import INVENTORIES, IngestError
from finops_pipeline.ingest.scopes import (
    Scope,
    paths,
    read_scopes,
    store_scopes,
    stored_paths,
)
from finops_pipeline.lake.delta import LakeTable
from finops_pipeline_tests.servers.oci_object_storage import TENANCY, ObjectStorageServer

ROOT = Scope("r", "acme", None)
WEB = Scope("w", "web", "r")
SHOP = Scope("s", "shop", "w")


def directory(root: Path, text: str | bytes | None = None) -> Source:
    if text is not None:
        data = text if isinstance(text, bytes) else text.encode()
        (root / INVENTORIES[0]).write_bytes(data)
    return Source(name="acme", format="oci_cost_csv", location=f"file:{root}")


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    return LakeTable(tmp_path / "lake", tables()["compartments"])


@pytest.mark.parametrize(
    "text",
    [
        "id,name,parent_id\nr,acme,\ns,shop,w\nw,web,r\n",
        "\ufeffid,name,parent_id\r\nw,web,r\r\nr,acme,\r\ns,shop,w\r\n",
        'path,parent_id,"name",id\nx,w,"shop",s\nx,,acme,r\n\nx,r,web,w',
    ],
)
def test_a_file_is_read_whatever_its_order(tmp_path: Path, text: str) -> None:
    assert read_scopes(directory(tmp_path, text)) == [ROOT, SHOP, WEB]


def test_names_are_taken_as_they_are(tmp_path: Path) -> None:
    text = 'id,name,parent_id\nr,"Büro, ""Nord""",\n'
    assert read_scopes(directory(tmp_path, text)) == [Scope("r", 'Büro, "Nord"', None)]


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert read_scopes(directory(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,name\nr,acme\n", r"line 1: column 'parent_id' is missing; expected id,name,parent_id"),
        ("", r"line 1: column 'id' is missing"),
        ("id,name,parent_id\nr,acme,\n,web,r\n", r"line 3: column 'id' is empty; .* identifier"),
        ("id,name,parent_id\nr,acme,\nw,,r\n", r"line 3: column 'name' is empty"),
        ("id,name,parent_id\nr\n", r"line 2: column 'name' is empty"),
        ("id,name,parent_id\nw,a,\nw,a,r\n", r"line 3: column 'id': 'w' stands there twice"),
        ("id,name,parent_id\nr,a,\nw,b,\n", r"line 3: column 'parent_id' is empty, as .* 'r'"),
        (b"id,name,parent_id\nr,B\xfcro,\n", r"cannot be read \(UnicodeDecodeError.*UTF-8"),
    ],
)
def test_a_file_that_will_not_do_is_told(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(IngestError, match=rf"acme: .*{INVENTORIES[0]}.*{says}"):
        read_scopes(directory(tmp_path, text))


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / INVENTORIES[0]).mkdir()
    with pytest.raises(IngestError, match="cannot be read"):
        read_scopes(directory(tmp_path))


def test_a_tenancy_is_asked(server: ObjectStorageServer, source: Source) -> None:
    web = server.identity.add("web")
    assert read_scopes(source) == sorted([Scope(TENANCY, "acme", None), Scope(web, "web", TENANCY)])


def test_a_path_goes_from_the_root_down() -> None:
    assert paths([SHOP, ROOT, WEB]) == {"r": "root", "w": "root/web", "s": "root/web/shop"}


def test_paths_are_those_of_the_demos_inventory(tmp_path: Path) -> None:
    # The demo's own `path` column is what its rules name; nothing here reads it.
    make_tenancy(tmp_path / "t", days=1, rows=500)
    with (tmp_path / "t" / INVENTORIES[0]).open(encoding="utf-8", newline="") as file:
        told = {row["id"]: row["path"] for row in csv.DictReader(file)}
    assert paths(read_scopes(directory(tmp_path / "t"))) == told


def test_an_unknown_parent_starts_a_path() -> None:
    assert paths([WEB, SHOP]) == {"w": "web", "s": "web/shop"}


def test_a_circle_is_cut() -> None:
    a, b = Scope("a", "A", "b"), Scope("b", "B", "a")
    below = Scope("c", "C", "a")
    assert paths([a, b, below]) == {"a": "B/A", "b": "A/B", "c": "B/A/C"}
    assert paths([Scope("x", "X", "x")]) == {"x": "X"}


def test_what_is_stored_is_given_back(table: LakeTable) -> None:
    known = store_scopes(table, "acme", [ROOT, WEB, SHOP])
    assert known == stored_paths(table, "acme") == paths([ROOT, WEB, SHOP])
    assert stored_paths(table, "other") == {}


def test_the_same_inventory_makes_no_new_version(table: LakeTable) -> None:
    store_scopes(table, "acme", [ROOT, WEB, SHOP])
    version, files = table.version(), sorted(Path(table.root).rglob("*.parquet"))
    written = [file.read_bytes() for file in files]
    for order in permutations([ROOT, WEB, SHOP]):
        store_scopes(table, "acme", order)
    assert table.version() == version
    assert sorted(Path(table.root).rglob("*.parquet")) == files
    assert [file.read_bytes() for file in files] == written


def test_a_changed_inventory_replaces_its_own_sources_only(table: LakeTable) -> None:
    store_scopes(table, "acme", [ROOT, WEB])
    store_scopes(table, "other", [ROOT])
    version = table.version()
    store_scopes(table, "acme", [ROOT, Scope("w", "www", "r")])
    assert table.version() == version + 1
    assert stored_paths(table, "acme") == {"r": "root", "w": "root/www"}
    assert stored_paths(table, "other") == {"r": "root"}
