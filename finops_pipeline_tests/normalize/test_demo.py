"""The made company: what is stored is what its maker says is true, to the last digit."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.config import load_settings
from finops_pipeline.demo import make_company
from finops_pipeline.demo.corrections import Style
from finops_pipeline_tests.normalize.pipeline import EXACT, NOW, Pipeline, assert_balanced


@pytest.mark.parametrize("style", ["add", "replace"])
def test_stored_is_true(tmp_path: Path, style: Style) -> None:
    company = make_company(tmp_path / "acme", days=6, rows=4000, corrections=style)
    for source in load_settings(company.settings).sources:
        pipeline = Pipeline(tmp_path / source.name, source.format, source.corrections, now=NOW)
        pipeline.folder.mkdir()
        pipeline.reports.symlink_to(source.location.removeprefix("file:"))
        outcome = pipeline.run()
        assert_balanced(outcome)
        assert outcome.rejected == []
        rows: dict[tuple[object, str], int] = defaultdict(int)
        cost: dict[tuple[object, str], Decimal] = defaultdict(Decimal)
        for charge in outcome.charges:
            key = (charge["x_ChargeDay"], charge["BillingCurrency"])
            rows[key] += 1
            cost[key] = EXACT.add(cost[key], charge["BilledCost"])
        truth = company.truths[source.name]
        assert {(d.day, d.currency): (d.net_rows, d.net_cost) for d in truth.days} == {
            key: (rows[key], cost[key]) for key in rows
        }
        books = {(b["charge_day"], b["currency"]): b for b in outcome.books}
        for day in truth.days:
            book = books[day.day, day.currency]
            assert book["delivered_rows"] == day.delivered_rows
            assert book["delivered_cost"] == day.delivered_cost
            assert book["superseded_rows"] == day.superseded_rows
            assert book["superseded_cost"] == day.superseded_cost
        assert len(books) == len(truth.days)
        assert sum(d.superseded_rows for d in truth.days) > 0
