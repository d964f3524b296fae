"""The made company: what is stored is what its maker says is true, to the last digit."""

from __future__ import annotations

import shutil
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest

from finops_pipeline.config import load_settings
from finops_pipeline.demo import Truth, make_company
from finops_pipeline.demo.clouds import BUCKET, make_cloud
from finops_pipeline.demo.clouds.goods import Provider
from finops_pipeline.demo.corrections import Style
from finops_pipeline_tests.demo.recount_clouds import by_day, charges
from finops_pipeline_tests.normalize.pipeline import (
    EXACT,
    NOW,
    Outcome,
    Pipeline,
    assert_balanced,
)

SNAPSHOTS = ("aws_focus", "azure_focus")  # a later manifest replaces, nothing is superseded


@pytest.mark.parametrize("style", ["add", "replace"])
def test_stored_is_true(tmp_path: Path, style: Style) -> None:
    company = make_company(tmp_path / "acme", days=6, rows=4000, corrections=style)
    for source in load_settings(company.settings).sources:
        pipeline = Pipeline(tmp_path / source.name, source.format, source.corrections, now=NOW)
        pipeline.folder.mkdir()
        pipeline.reports.symlink_to(source.location.removeprefix("file:"))
        outcome = pipeline.run()
        truth = company.truths[source.name]
        _assert_true(outcome, truth)
        _assert_books(outcome, truth)
        has_superseded = sum(d.superseded_rows for d in truth.days) > 0
        assert has_superseded == (source.format not in SNAPSHOTS)


@pytest.mark.parametrize("provider", get_args(Provider))
def test_a_restated_month_is_true(tmp_path: Path, provider: Provider) -> None:
    """What is delivered up to a time is true then; with the rest of it, all is as the maker says.

    An export that overwrites has only its last delivery to show; it is there from the start.
    """
    truth = make_cloud(tmp_path / "made", provider, days=38, rows=1500)
    (form,) = {file.format for file in truth.files}
    pipeline = Pipeline(tmp_path / "in", form, now=NOW)
    bucket = tmp_path / "made" / BUCKET
    files = [p for p in bucket.rglob("*") if p.is_file()]
    closed = datetime(2026, 9, 2, tzinfo=UTC).timestamp()
    late = [p for p in files if p.stat().st_mtime > closed and "acme-labs-focus" not in str(p)]
    _deliver(pipeline, bucket, [p for p in files if p not in late])
    if provider == "aws":
        _older_manifest(pipeline, bucket)
    before = pipeline.run()
    assert before.rejected == []
    assert _by_day(before) == by_day(charges(pipeline.reports, provider))
    _deliver(pipeline, bucket, late)
    outcome = pipeline.run()
    _assert_true(outcome, truth)
    changed = {day for day, sums in _by_day(before).items() if _by_day(outcome)[day] != sums}
    assert changed and min(changed) < "2026-09"


def _deliver(pipeline: Pipeline, bucket: Path, files: list[Path]) -> None:
    for path in files:
        place = pipeline.reports / path.relative_to(bucket)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def _older_manifest(pipeline: Pipeline, bucket: Path) -> None:
    """Beside the executions' folders stands what the last execution that is there had to say."""
    for folder in pipeline.reports.glob("exports/acme-focus/metadata/*"):
        executions = sorted(p for p in folder.iterdir() if p.is_dir())
        shutil.copy2(executions[-1] / "acme-focus-Manifest.json", folder)


def _by_day(outcome: Outcome) -> dict[str, tuple[int, Decimal, Decimal]]:
    days: dict[str, tuple[int, Decimal, Decimal]] = defaultdict(lambda: (0, Decimal(0), Decimal(0)))
    for charge in outcome.charges:
        rows, billed, effective = days[str(charge["x_ChargeDay"])]
        days[str(charge["x_ChargeDay"])] = (
            rows + 1,
            EXACT.add(billed, charge["BilledCost"]),
            EXACT.add(effective, charge["EffectiveCost"]),
        )
    return dict(days)


def _assert_true(outcome: Outcome, truth: Truth) -> None:
    assert_balanced(outcome)
    assert outcome.rejected == []
    rows: dict[tuple[object, str], int] = defaultdict(int)
    cost: dict[tuple[object, str], Decimal] = defaultdict(Decimal)
    effective: dict[tuple[object, str], Decimal] = defaultdict(Decimal)
    for charge in outcome.charges:
        key = (charge["x_ChargeDay"], charge["BillingCurrency"])
        rows[key] += 1
        cost[key] = EXACT.add(cost[key], charge["BilledCost"])
        effective[key] = EXACT.add(effective[key], charge["EffectiveCost"])
    told = {(d.day, d.currency): d for d in truth.days}
    assert {key: (d.net_rows, d.net_cost, d.net_effective_cost) for key, d in told.items()} == {
        key: (rows[key], cost[key], effective[key]) for key in rows
    }


def _assert_books(outcome: Outcome, truth: Truth) -> None:
    books = {(b["charge_day"], b["currency"]): b for b in outcome.books}
    for day in truth.days:
        book = books[day.day, day.currency]
        assert book["delivered_rows"] == day.delivered_rows
        assert book["delivered_cost"] == day.delivered_cost
        assert book["superseded_rows"] == day.superseded_rows
        assert book["superseded_cost"] == day.superseded_cost
    assert len(books) == len(truth.days)
