"""A home in an object store, by the real command: all that a home in a folder does."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from finops_pipeline_tests.cli.place import Place, finops, row
from finops_pipeline_tests.objects.bucket import Bucket, tables_of
from finops_pipeline_tests.servers.s3 import SECRET

RULES = {
    "owners": {"web": {"name": "Web"}, "data science": {}},
}


def deliver(place: Place) -> None:
    """Two reports, a rejected row, a currency without a rate, an owner with a space."""
    place.deliver("a", row("1.5"), row("2.25", day="2025-01-03", team="shop/süd 100%"))
    place.deliver("b", row("4", day="2025-01-03"), row("abc"))


def configure(place: Place, home: str, **more: object) -> None:
    budgets = [{"name": "all", "amount": "5"}]
    place.configure(home=home, budgets=budgets, **more)


def test_everything_is_as_in_a_folder(place: Place, bucket: Bucket) -> None:
    deliver(place)
    configure(place, bucket.home, work="work")
    ran = finops(place.folder, ["run"])
    assert (ran.returncode, "1 rows rejected" in ran.stderr) == (1, True), ran.stderr

    # A second run does nothing and touches no object.
    held = bucket.objects()
    again = finops(place.folder, ["run"])
    assert "nothing new" in again.stderr and again.returncode == 1, again.stderr
    assert bucket.objects() == held

    # What people ask, asked of the store.
    commands: dict[str, list[str]] = {
        "costs": ["--by", "owner,day", "--format", "json"],
        "rejected": ["--format", "json"],
        "explain": [_a_figure(bucket), "--format", "json"],
    }
    of_store = {name: place.finops(name, *more).stdout for name, more in commands.items()}
    exported = place.finops("export", "--out", str(place.folder / "s3.parquet"))
    assert exported.exit_code == 0, exported.output
    looked = json.loads(place.finops("doctor", "--format", "json").stdout)
    assert [f["ok"] for f in looked if f["name"] == "home"] == [True]
    assert bucket.objects() == held

    # The same of a folder: same files, same rows, same answers.
    configure(place, "home")
    assert place.finops("run").exit_code == 1
    found, expected = bucket.tables(), tables_of(place.folder / "home")
    assert found.keys() == expected.keys() and len(found) >= 9
    for name in found.keys() - {"reports"}:
        assert found[name] == expected[name], name
    assert _reports(found["reports"]) == _reports(expected["reports"])
    for name, more in commands.items():
        answer = place.finops(name, *more).stdout
        assert json.loads(of_store[name]) == json.loads(answer), name
    place.finops("export", "--out", str(place.folder / "local.parquet"))
    one, two = (pq.read_table(place.folder / f"{n}.parquet") for n in ("s3", "local"))
    assert one.num_rows == 3 and one.equals(two)

    # The archive is what was delivered.
    archived = {n.rsplit("/")[-1]: bucket.read(n) for n in held if n.startswith("archive/")}
    delivered = {p.name: p.read_bytes() for p in (place.folder / "reports").iterdir()}
    assert archived == delivered
    assert _work(place) == set()


def _a_figure(bucket: Bucket) -> str:
    rows = [r for file in bucket.tables()["allocated_costs"].values() for r in file]
    return str(max(rows, key=lambda r: r["BilledCost"])["x_AllocationId"])


def _reports(files: dict[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    rows = [{k: v for k, v in r.items() if k != "archived_at"} for f in files.values() for r in f]
    return sorted(rows, key=lambda r: str(r["name"]))


def _work(place: Place) -> set[str]:
    """What of a report or a Parquet file lies about in the work folder after all is done."""
    spool = place.folder / "work" / "spool"
    return {p.name for p in spool.rglob("*") if p.is_file()}


def test_the_catalogue_answers_from_copies_and_names_the_objects(
    place: Place, bucket: Bucket
) -> None:
    place.deliver("a", row("1.5"), row("2.25", day="2025-01-03"))
    assert place.finops("run").exit_code == 0
    with duckdb.connect(place.folder / "work" / "warehouse.duckdb", read_only=True) as client:
        [total] = client.execute("SELECT sum(effective_cost) FROM daily_totals").fetchall()
        books = client.execute("SELECT count(*) FROM conservation WHERE balanced").fetchall()
        views = dict(client.execute("SELECT view_name, sql FROM duckdb_views()").fetchall())
    assert str(total[0]).rstrip("0") == "3.75" and books == [(2,)]
    assert f"'{bucket.home}/lake/allocated_costs/x_Source=acme-oci/" in views["allocated_costs"]


def test_a_lost_work_folder_loses_nothing(place: Place, bucket: Bucket) -> None:
    place.deliver("a", row("1.5"))
    configure(place, bucket.home, work="work")
    assert place.finops("run").exit_code == 0
    held = bucket.objects()
    configure(place, bucket.home, work="elsewhere")
    assert place.finops("run").exit_code == 0
    assert bucket.objects() == held
    place.deliver("b", row("2"))
    assert place.finops("run").exit_code == 0
    events = (place.folder / "elsewhere").glob("events.jsonl")
    assert [e["data"]["threshold"] for f in events for e in map(json.loads, f.open())] == ["50"]


def test_a_damaged_report_is_noticed(place: Place, bucket: Bucket) -> None:
    place.deliver("a", row("1.5"))
    assert place.finops("run").exit_code == 0
    figure = _a_figure(bucket)
    [archived] = bucket.objects("archive/")
    bucket.put(archived, gzip.compress(b"another"))
    told = place.finops("explain", figure).stdout
    assert "is not what was archived (its SHA-256 is" in told


def test_no_secret_is_anywhere(place: Place, bucket: Bucket) -> None:
    place.deliver("a", row("1.5"))
    assert place.finops("run").exit_code == 0
    secret = SECRET.encode()
    assert [n for n in bucket.objects() if secret in bucket.read(n)] == []
    files = [p for p in place.folder.rglob("*") if p.is_file()]
    assert files and [p for p in files if secret in p.read_bytes()] == []


@pytest.mark.parametrize("home", ["s3://key:secret-word@bills/x", "s3://bills/x?secret-word"])
def test_a_secret_in_the_settings_is_refused_and_not_repeated(place: Place, home: str) -> None:
    place.config.write_text(yaml.safe_dump({"home": home}), encoding="utf-8")
    ran = place.finops("costs")
    assert ran.exit_code == 2 and "home is a folder" in ran.output
    assert "secret-word" not in ran.output


def test_work_is_for_a_store_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.configure(home="home", work="work")
    ran = place.finops("costs")
    assert ran.exit_code == 2 and "a folder holds its own work" in ran.output
