"""Several machines on one home in an object store, and machines that die: nothing is lost."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from finops_pipeline.ingest.ledger import Ledger, LedgerEntry
from finops_pipeline.lake.bucket import Bucket as Store
from finops_pipeline.lake.delta import LakeFile, LakeTable, Overtaken
from finops_pipeline.lake.home import Home
from finops_pipeline.lake.objects import ObjectPlace
from finops_pipeline_tests.cli.place import FINOPS, Place, row
from finops_pipeline_tests.lake.table import TABLE
from finops_pipeline_tests.objects import dying
from finops_pipeline_tests.objects.bucket import Bucket, tables_of

ROUNDS = 6


def table(bucket: Bucket, machine: Path) -> LakeTable:
    """A table as a machine with its own work folder has it."""
    return LakeTable(ObjectPlace(Store(bucket.home, machine)).below("lake"), TABLE)


def put(lake: LakeTable, source: str, owner: str, number: int, seen: int | None = None) -> bool:
    """Make one row all that a partition holds."""
    rows = pa.table({"source": [source], "owner": [owner], "number": pa.array([number])})
    file = lake.write(LakeFile((source, owner), f"file{number}"), rows)
    return lake.replace([(source, owner)], [file], seen=seen)


def numbers(bucket: Bucket) -> list[tuple[str, str, int]]:
    """What is in the table, without the package."""
    rows = [r for file in bucket.tables()["numbers"].values() for r in file]
    return sorted((r["source"], r["owner"], r["number"]) for r in rows)


def _write(bucket: Bucket, machine: Path, partition: tuple[str, str], first: int) -> None:
    lake = table(bucket, machine)
    for number in range(first, first + ROUNDS):
        put(lake, *partition, number)


def _at_once(bucket: Bucket, folder: Path, *partitions: tuple[str, str]) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write, args=(bucket, folder / str(n), partition, 100 * n))
        for n, partition in enumerate(partitions)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(200)
    assert [w.exitcode for w in writers] == [0] * len(writers)


def test_writers_of_different_partitions_all_stand(bucket: Bucket, tmp_path: Path) -> None:
    _at_once(bucket, tmp_path, ("s", "a"), ("s", "b"), ("t", "a"))
    last = ROUNDS - 1
    assert numbers(bucket) == [("s", "a", last), ("s", "b", 100 + last), ("t", "a", 200 + last)]
    assert bucket.delta("numbers").version() == 3 * ROUNDS


def test_of_writers_of_one_partition_one_stands(bucket: Bucket, tmp_path: Path) -> None:
    _at_once(bucket, tmp_path, ("s", "a"), ("s", "a"))
    [(source, owner, number)] = numbers(bucket)
    assert (source, owner) == ("s", "a") and number % 100 == ROUNDS - 1
    assert bucket.delta("numbers").version() == 2 * ROUNDS


def _open_each(bucket: Bucket, machine: Path, names: list[str], together: Barrier) -> None:
    """Write the first row of each table, at the moment at which the other machines do."""
    for name in names:
        lake = LakeTable(
            ObjectPlace(Store(bucket.home, machine)).below("lake"), replace(TABLE, name=name)
        )
        together.wait(60)
        put(lake, machine.name, "a", 1)


def test_of_machines_that_make_one_table_one_makes_it(bucket: Bucket, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    names = [f"numbers{n}" for n in range(6)]
    machines = [
        context.Process(target=_open_each, args=(bucket, tmp_path / str(n), names, together))
        for n in range(3)
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(200)
    assert [m.exitcode for m in machines] == [0, 0, 0]
    for name in names:
        told = [entry["operation"] for entry in bucket.delta(name).history()]
        assert sorted(told) == ["CREATE TABLE", "WRITE", "WRITE", "WRITE"], name


def test_who_is_overtaken_is_told_and_others_are_not(bucket: Bucket, tmp_path: Path) -> None:
    one, two = table(bucket, tmp_path / "1"), table(bucket, tmp_path / "2")
    put(one, "s", "a", 1)
    seen = two.seen()
    assert seen == 1
    put(one, "s", "a", 2)
    put(one, "s", "b", 3)
    with pytest.raises(Overtaken, match="another run rebuilt the same days"):
        put(two, "s", "a", 4, seen)
    assert put(two, "s", "c", 5, seen)
    assert numbers(bucket) == [("s", "a", 2), ("s", "b", 3), ("s", "c", 5)]


def test_reports_that_two_machines_record_are_both_known(bucket: Bucket, tmp_path: Path) -> None:
    when = datetime(2025, 1, 3, tzinfo=UTC)
    entry = LedgerEntry(
        source="acme", delivery_day=date(2025, 1, 3), report_id="r1", name="1.csv", etag="1",
        size=1, md5="", sha256="", delivered_at=when, archived_at=when, archive_path="",
        format="oci_cost_csv", status="read", problem=None, columns=(), rows=0, scopes=(),
        rounded_rows=0, totals=(),
    )  # fmt: skip
    ledgers = [
        Ledger(Home(tmp_path / str(n), bucket.home).table("reports"), "acme") for n in range(3)
    ]
    ledgers[0].record([entry])
    ledgers[1].record([replace(entry, report_id="r2", name="2.csv")])
    ledgers[0].record([replace(entry, report_id="r3", name="3.csv")])
    ledgers[2].record([replace(entry, etag="2")])
    known = Ledger(Home(tmp_path / "later", bucket.home).table("reports"), "acme").entries
    assert [(e.report_id, e.etag) for e in known] == [("r1", "2"), ("r2", "1"), ("r3", "1")]


def test_two_runs_at_once_end_as_one(place: Place, bucket: Bucket) -> None:
    for n in range(4):
        place.deliver(f"r{n}", row(f"1.{n}5", day=f"2025-01-0{n % 3 + 1}"), row("2", team="b"))
    for machine in ("one", "two"):
        place.configure(home=bucket.home, work=machine)
        (place.folder / f"{machine}.yaml").write_text(place.config.read_text())
    runs = [
        subprocess.Popen(
            [FINOPS, "run", "--config", f"{machine}.yaml"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for machine in ("one", "two")
    ]
    told = [run.communicate(timeout=280)[1] for run in runs]
    assert {run.returncode for run in runs} <= {0, 1}, told
    assert 0 in {run.returncode for run in runs}, told
    assert place.finops("run").exit_code == 0
    assert_as_in_a_folder(place, bucket)


def test_killed_between_upload_and_commit(place: Place, bucket: Bucket) -> None:
    place.deliver("a", row("1.5"), row("2.25", day="2025-01-03"))
    place.deliver("b", row("7", day="2025-01-03", team="b"))
    for commit in (1, 2, 3):
        command = [sys.executable, "-m", dying.__name__, str(place.config), str(commit)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert ran.returncode == -signal.SIGKILL, ran.stderr
    tables = bucket.tables()
    committed = {f"lake/{t}/{f}" for t, files in tables.items() for f in files}
    lying = {n for n in bucket.objects("lake/") if n.endswith(".parquet")}
    assert lying - committed, "something was uploaded that nobody sees"
    assert "reports" in tables and "allocated_costs" not in tables
    assert place.finops("run").exit_code == 0
    assert_as_in_a_folder(place, bucket)


def assert_as_in_a_folder(place: Place, bucket: Bucket) -> None:
    """The home is what one undisturbed run makes of the same reports in a folder."""
    place.configure(home="home")
    assert place.finops("run").exit_code == 0
    found, expected = bucket.tables(), tables_of(place.folder / "home")
    assert found.keys() == expected.keys()
    for name in found.keys() - {"reports"}:
        assert found[name] == expected[name], name
    assert _known(found["reports"]) == _known(expected["reports"])


def _known(files: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str, int]]:
    return sorted((r["report_id"], r["sha256"], r["rows"]) for f in files.values() for r in f)
