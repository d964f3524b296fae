"""The made company: five sources, settings the pipeline can load, budgets that mean something."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from finops_pipeline.config import load_settings
from finops_pipeline.demo import Company, make_company


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Acme in small."""
    return make_company(tmp_path_factory.mktemp("company"), days=10, rows=12_000, home="lake")


def test_settings_point_at_every_bill(company: Company) -> None:
    settings = load_settings(company.settings)
    assert {s.name: s.format for s in settings.sources} == {
        "acme-oci": "oci_cost_csv",
        "acme-eu": "oci_focus",
        "acme-aws": "aws_focus",
        "acme-azure": "azure_focus",
        "acme-gcp": "gcp_detailed",
    }
    assert all(Path(s.location.removeprefix("file:")).is_dir() for s in settings.sources)
    assert settings.home == company.folder / "lake"
    assert settings.first_day == date(2026, 8, 1)
    assert settings.rules == company.rules


def test_each_tenancy_has_the_reports_that_its_source_reads(company: Company) -> None:
    american, european = company.truths["acme-oci"], company.truths["acme-eu"]
    assert {f.format for f in american.files} == {"cost"}
    assert {f.format for f in european.files} == {"focus"}
    assert american.currencies == ("EUR", "USD")
    assert european.currencies == ("EUR",)
    share = american.rows / (american.rows + european.rows)
    assert share == pytest.approx(0.75, abs=0.02)
    whole = sum(truth.rows for truth in company.truths.values())
    assert whole == pytest.approx(12_000, rel=0.05)
    assert (american.rows + european.rows) / whole == pytest.approx(0.86, abs=0.03)


def test_rules_name_what_the_truth_knows(company: Company) -> None:
    rules = yaml.safe_load(company.rules.read_text(encoding="utf-8"))
    known = {*rules["owners"], *(p["name"] for p in rules["pools"]), "unallocated"}
    assert {o.owner for t in company.truths.values() for o in t.owners} == known


def test_budgets_are_in_warning_spent_and_quiet(company: Company) -> None:
    budgets = {b.name: b for b in load_settings(company.settings).budgets}
    direct: dict[str, Decimal] = {}
    for truth in company.truths.values():
        for part in truth.owners:
            in_usd = part.effective_cost * (Decimal("1.1") if part.currency == "EUR" else 1)
            direct[part.owner] = direct.get(part.owner, Decimal(0)) + in_usd
    whole = sum(direct.values()) / budgets["company"].amount
    assert Decimal("0.5") < whole < Decimal("0.8")
    assert direct["search"] / budgets["search"].amount < Decimal("0.95")
    assert budgets["search"].filters == {"owner": ("search",)}
    assert budgets["data-platform"].amount < direct["data-platform"] * Decimal("1.1")
