"""Which files of an AWS Data Export count, for whole buckets, copies and parts of copies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from finops_pipeline.ingest.aws_export import aws_export
from finops_pipeline.ingest.location import IngestError, RemoteReport

START = datetime(2026, 9, 10, 8, 30, 7, tzinfo=UTC)
DATA = "fin/acme/data/BILLING_PERIOD=2026-08"
META = "fin/acme/metadata/BILLING_PERIOD=2026-08"
ONE, TWO = "2026-09-01T06:00:00.000Z-aaaa", "2026-09-02T06:00:00.000Z-bbbb"

Tree = dict[str, tuple[int, object]]  # minutes after START, and what the file holds


def _manifest(*keys: str) -> object:
    return {"dataFiles": [f"s3://bills/{key}" for key in keys], "columns": []}


def _laid_out(tree: Tree, days_only: bool = False) -> dict[str, list[str]]:
    files = [
        RemoteReport(
            name, f"etag of {name}", 1, None,
            datetime(2026, 9, 10, tzinfo=UTC) if days_only else START + timedelta(minutes=minutes),
        )
        for name, (minutes, _) in sorted(tree.items())
    ]  # fmt: skip
    found: dict[str, list[str]] = {}
    for manifest in aws_export("acme", files, lambda r: _bytes(tree[r.name][1])):
        assert manifest.delivery_scope is not None and manifest.members is not None
        assert manifest.delivery_scope not in found
        for member in manifest.members:
            assert member.delivery_scope == manifest.delivery_scope
            assert member.delivered_at == manifest.delivered_at
        found[manifest.delivery_scope] = [m.name for m in manifest.members]
    return found


def _bytes(content: object) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def test_only_the_files_of_the_manifest_count() -> None:
    """Overwriting leaves the third chunk of a longer delivery behind."""
    chunks = [f"{DATA}/acme-0000{i}.csv.gz" for i in (1, 2, 3)]
    tree: Tree = dict.fromkeys(chunks, (0, b""))
    tree[f"{META}/acme-Manifest.json"] = (1, _manifest(*chunks[:2]))
    assert _laid_out(tree) == {"fin/acme/2026-08": chunks[:2]}


def test_the_newest_execution_replaces_those_before_it() -> None:
    old, new = (f"{DATA}/{e}/acme-00001.snappy.parquet" for e in (ONE, TWO))
    tree: Tree = {
        old: (0, b""),
        f"{META}/{ONE}/acme-Manifest.json": (1, _manifest(old)),
        new: (60, b""),
        f"{META}/{TWO}/acme-Manifest.json": (61, _manifest(new)),
        f"{META}/acme-Manifest.json": (61, _manifest(new)),
    }
    assert _laid_out(tree) == {"fin/acme/2026-08": [new]}
    # In a copy all files have one day, and the names of the executions tell the order.
    assert _laid_out(tree, days_only=True) == {"fin/acme/2026-08": [new]}


def test_a_delivery_in_progress_waits_in_a_bucket_and_not_in_a_copy() -> None:
    chunk = f"{DATA}/acme-00001.csv.gz"
    tree: Tree = {chunk: (2, b""), f"{META}/acme-Manifest.json": (1, _manifest(chunk))}
    assert _laid_out(tree) == {}
    assert _laid_out(tree, days_only=True) == {"fin/acme/2026-08": [chunk]}


def test_the_first_delivery_of_a_month_waits_for_its_manifest_too() -> None:
    july, august = (f"fin/acme/data/BILLING_PERIOD=2026-0{m}/acme-00001.csv.gz" for m in (7, 8))
    meta = "fin/acme/metadata/BILLING_PERIOD=2026-07/acme-Manifest.json"
    tree: Tree = {july: (0, b""), meta: (1, _manifest(july)), august: (2, b"")}
    assert _laid_out(tree) == {"fin/acme/2026-07": [july]}
    assert _laid_out(tree, days_only=True) == {
        "fin/acme/2026-07": [july],
        "fin/acme/2026-08": [august],
    }


def test_a_new_execution_without_its_manifest_leaves_the_last_one_standing() -> None:
    old, new = (f"{DATA}/{e}/acme-00001.csv.gz" for e in (ONE, TWO))
    tree: Tree = {
        old: (0, b""),
        f"{META}/{ONE}/acme-Manifest.json": (1, _manifest(old)),
        new: (60, b""),
    }
    assert _laid_out(tree) == {"fin/acme/2026-08": [old]}


@pytest.mark.parametrize(
    "above",
    ["", "fin/", "bills/fin/", "copies/of/bills/fin/"],
    ids=["export", "prefix", "bucket", "deeper"],
)
@pytest.mark.parametrize("spelling", ["BILLING_PERIOD=2026-08", "billing_period=2026-08"])
def test_a_copy_may_begin_anywhere(above: str, spelling: str) -> None:
    export = f"{above}acme/" if above else ""
    keys = [f"{DATA}/acme-00001.csv.gz", f"{DATA}/acme-00002.csv.gz"]
    here = [f"{export}data/{spelling}/acme-0000{i}.csv.gz" for i in (1, 2)]
    other = f"{export}data/BILLING_PERIOD=2026-07/acme-00001.csv.gz"
    tree: Tree = {
        **dict.fromkeys([*here, other], (0, b"")),
        f"{export}metadata/{spelling}/acme-Manifest.json": (0, _manifest(*keys)),
    }
    scope = f"{above}acme"
    assert _laid_out(tree, days_only=True) == {
        f"{scope}/2026-08": here,
        f"{scope}/2026-07": [other],
    }


def test_exports_side_by_side_are_apart() -> None:
    tree: Tree = {}
    for export in ("acme", "zeta"):
        key = f"fin/{export}/data/BILLING_PERIOD=2026-08/{export}-00001.csv.gz"
        tree[key] = (0, b"")
        meta = f"fin/{export}/metadata/BILLING_PERIOD=2026-08/{export}-Manifest.json"
        tree[meta] = (1, _manifest(key))
    assert _laid_out(tree) == {
        f"fin/{e}/2026-08": [f"fin/{e}/data/BILLING_PERIOD=2026-08/{e}-00001.csv.gz"]
        for e in ("acme", "zeta")
    }


def test_the_older_layout_of_reports() -> None:
    folder = "fin/acme/20260801-20260901"
    chunk = f"{folder}/6f1c/acme-00001.csv.gz"
    said = {"reportKeys": [chunk], "billingPeriod": {"start": "20260801T000000.000Z"}}
    tree: Tree = {chunk: (0, b""), f"{folder}/acme-Manifest.json": (1, said)}
    assert _laid_out(tree) == {"fin/acme/2026-08": [chunk]}


def test_without_manifests_the_newest_execution_or_all_files_count() -> None:
    old, new = (f"acme/data/BILLING_PERIOD=2026-08/{e}/acme-00001.parquet" for e in (ONE, TWO))
    plain = [f"acme/data/BILLING_PERIOD=2026-07/acme-0000{i}.parquet" for i in (1, 2)]
    tree: Tree = dict.fromkeys([old, new, *plain, "loose.csv"], (0, b""))
    assert _laid_out(tree, days_only=True) == {
        "acme/2026-08": [new],
        "acme/2026-07": plain,
        "loose.csv": ["loose.csv"],
    }


def test_a_manifest_of_nothing_empties_the_month() -> None:
    assert _laid_out({f"{META}/acme-Manifest.json": (1, _manifest())}) == {"fin/acme/2026-08": []}


def test_json_that_lists_no_files_is_no_manifest() -> None:
    chunk = f"{DATA}/acme-00001.csv.gz"
    tree: Tree = {chunk: (0, b""), f"{META}/acme-Manifest.json": (1, {"start_url": "/"})}
    assert _laid_out(tree) == {"fin/acme/2026-08": [chunk]}


def test_a_file_that_is_gone_is_a_member_that_cannot_be_fetched() -> None:
    there, gone = (f"{DATA}/acme-0000{i}.csv.gz" for i in (1, 2))
    other = "fin/acme/data/BILLING_PERIOD=2026-07/acme-00002.csv.gz"
    tree: Tree = {
        there: (0, b""),
        other: (0, b""),
        f"{META}/acme-Manifest.json": (1, _manifest(there, gone)),
        "fin/acme/metadata/BILLING_PERIOD=2026-07/acme-Manifest.json": (1, _manifest(other)),
    }
    assert _laid_out(tree) == {
        "fin/acme/2026-08": [there, f"s3://bills/{gone}"],
        "fin/acme/2026-07": [other],
    }


def test_a_manifest_all_of_whose_files_are_gone_is_none() -> None:
    """A lifecycle rule of the bucket removes old data; what is known of the month stays."""
    key, copied = f"{DATA}/acme-00001.csv.gz", f"{DATA}/acme.parquet"
    tree: Tree = {f"{META}/acme-Manifest.json": (1, _manifest(key))}
    assert _laid_out(tree) == {}
    tree[copied] = (0, b"")
    assert _laid_out(tree, days_only=True) == {"fin/acme/2026-08": [copied]}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (f"{META}/acme-Manifest.json", b"{", "is no JSON"),
        ("acme-Manifest.json", _manifest("a.csv"), "names no billing period"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(name: str, content: object, told: str) -> None:
    with pytest.raises(IngestError, match=f"acme: {name} .*{told}"):
        _laid_out({name: (0, content)})
