"""Export trees: which run stands, and what a newer one does to what was known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.azure_blob import AzureBlobLocation, BlobRetry
from finops_pipeline.ingest.location import IngestError, open_location
from finops_pipeline.ingest.manifests import ManifestLocation
from finops_pipeline_tests.normalize.azure_exports import (
    SUBSCRIPTION,
    as_csv,
    as_gzip,
    as_parquet,
    manifest,
    newest,
    row,
)
from finops_pipeline_tests.normalize.pipeline import Outcome, Pipeline, assert_balanced
from finops_pipeline_tests.servers.azurite import ACCOUNT, Azurite, azurite, is_installed

ROOT = "exports/acme"
DAILY = f"{ROOT}/focus-daily/20260801-20260831"
OTHER = "/subscriptions/11111111-2222-3333-4444-555555555555"


class Tree:
    """A container's tree as a directory, with what is below it."""

    def __init__(self, folder: Path, cut: str = "") -> None:
        self.made = Pipeline(folder, "azure_focus")
        self._cut = cut  # how far down the copy of the container begins

    def put(self, name: str, content: bytes, day: date = date(2026, 9, 10)) -> None:
        self.made.deliver(name.removeprefix(self._cut), content, day)

    def drop(self, name: str) -> None:
        (self.made.reports / name.removeprefix(self._cut)).unlink()

    def run_of(
        self, folder: str, submitted: str, parts: dict[str, list[dict[str, str]]], **told: Any
    ) -> None:
        """Write a run: its parts, by their names below the folder, then its manifest."""
        written = {".parquet": as_parquet, ".gz": as_gzip, ".csv": as_csv}
        blobs = {}
        for name, rows in parts.items():
            content = written[Path(name).suffix](rows)
            blobs[f"{folder}/{name}"] = (content, len(rows))
            self.put(f"{folder}/{name}", content)
        self.put(f"{folder}/manifest.json", manifest(blobs, submitted, **told))

    def costs(self) -> list[Decimal]:
        return costs(self.made.run())


def costs(outcome: Outcome) -> list[Decimal]:
    assert_balanced(outcome)
    assert not outcome.ingested.failed
    return sorted(charge["BilledCost"] for charge in outcome.charges)


def rows(*amounts: str, **values: str) -> list[dict[str, str]]:
    return [row(BilledCost=amount, EffectiveCost=amount, **values) for amount in amounts]


@pytest.mark.parametrize("cut", ["", "exports/", f"{ROOT}/", f"{ROOT}/focus-daily/"])
def test_the_greatest_submitted_time_stands_wherever_a_copy_begins(
    tmp_path: Path, cut: str
) -> None:
    tree = Tree(tmp_path, cut)
    tree.run_of(f"{DAILY}/run-b", "2026-08-04T18:33:03.1032074Z", {"part_0_0001.csv": rows("1")})
    tree.run_of(
        f"{DAILY}/run-a", "2026-08-05T18:33:03.1032074Z", {"part_0_0001.csv": rows("2", "3")}
    )
    tree.run_of(f"{DAILY}/run-c", "2026-08-03T18:33:03.1032074Z", {"part_0_0001.csv": rows("9")})
    assert tree.costs() == [2, 3]


def test_a_run_made_anew_replaces_the_month_also_with_less_and_months_later(
    tmp_path: Path,
) -> None:
    tree = Tree(tmp_path)
    parts = {"part_0_0001.csv": rows("1", "2"), "part_1_0001.csv": rows("4")}
    tree.run_of(f"{DAILY}/run-a", "2026-08-05T01:00:00Z", parts)
    assert tree.costs() == [1, 2, 4]
    shorter = {"part_0_0001.csv": rows("1")}
    tree.run_of(f"{DAILY}/run-b", "2026-09-03T01:00:00Z", shorter)
    outcome = tree.made.run()
    assert costs(outcome) == [1]
    assert sum(book["superseded_cost"] for book in outcome.books) == 7
    refunded = {"part_0_0001.csv": rows("1", "-0.5")}
    tree.run_of(f"{DAILY}/run-z", "2027-02-03T01:00:00Z", refunded)
    assert tree.costs() == [Decimal("-0.5"), 1]


def test_overwriting_the_previous_report(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    parts = {"part_0_0001.csv": rows("1"), "part_1_0001.csv": rows("2")}
    tree.run_of(DAILY, "2026-08-05T01:00:00Z", parts)
    assert tree.costs() == [1, 2]
    # The part that is left over is of the run before, and no longer listed.
    tree.run_of(DAILY, "2026-08-06T01:00:00Z", {"part_0_0001.csv": rows("10", "20")})
    assert tree.costs() == [10, 20]


def test_what_is_left_over_below_a_manifest_is_no_run_of_its_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.run_of("copy", "2026-08-05T01:00:00Z", {"run/part_0.csv": rows("1")})
    tree.put("copy/run/part_1.csv", as_csv(rows("8")))
    tree.put("others/20260801-20260831/part_0.csv", as_csv(rows("2")))
    assert tree.costs() == [1, 2]


def test_several_exports_and_scopes_below_one_prefix(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.run_of(f"{DAILY}/r", "2026-08-05T01:00:00Z", {"part_0.csv": rows("1")})
    other = f"{ROOT}/other/focus-daily/20260801-20260831/r"
    there = rows("2", SubAccountId=OTHER)
    tree.run_of(other, "2026-08-04T01:00:00Z", {"part_0.csv": there}, scope=OTHER)
    earlier = f"{ROOT}/focus-daily/20260701-20260731/r"
    july = rows(
        "4", ChargePeriodStart="2026-07-03T00:00:00Z", ChargePeriodEnd="2026-07-04T00:00:00Z"
    )
    tree.run_of(earlier, "2026-08-02T01:00:00Z", {"p.csv": july}, month="2026-07-01T00:00:00")
    prices = f"{ROOT}/prices/20260801-20260831/r"
    tree.run_of(prices, "2026-08-05T01:00:00Z", {"p.csv": rows("99")}, type="PriceSheet")
    assert tree.costs() == [1, 2, 4]
    scopes = {r["delivery_scope"] for r in tree.made.outcome().ledger}
    subscription = SUBSCRIPTION.strip("/")
    assert scopes == {
        f"{subscription}/focus-daily/2026-08",
        f"{subscription}/focus-daily/2026-07",
        f"{OTHER.strip('/')}/focus-daily/2026-08",
    }


def test_csv_and_parquet_of_one_run_and_of_the_next_version(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    told = {
        "part_0_0001.csv": rows("1"),
        "part_1_0001.csv.gz": [newest(r) for r in rows("2")],
        "part_2_0001.snappy.parquet": [newest(r) for r in rows("0.000000000000000003")],
    }
    tree.run_of(f"{DAILY}/r", "2026-08-05T01:00:00Z", told)
    assert tree.costs() == [Decimal("0.000000000000000003"), 1, 2]


def test_a_run_that_is_not_whole_yet_waits_and_is_named(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.run_of(f"{DAILY}/run-a", "2026-08-04T01:00:00Z", {"part_0.csv": rows("1")})
    parts = {"part_0.csv": rows("1"), "part_1.csv": rows("2")}
    tree.run_of(f"{DAILY}/run-b", "2026-08-05T01:00:00Z", parts)
    missing = as_csv(rows("2"))
    tree.drop(f"{DAILY}/run-b/part_1.csv")
    outcome = tree.made.run()
    assert [c["BilledCost"] for c in outcome.charges] == [1]
    assert any(f"{DAILY}/run-b/part_1.csv" in said for said in outcome.ingested.failed)
    tree.put(f"{DAILY}/run-b/part_1.csv", missing)
    assert tree.costs() == [1, 2]


def test_bytes_and_rows_are_held_against_the_manifest(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.run_of(DAILY, "2026-08-05T01:00:00Z", {"part_0.csv": rows("1", "2")})
    tree.put(f"{DAILY}/part_0.csv", as_csv(rows("1")))
    outcome = tree.made.run()
    assert not outcome.charges
    assert any("expected" in said and "bytes" in said for said in outcome.ingested.failed)
    told = json.loads((tree.made.reports / DAILY / "manifest.json").read_text())
    told["blobs"][0].pop("byteCount")
    tree.put(f"{DAILY}/manifest.json", json.dumps(told).encode())
    outcome = tree.made.run()
    assert not outcome.charges
    (said,) = outcome.ingested.failed
    assert "part_0.csv, which it lists, has 1 rows where the manifest says 2" in said


def test_without_manifests_the_newest_run_folder_of_a_period_stands(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put(f"{DAILY}/202608041833/aaaa/part_0.csv", as_csv(rows("1")))
    tree.put(f"{DAILY}/202608051833/0000/part_0.csv", as_csv(rows("2")), date(2026, 9, 9))
    tree.put(f"{DAILY}/202608051833/0000/part_1.csv.gz", as_gzip(rows("3")))
    july = f"{ROOT}/focus-daily/20260701-20260731"
    tree.put(f"{july}/part_0_0001.csv", as_csv(rows("4")))
    tree.put(f"{july}/part_1_0001.csv", as_csv(rows("5")))
    assert tree.costs() == [2, 3, 4, 5]
    tree.put(f"{DAILY}/202608061833/1111/part_0.csv", as_csv(rows("7")))
    assert tree.costs() == [4, 5, 7]


def test_without_run_folders_the_newest_file_of_a_period_stands(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for day, guid, amount in ((3, "ffffffff", "1"), (4, "00000000", "2")):
        name = f"{DAILY}/focus-daily_{guid}-1111-2222-3333-444444444444.csv"
        tree.put(name, as_csv(rows(amount)), date(2026, 9, day))
    assert tree.costs() == [2]


def test_a_plain_folder_of_files_is_taken_whole(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put("one.csv", as_csv(rows("1")))
    tree.put("two.parquet", as_parquet(rows("2")))
    assert tree.costs() == [1, 2]


def test_a_manifest_that_is_none_is_named(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put(f"{DAILY}/manifest.json", b'{"exportConfig": {')
    with pytest.raises(IngestError, match=r"manifest\.json is no manifest of a Cost Management"):
        tree.made.run()


def test_a_month_of_nothing_stands_too(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.run_of(f"{DAILY}/a", "2026-08-04T01:00:00Z", {"part_0.csv": rows("1")})
    assert tree.costs() == [1]
    tree.run_of(f"{DAILY}/b", "2026-08-05T01:00:00Z", {})
    assert tree.costs() == []


@pytest.fixture(scope="module")
def server() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


@pytest.mark.skipif(not is_installed(), reason="Azurite: `make azurite` installs it")
def test_a_container_gives_what_its_copy_gives(
    tmp_path: Path, server: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path)
    parts = {"part_0_0001.csv": rows("1"), "part_1_0001.parquet": rows("2")}
    tree.run_of(f"{DAILY}/run-a", "2026-08-05T01:00:00Z", {"part_0_0001.csv": rows("7")})
    tree.run_of(f"{DAILY}/run-b", "2026-08-06T01:00:00Z", parts)
    for file in sorted(p for p in tree.made.reports.rglob("*") if p.is_file()):
        name = file.relative_to(tree.made.reports).as_posix()
        server.put("exports", f"more/{name}", file.read_bytes())
        if name.endswith("manifest.json"):
            text = file.read_text().replace(DAILY, f"more/{DAILY}")
            server.put("exports", f"more/{name}", text.encode())
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", server.sas("exports"))
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    source = Source(
        name="acme", format="azure_focus", location=f"az://{ACCOUNT}/exports/more",
        endpoint=server.endpoint,
    )  # fmt: skip
    place = open_location(source)
    assert isinstance(place, ManifestLocation)
    (listed,) = place.reports()
    (copied,) = open_location(tree.made.source()).reports()
    assert listed.delivery_scope == copied.delivery_scope
    assert listed.delivered_at == copied.delivered_at
    assert [m.name.removeprefix("more/") for m in listed.members or ()] == [
        m.name for m in copied.members or ()
    ]
    quick = AzureBlobLocation(source, retry=BlobRetry(2, pause=0, jitter=0))
    for member, copy in zip(listed.members or (), copied.members or (), strict=True):
        with quick.stream(member) as pieces:
            assert b"".join(pieces) == (tree.made.reports / copy.name).read_bytes()
    assert tree.costs() == [1, 2]
