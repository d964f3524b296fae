"""An explained figure: what it is made of, and whether that adds up.

Finding what a figure is made of is elsewhere (`explain.py`), and so are adding it up (`adds_up.py`)
and how it looks (`show_explanation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Amounts = Mapping[str, Decimal | None]


@dataclass(frozen=True)
class Decision:
    """Who the cost goes to and why: an owner, or a pool that owners share.

    `text` is the rule as the rules have it. `pool_part` says what the charge belongs to where the
    pool keeps to it; `effective_tags` are None where they are the billed ones.
    """

    tier: str
    rule: str
    text: str | None
    evidence: str | None
    pool: str | None
    pool_part: str | None
    effective_tags: str | None
    ownership_id: str
    rule_set: str


@dataclass(frozen=True)
class PoolShare:
    """One owner's part of the pool: between two running totals, and from which weight.

    `route` says, where the part came through other pools, how: a JSON list of ways. Of a cluster
    the part is for a workload of a namespace, and `facts` is what is known of it, as JSON.
    """

    owner: str
    position: int
    driver: str
    weight: Decimal | None
    fraction: str
    share_before: Decimal
    share_after: Decimal
    share: Decimal
    route: str | None
    cluster: str | None
    namespace: str | None
    workload: str | None
    facts: str | None

    @property
    def place(self) -> str:
        """The workload of a cluster that the part is for, as AllocatedResourceId has it."""
        return "/".join(filter(None, (self.cluster, self.namespace, self.workload)))


@dataclass(frozen=True)
class Rate:
    """The exchange rate; `rate` is None when none is known for the day."""

    rate: Decimal | None
    published: date | None
    source: str | None
    billing_currency: str
    reporting_currency: str


@dataclass(frozen=True)
class Charge:
    """A charge of `focus_costs`, and its row of the archived report; not all have a number.

    `raw` is the row's text as delivered. Without it `raw_problem` says why it cannot be shown, or
    both are None where more charges were found than rows are read.
    """

    reference_number: str | None
    start: datetime
    end: datetime
    amounts: Amounts
    is_correction: bool
    corrects: str | None
    report: str
    report_id: str
    report_row: int
    delivered_at: datetime
    raw: str | None = None
    raw_problem: str | None = None


@dataclass(frozen=True)
class Explanation:
    """An allocated figure and everything it rests on.

    `whole` is the sum of the charges, of which the owner takes `share`: `own_share` of `shares`.
    `differences` says what does not add up, exactly; `more_raw` how many charges have their report
    row not read.
    """

    allocation_id: str
    source: str
    charge_day: date
    owner: str
    dimensions: Mapping[str, Any]
    amounts: Amounts
    share: Decimal
    decision: Decision
    shares: tuple[PoolShare, ...]
    own_share: PoolShare | None
    rate: Rate
    whole: Amounts
    charges: tuple[Charge, ...]
    more_raw: int
    differences: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Whether the charges, times the share, are the figure to the last digit."""
        return not self.differences


def explanation_problems(explanation: Explanation) -> list[str]:
    """What is wrong with the figure, as a command says it; empty when it adds up."""
    if explanation.adds_up:
        return []
    return [f"the charges of {explanation.allocation_id} do not add up to it"]
