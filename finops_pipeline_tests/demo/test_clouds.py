"""The bills from AWS, Azure and Google Cloud: an independent reader counts what the truth tells."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from finops_pipeline.demo import Truth, read_truth
from finops_pipeline.demo.clouds import BUCKET, make_cloud
from finops_pipeline.demo.clouds.goods import Provider
from finops_pipeline_tests.demo.recount_clouds import (
    Charge,
    by_day,
    charges,
    data_files,
    google_rows,
    number,
    rows_of,
    standing_aws,
    standing_azure,
    sums,
)

PROVIDERS: tuple[Provider, ...] = ("aws", "azure", "gcp")
DAYS, ROWS = 40, 4000
_PEAK = """
import resource, sys
from pathlib import Path
from finops_pipeline.demo.clouds import make_cloud
make_cloud(Path(sys.argv[1]), sys.argv[2], days=7, rows=int(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Bill:
    """A made bill: its bucket, its truth, and its charges as an independent reader sees them."""

    folder: Path
    truth: Truth
    charges: list[Charge]


def _bill(root: Path, provider: Provider) -> Bill:
    truth = make_cloud(root / provider, provider, days=DAYS, rows=ROWS, seed=11)
    folder = root / provider / BUCKET
    return Bill(folder, truth, charges(folder, provider))


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bill]:
    root = tmp_path_factory.mktemp("bills")
    return {provider: _bill(root, provider) for provider in PROVIDERS}


@pytest.fixture(params=PROVIDERS)
def bill(request: pytest.FixtureRequest, bills: dict[str, Bill]) -> Bill:
    return bills[request.param]


def test_days_are_true_to_the_last_digit(bill: Bill) -> None:
    told = {
        d.day.isoformat(): (d.net_rows, d.net_cost, d.net_effective_cost) for d in bill.truth.days
    }
    assert told == by_day(bill.charges)
    assert {c.currency for c in bill.charges} == set(bill.truth.currencies)
    assert bill.truth.rows == len(bill.charges)
    for day in bill.truth.days:
        assert day.delivered_rows == day.net_rows + day.superseded_rows
        assert day.delivered_cost == day.net_cost + day.superseded_cost


def test_owners_are_those_that_the_rules_lead_to(bill: Bill) -> None:
    owned: dict[tuple[str, str, str], list[Charge]] = defaultdict(list)
    rules = _rules()
    for charge in bill.charges:
        owned[(charge.day, *_owner(charge, rules))].append(charge)
    told = {
        (o.day.isoformat(), o.owner, o.tier): (o.rows, o.cost, o.effective_cost)
        for o in bill.truth.owners
    }
    assert told == {key: sums(some) for key, some in owned.items()}
    assert {tier for _, _, tier in told} == {"tag", "scope", "pool", "unallocated"}


def test_two_currencies(bills: dict[str, Bill]) -> None:
    told = {provider: bill.truth.currencies for provider, bill in bills.items()}
    assert told == {"aws": ("USD",), "azure": ("EUR",), "gcp": ("USD",)}


def test_files_are_told_with_their_rows_and_times(bill: Bill) -> None:
    told = {file.path: file for file in bill.truth.files}
    assert set(told) == {p.relative_to(bill.folder).as_posix() for p in data_files(bill.folder)}
    for path, file in told.items():
        assert file.rows == len(rows_of(bill.folder / path)) > 0
        assert (bill.folder / path).stat().st_mtime == int(file.delivered_at.timestamp())
    assert read_truth(bill.folder.parent / "truth.json") == bill.truth


@pytest.mark.parametrize("provider", ["aws", "azure"])
def test_what_counts_is_what_the_last_manifests_list(bills: dict[str, Bill], provider: str) -> None:
    bill = bills[provider]
    standing = {"aws": standing_aws, "azure": standing_azure}[provider](bill.folder)
    counting = {bill.folder / file.path for file in bill.truth.files if file.counts}
    assert set(standing) == counting
    assert sum(not file.counts for file in bill.truth.files) > 3


def test_every_form_of_file_is_there(bills: dict[str, Bill]) -> None:
    forms = {
        provider: {"".join(p.suffixes[-2:]) for p in data_files(bill.folder)}
        for provider, bill in bills.items()
    }
    assert forms == {
        "aws": {".csv.gz", ".snappy.parquet"},
        "azure": {".csv.gz", ".snappy.parquet"},
        "gcp": {".json.gz", ".snappy.parquet"},
    }


def test_an_overwriting_export_leaves_a_chunk_behind(bills: dict[str, Bill]) -> None:
    folder = bills["aws"].folder
    chunks = set((folder / "exports/acme-labs-focus/data").rglob("*.parquet"))
    stale = chunks - set(standing_aws(folder))
    assert [p.parent.name for p in stale] == ["BILLING_PERIOD=2026-08"]
    assert all(len(rows_of(path)) > 10 for path in stale)


@pytest.mark.parametrize("provider", ["aws", "azure"])
def test_a_closed_month_is_restated_with_less_and_late_rows(
    bills: dict[str, Bill], provider: str
) -> None:
    folder = bills[provider].folder
    first, second = _editions(folder, provider)

    def told(rows: list[dict[str, Any]]) -> Counter[tuple[str, ...]]:
        names = ("ChargePeriodStart", "ResourceId", "SkuId", "ChargeDescription", "ChargeCategory")
        return Counter(tuple(str(row[name]) for name in names) for row in rows)

    gone, come = told(first) - told(second), told(second) - told(first)
    assert len(gone) >= 1 and all("2026-08-03" in key[0] for key in gone)
    assert all("2026-08-31" in key[0] for key in come)
    assert {key[4] for key in come} == {"aws": {"Credit"}, "azure": {"Purchase"}}[provider]
    assert _billed(first) != _billed(second)


def test_commitments_are_spent_by_use_or_told_as_unused(bills: dict[str, Bill]) -> None:
    for provider in ("aws", "azure"):
        committed = [c for c in bills[provider].charges if c.commitment]
        fees = [c for c in committed if c.category == "Purchase"]
        rest = [c for c in committed if c.category == "Usage"]
        assert {c.status for c in rest} == {"Used", "Unused"}
        assert all(c.billed == 0 < c.effective for c in rest)
        assert all(c.effective == 0 < c.billed for c in fees)
        august = [c for c in committed if c.day.startswith("2026-08")]
        _, billed, effective = sums(august)
        assert billed == effective  # of a month that is over


def test_every_kind_of_charge_is_there(bills: dict[str, Bill]) -> None:
    assert {c.category for c in bills["aws"].charges} == {"Usage", "Purchase", "Tax", "Credit"}
    assert {c.category for c in bills["azure"].charges} == {"Usage", "Purchase", "Credit"}
    assert "AWS Support [Business]" in {c.service for c in bills["aws"].charges}
    assert "SaaS" in {c.service for c in bills["azure"].charges}
    cost_types = {row["cost_type"] for _, _, row in google_rows(bills["gcp"].folder)}
    assert cost_types == {"regular", "tax", "adjustment", "rounding_error"}


def test_google_repeats_rows_and_exports_some_late(bills: dict[str, Bill]) -> None:
    bill = bills["gcp"]
    rows = google_rows(bill.folder)
    seen: dict[str, set[str]] = defaultdict(set)
    for path, text, _ in rows:
        seen[text].add(path.as_posix())
    again = [paths for paths in seen.values() if len(paths) > 1]
    assert again and all(any("-again-" in p for p in paths) for paths in again)
    assert len(rows) == sum(len(paths) for paths in seen.values())
    repeated = sum(len(paths) - 1 for paths in again)
    superseded = sum(d.superseded_rows for d in bill.truth.days)
    assert superseded >= repeated > 20  # a credit of a repeated row is a row too
    days_late = {
        (_day(row["export_time"]) - _day(row["usage_start_time"])).days
        for _, _, row in rows
        if row["cost_type"] == "regular"
    }
    assert min(days_late) == 1 and max(days_late) > 7


def test_google_credits_and_adjustments(bills: dict[str, Bill]) -> None:
    rows = [row for _, _, row in google_rows(bills["gcp"].folder)]
    kinds = {credit["type"] for row in rows for credit in row["credits"]}
    assert kinds == {"COMMITTED_USAGE_DISCOUNT", "SUSTAINED_USAGE_DISCOUNT", "PROMOTION"}
    assert max(len(row["credits"]) for row in rows) > 1
    assert all(number(c["amount"]) < 0 for row in rows for c in row["credits"])
    (adjusted,) = [row for row in rows if row["cost_type"] == "adjustment"]
    assert adjusted["usage_start_time"].startswith("2026-08-20")
    assert adjusted["invoice"]["month"] == "202609"
    # Midnight UTC of the first is still the month before in California.
    of_first = {r["invoice"]["month"] for r in rows if "2026-09-01 00:" in r["usage_start_time"]}
    assert of_first == {"202608"}


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for provider in PROVIDERS:
        made = []
        for name, seed in (("one", 3), ("two", 3), ("other", 4)):
            folder = tmp_path / name / provider
            make_cloud(folder, provider, days=9, rows=400, seed=seed)
            made.append(
                {
                    p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
                    for p in folder.rglob("*")
                    if p.is_file()
                }
            )
        assert made[0] == made[1]
        assert made[0]["truth.json"] != made[2]["truth.json"]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("days", "rows"), [(2, 500), (35, 3000), (100, 20_000)])
def test_about_as_many_rows_as_asked_for(
    tmp_path: Path, provider: Provider, days: int, rows: int
) -> None:
    truth = make_cloud(tmp_path / "t", provider, days=days, rows=rows)
    # Google's credits, which are rows too, and the fees of commitments come on top.
    assert rows <= truth.rows < rows * 1.15
    assert len(truth.days) == days


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_single_day_has_one_of_everything(tmp_path: Path, provider: Provider) -> None:
    truth = make_cloud(tmp_path / "t", provider, days=1, rows=1)
    assert 10 < truth.rows < 60
    assert len({o.owner for o in truth.owners}) > 4


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        make_cloud(tmp_path, "aws", days=1, rows=100)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_memory_does_not_follow_the_rows(tmp_path: Path, provider: Provider) -> None:
    peaks = []
    for rows in (20_000, 200_000):
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(tmp_path / str(rows)), provider, str(rows)],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(done.stdout) / 1024)
    # As text these rows are more than 150 MB; a day of them is in memory at a time.
    assert peaks[1] - peaks[0] < 130


def _editions(folder: Path, provider: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The last two tellings of August in the export that keeps them all."""
    if provider == "aws":
        found = folder.glob("exports/acme-focus/data/BILLING_PERIOD=2026-08/*")
        runs = sorted(found, key=lambda p: p.name)
    else:
        months = folder.glob("focus/acme-business/20260801-20260831/*/manifest.json")
        told = {p.parent: json.loads(p.read_text(encoding="utf-8")) for p in months}
        runs = sorted(told, key=lambda p: str(told[p]["runInfo"]["submittedTime"]))
    first, second = (
        [row for path in data_files(run) for row in rows_of(path)] for run in runs[-2:]
    )
    return first, second


def _day(time: str) -> date:
    return date.fromisoformat(time[:10])


def _billed(rows: list[dict[str, Any]]) -> Decimal:
    return sum((number(row["BilledCost"]) for row in rows), Decimal(0))


def _rules() -> dict[str, Any]:
    text = (files("finops_pipeline.demo") / "data/rules.yaml").read_text(encoding="utf-8")
    rules: dict[str, Any] = yaml.safe_load(text)
    return rules


def _owner(charge: Charge, rules: dict[str, Any]) -> tuple[str, str]:
    tags = dict(charge.tags)
    for rule in rules["tags"]:
        keys = rule["key"] if isinstance(rule["key"], list) else [rule["key"]]
        aliases = {k.casefold(): v for k, v in rule["aliases"].items()}
        for key in keys:
            value = tags.get(key, "").strip().casefold()
            owner = aliases.get(value, value)
            if owner in rules["owners"]:
                return owner, "tag"
    above = [
        r
        for r in rules["scopes"]
        if r.get("provider") in (None, charge.provider)
        and f"{charge.scope}/".startswith(f"{r['path']}/")
    ]
    if above:
        return str(max(above, key=lambda r: len(str(r["path"])))["owner"]), "scope"
    for pool in rules["pools"]:
        held = {
            "ServiceName": charge.service,
            "ChargeCategory": charge.category,
            "CommitmentDiscountId": charge.commitment,
            "scope": charge.scope,
        }
        if all(held[name] in _listed(values) for name, values in pool["match"].items()):
            return str(pool["name"]), "pool"
    return "unallocated", "unallocated"


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
