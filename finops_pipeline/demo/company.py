"""Acme: five bills of four clouds, and the configuration that points the pipeline at them.

Budgets are set from what the company truly spends, so that at any size one is warned about twice,
one is overspent and one is quiet.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import yaml

from finops_pipeline.demo.catalogue import data_text
from finops_pipeline.demo.clouds import BUCKET, make_cloud
from finops_pipeline.demo.clouds.goods import Provider
from finops_pipeline.demo.corrections import Style
from finops_pipeline.demo.report_files import Format
from finops_pipeline.demo.tenancy import Progress, make_tenancy
from finops_pipeline.demo.truth import Truth

# Rows of each bill, in thousandths of all: most of Acme is at OCI.
_SHARES = {"acme-oci": 645, "acme-eu": 215, "acme-aws": 50, "acme-azure": 40, "acme-gcp": 50}
_CLOUDS: dict[str, Provider] = {"acme-aws": "aws", "acme-azure": "azure", "acme-gcp": "gcp"}
# Only to set budgets; the pipeline has its own exchange rates.
_ROUGHLY_IN_USD = {"USD": Decimal(1), "EUR": Decimal("1.1")}
# How much of each budget the fullest month spends; no owner means the whole company.
_BUDGETS = (
    ("company", None, Decimal("0.6")),
    ("search", "search", Decimal("0.9")),
    ("data-platform", "data-platform", Decimal("1.2")),
)
_FORMATS: dict[str, Format] = {"acme-oci": "cost", "acme-eu": "focus"}
_READ_AS = {
    "acme-oci": "oci_cost_csv",
    "acme-eu": "oci_focus",
    "acme-aws": "aws_focus",
    "acme-azure": "azure_focus",
    "acme-gcp": "gcp_detailed",
}


@dataclass(frozen=True)
class Company:
    """A made company: its folder, its configuration and the truth about each source by name."""

    folder: Path
    settings: Path
    rules: Path
    truths: dict[str, Truth]


def make_company(
    out: Path,
    *,
    days: int = 35,
    rows: int = 200_000,
    seed: int = 7,
    first_day: date = date(2026, 8, 1),
    progress: Progress | None = None,
    home: str = ".finops",
    corrections: Style = "add",
    both_formats: bool = False,
) -> Company:
    """Make the five bills, `finops.yaml` and `rules.yaml` below `out`.

    `rows` is about how many rows stand in all, most of them in the two tenancies of OCI; the others
    have one of everything at least. `home` is what `finops.yaml` says. Each tenancy has the reports
    of the format its source reads, or with `both_formats` both of OCI's. Raises FileExistsError
    where one of the folders already holds something.
    """
    truths: dict[str, Truth] = {}
    for name, share in _SHARES.items():
        told = _after(progress, sum(t.rows for t in truths.values()), rows)
        size = rows * share // 1000
        if name in _CLOUDS:
            truths[name] = make_cloud(
                out / name,
                _CLOUDS[name],
                days=days,
                rows=size,
                seed=seed,
                first_day=first_day,
                progress=told,
            )
            continue
        truths[name] = make_tenancy(
            out / name,
            days=days,
            rows=size,
            seed=seed,
            first_day=first_day,
            formats={"cost", "focus"} if both_formats else {_FORMATS[name]},
            progress=told,
            tenancy=name,
            corrections=corrections,
        )
    company = Company(out, out / "finops.yaml", out / "rules.yaml", truths)
    company.rules.write_text(data_text("rules.yaml"), encoding="utf-8")
    settings = _settings(company, home, corrections, first_day)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    company.settings.write_text(text, encoding="utf-8")
    return company


def _settings(company: Company, home: str, style: Style, first_day: date) -> dict[str, object]:
    return {
        "reporting_currency": "USD",
        "home": home,
        "first_day": first_day,
        "sources": [
            {
                "name": name,
                "format": _READ_AS[name],
                "location": f"file:{name}" + (f"/{BUCKET}" if name in _CLOUDS else ""),
                "corrections": style,
            }
            for name in company.truths
        ],
        "rules": "rules.yaml",
        "budgets": _budgets(company.truths),
    }


def _budgets(truths: dict[str, Truth]) -> list[dict[str, object]]:
    spent = _fullest_month(truths)
    budgets: list[dict[str, object]] = []
    for name, owner, used in _BUDGETS:
        cost = spent[owner] if owner else sum(spent.values(), Decimal(0))
        amount = max((cost / used).quantize(Decimal("0.01"), ROUND_HALF_UP), Decimal("0.01"))
        budget: dict[str, object] = {"name": name, "amount": str(amount)}
        if owner:
            budget["filters"] = {"owner": [owner]}
        budgets.append({**budget, "thresholds": [50, 80, 100]})
    return budgets


def _fullest_month(truths: dict[str, Truth]) -> dict[str, Decimal]:
    """Roughly what each owner spends, in USD, in the costliest month; pools spread by cost."""
    months: dict[tuple[int, int], dict[str, Decimal]] = {}
    for truth in truths.values():
        for part in truth.owners:
            month = months.setdefault((part.day.year, part.day.month), defaultdict(Decimal))
            owner = "" if part.tier == "pool" else part.owner
            month[owner] += part.effective_cost * _ROUGHLY_IN_USD[part.currency]
    spent = max(months.values(), key=lambda month: sum(month.values()))
    pooled = spent.pop("", Decimal(0))
    direct = sum((cost for owner, cost in spent.items() if owner != "unallocated"), Decimal(0))
    return {
        owner: cost if owner == "unallocated" else cost + pooled * cost / direct
        for owner, cost in spent.items()
    }


def _after(progress: Progress | None, before: int, rows: int) -> Progress | None:
    """Progress of one tenancy as progress of the company."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, max(rows, before + done))
