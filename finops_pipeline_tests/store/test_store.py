"""What follows from `allocated_costs` for all sources: `daily_totals`, budgets and their events."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Budget
from finops_pipeline.contracts.tables import tables
from finops_pipeline.store.rollups import Rollups
from finops_pipeline_tests.orchestration.company import Company, day

EXACT = Context(prec=80)
# What a column of the roll-up is made of, told here once more on purpose.
DIMENSIONS = {
    "charge_day": "x_ChargeDay", "source": "x_Source", "provider": "ProviderName",
    "account": "SubAccountId", "owner": "x_BusinessUnit", "tier": "x_Tier",
    "service_category": "ServiceCategory", "service": "ServiceName",
    "charge_category": "ChargeCategory", "currency": "BillingCurrency",
    "reporting_currency": "x_ReportingCurrency",
}  # fmt: skip
METRICS = {
    "billed_cost": "BilledCost", "effective_cost": "EffectiveCost",
    "reporting_billed_cost": "x_ReportingBilledCost",
    "reporting_effective_cost": "x_ReportingEffectiveCost",
}  # fmt: skip
Key = tuple[Any, ...]


@pytest.fixture
def acmes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """Two sources, each with three days of charges in two currencies and one without a rate."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    budget = Budget(name="all", amount=Decimal("10"), thresholds=(Decimal(25), Decimal(50)))
    made = Company(tmp_path, sources=("acme-oci", "acme-eu"), options={"budgets": (budget,)})
    for source in made.sources:
        for n in (1, 2, 3):
            rows = [
                made.charge(day(n), "0.70000000000000001", source),
                made.charge(day(n), "0.3", source, service="DATABASE"),
                made.charge(day(n), "0.1", source, currency="EUR"),
                made.charge(day(n), "500", source, currency="ARS"),
                made.charge(day(n), "-0.05", source, service="SUPPORT"),
            ]
            made.deliver(f"r{n}", *rows, on=day(n), source=source)
    return made


def summed(rows: Iterable[dict[str, Any]]) -> dict[Key, list[Decimal | None]]:
    found: dict[Key, list[Decimal | None]] = defaultdict(lambda: [None] * len(METRICS))
    for row in rows:
        sums = found[tuple(row[c] for c in DIMENSIONS.values())]
        for i, metric in enumerate(METRICS.values()):
            if row[metric] is not None:
                sums[i] = EXACT.add(sums[i] or Decimal(0), row[metric])
    return dict(found)


def totals(company: Company) -> dict[Key, list[Decimal | None]]:
    rows = company.rows("daily_totals")
    assert all(tuple(row) == tables()["daily_totals"].names for row in rows)
    found = {tuple(r[c] for c in DIMENSIONS): [r[m] for m in METRICS] for r in rows}
    assert len(found) == len(rows)
    return found


def events(company: Company) -> list[tuple[str, str]]:
    text = (company.folder / "home" / "events.jsonl").read_text(encoding="utf-8")
    data = [json.loads(line)["data"] for line in text.splitlines()]
    return [(e["threshold"], e["charge_day"]) for e in data]


def test_daily_totals_are_the_allocated_costs_summed(acmes: Company) -> None:
    acmes.run()
    found = totals(acmes)
    assert found == summed(acmes.rows("allocated_costs"))
    assert {k[1] for k in found} == {"acme-oci", "acme-eu"} and len({k[0] for k in found}) == 3
    assert any(v[2] is None for v in found.values())  # no rate is no figure, not a zero

    acmes.deliver("late", acmes.charge(day(2), "9"), on=day(4))
    acmes.run()
    assert totals(acmes) == summed(acmes.rows("allocated_costs"))
    assert totals(acmes) != found


def test_only_days_that_changed_are_rolled_up_again(acmes: Company) -> None:
    acmes.run()
    before = acmes.versions()["daily_totals"]

    def stale() -> list[date]:
        with acmes.pipeline.engine() as engine:
            return Rollups(acmes.pipeline.home, engine).stale_days()

    assert stale() == []
    acmes.pipeline.home.table("allocated_costs").replace(
        [("acme-oci", "Oracle", day(3).isoformat())], []
    )
    assert stale() == [day(3)]
    with acmes.pipeline.engine() as engine:
        Rollups(acmes.pipeline.home, engine).run([day(2), day(3)])
    assert acmes.versions()["daily_totals"] == before + 1
    assert totals(acmes) == summed(acmes.rows("allocated_costs"))
    assert stale() == []


def test_each_threshold_is_announced_once_over_several_runs(acmes: Company) -> None:
    acmes.run()
    # Two sources of about 1.05 USD a day: 2.1, 4.2, 6.3 of 10.
    assert events(acmes) == [("25", "2025-01-02"), ("50", "2025-01-03")]

    acmes.run()
    acmes.deliver("late", acmes.charge(day(1), "9"), on=day(4))
    acmes.run()

    assert [threshold for threshold, _ in events(acmes)] == ["25", "50"]
    spent = {r["charge_day"]: r["spent"] for r in acmes.rows("budget_status")}
    assert spent[day(3)] > 15
