"""The tables of the lake: columns, types, meaning, partitions.

Each table is described once, in `data/`. Its Delta schema, its Pandera contract, the column
descriptions in the Dagster UI and the comments in the catalogue are all made from that
description (`forms.py`). No data and no Dagster here.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

ColumnType = Literal[
    "String", "Strings", "JSON", "Decimal", "Rate", "Share", "Date", "Date/Time", "Integer",
    "Boolean", "Totals",
]  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column: its name, type, whether it may be null, its allowed values and its meaning."""

    name: str
    type: ColumnType
    nullable: bool
    description: str
    allowed: tuple[str, ...] = ()
    minimum: int | None = None


@dataclass(frozen=True)
class Table:
    """A table of the lake.

    `partition_by` names the partition columns, outermost first: the source's column, where there
    is one, then the day's.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...]

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError when there is none."""
        return {c.name: c for c in self.columns}[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)


def read_facts(path: str) -> list[dict[str, str]]:
    """Rows of a data file of this package, `path` relative to the package's folder."""
    text = files("finops_pipeline").joinpath(path).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _columns(path: str) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=row["column"],
            type=row["type"],  # type: ignore[arg-type]
            nullable=row["nullable"].lower() == "true",
            description=row["description"],
            allowed=tuple(v for v in row["allowed_values"].split("|") if v),
            minimum=int(row["minimum"]) if row["minimum"] else None,
        )
        for row in read_facts(path)
    )


@cache
def focus_columns() -> tuple[Column, ...]:
    """The 57 columns of FOCUS 1.2."""
    return _columns("contracts/data/focus_1_2_columns.csv")


# Which FOCUS columns the daily grain keeps: the dimensions that people group by, the metrics that
# add up. Prices and times below a day do not survive a sum.
DAILY_DIMENSIONS = (
    "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart",
    "BillingPeriodEnd", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "CommitmentDiscountId", "ConsumedUnit", "InvoiceIssuerName", "PricingCategory", "PricingUnit",
    "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName",
    "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
DAILY_METRICS = (
    "BilledCost", "ConsumedQuantity", "ContractedCost", "EffectiveCost", "ListCost",
    "PricingQuantity",
)  # fmt: skip
REPORTING_METRICS = (
    "x_ReportingBilledCost", "x_ReportingEffectiveCost", "x_ReportingListCost",
)  # fmt: skip


# What questions may ask for. The roll-up by month keeps all but the day; the one by day leaves
# out what tells one resource from another.
MONTHLY_DIMENSIONS = (
    "BillingAccountId", "BillingCurrency", "ChargeCategory", "ConsumedUnit", "ProviderName",
    "RegionId", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "SkuId", "SkuMeter", "SubAccountId", "SubAccountName", "Tags",
    "x_BusinessUnit", "x_Cluster", "x_Namespace", "x_Pool", "x_ReportingCurrency", "x_Rule",
    "x_ScopePath", "x_Source", "x_Tier", "x_Workload",
)  # fmt: skip
_OF_RESOURCES = {
    "ResourceId", "ResourceName", "ResourceType", "SkuId", "SkuMeter", "Tags", "x_ScopePath",
    "x_Workload",
}  # fmt: skip
DAY_DIMENSIONS = tuple(c for c in MONTHLY_DIMENSIONS if c not in _OF_RESOURCES)
SUMMED_METRICS = (
    "BilledCost", "ConsumedQuantity", "ContractedCost", "EffectiveCost", "ListCost",
    *REPORTING_METRICS,
)  # fmt: skip


@cache
def tables() -> dict[str, Table]:
    """Every table of the lake by name."""
    focus = focus_columns()
    daily = tuple(c for c in focus if c.name in DAILY_DIMENSIONS + DAILY_METRICS)
    own = "contracts/data/tables/{}.csv".format
    day = ("source", "charge_day")
    allocated = Table(
        "allocated_costs",
        "The answer: daily cost per resource, SKU and owner.",
        daily + _columns(own("allocated_x")),
        ("x_Source", "ProviderName", "x_ChargeDay", "x_BusinessUnit"),
    )
    described = [
        Table(
            "reports",
            "Ledger: one row for each report that was archived.",
            _columns(own("reports")),
            ("source", "delivery_day"),
        ),
        Table(
            "compartments",
            "Inventory: the compartment tree as last seen.",
            _columns(own("compartments")),
            ("source",),
        ),
        Table(
            "focus_costs",
            "FOCUS 1.2 with x_ columns: one row a charge, as fine as delivered.",
            focus + _columns(own("focus_x")),
            ("x_Source", "x_ChargeDay"),
        ),
        Table(
            "rejected_rows",
            "Rows of reports that broke the contract.",
            _columns(own("rejected_rows")),
            day,
        ),
        Table(
            "superseded_rows",
            "Rows that a later delivery or a correction replaced.",
            _columns(own("superseded_rows")),
            day,
        ),
        Table(
            "conservation",
            "For each charge day and currency: delivered = stored + superseded + rejected.",
            _columns(own("conservation")),
            day,
        ),
        Table(
            "ownership",
            "For each distinct resource and tag set: who owns its cost, and why.",
            _columns(own("ownership")),
            day,
        ),
        Table(
            "shares",
            "For each pool and owner: the exact part of the pool that the owner takes.",
            _columns(own("shares")),
            day,
        ),
        allocated,
        Table(
            "cluster_usage",
            "What the workloads of a Kubernetes cluster requested and used, and its capacity.",
            _columns(own("cluster_usage")),
            ("cluster", "charge_day"),
        ),
        Table(
            "rule_sets",
            "Every set of allocation rules that made a figure, by its hash; only ever added to.",
            _columns(own("rule_sets")),
            ("rule_set",),
        ),
        Table(
            "rule_changes",
            "Audit log, only ever added to: which rule set was put in the place of which, by whom, "
            "and each owner's totals of the days it made anew. When, is the commit's own time in "
            "the Delta log: `finops rules log`.",
            _columns(own("rule_changes")),
            ("source",),
        ),
        _summed(
            "monthly_costs",
            "Roll-up: cost per month, resource and owner.",
            allocated,
            MONTHLY_DIMENSIONS,
        ),
        _summed(
            "daily_costs", "Roll-up: cost per day, service and owner.", allocated, DAY_DIMENSIONS
        ),
        Table(
            "daily_totals",
            "Roll-up: cost per day, owner, service and account; what dashboards ask every day.",
            _columns(own("daily_totals")),
            ("charge_day",),
        ),
        Table(
            "budget_status",
            "For each budget and charge day: what its month has cost so far.",
            _columns(own("budget_status")),
            ("charge_day",),
        ),
    ]
    return {table.name: table for table in described}


def _summed(name: str, description: str, costs: Table, dimensions: tuple[str, ...]) -> Table:
    """A roll-up of the costs, one file a month: the same columns, fewer of them."""
    kept = (*dimensions, *SUMMED_METRICS)
    further = {c.name: c for c in _columns("contracts/data/tables/summed_x.csv")}
    return Table(
        name,
        f"{description} One file a month, for questions; see the columns of allocated_costs.",
        (
            *(costs.column(c) for c in costs.names if c in kept),
            *further.values(),
        ),
        ("x_ChargeMonth",),
    )
