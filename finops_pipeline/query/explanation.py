"""An explained figure: what it is made of, whether that adds up, and how it is shown.

Finding what a figure is made of is elsewhere (`explain.py`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finops_pipeline.ingest.rows import row_text
from finops_pipeline.query.show import plain

Amounts = Mapping[str, Decimal | None]

_CHARGES_SHOWN = 20  # in the table for people; JSON has all
_WHAT = (
    "ServiceName", "ChargeCategory", "ChargeDescription", "SkuId", "ResourceId", "ResourceName",
    "RegionId", "SubAccountName", "x_ScopePath", "Tags",
)  # fmt: skip


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


def show_explanation(explanation: Explanation, form: Literal["table", "json"] = "table") -> str:
    """The explanation as text for people, or as JSON with every digit, ending with a line break."""
    if form == "json":
        told = {"adds_up": explanation.adds_up, "problems": explanation_problems(explanation)}
        content = {**asdict(explanation), **told}
        return json.dumps(plain_json(content), indent=2, ensure_ascii=False) + "\n"
    parts = [
        _heading(explanation),
        _amounts(explanation),
        _decision(explanation),
        _rate(explanation.rate),
        _charges(explanation),
        _raw(explanation),
        _verdict(explanation),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def explanation_problems(explanation: Explanation) -> list[str]:
    """What is wrong with the figure, as a command says it; empty when it adds up."""
    if explanation.adds_up:
        return []
    return [f"the charges of {explanation.allocation_id} do not add up to it"]


def plain_json(value: Any) -> Any:
    """As JSON: exact decimals as text, times in ISO 8601."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: plain_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(inner) for inner in value]
    return value


def _heading(e: Explanation) -> str:
    found = [(name, e.dimensions.get(name)) for name in _WHAT]
    return _lines(
        ("Figure", e.allocation_id),
        ("Owner", e.owner),
        ("Day", f"{e.charge_day}, source {e.source}"),
        *((name.removeprefix("x_"), str(value)) for name, value in found if value is not None),
    )


def _amounts(e: Explanation) -> str:
    """Each metric: of all charges together, and of this owner."""
    rows = [
        (name, _number(e.whole.get(name)), _number(amount), _unit(e, name))
        for name, amount in e.amounts.items()
        if amount is not None or e.whole.get(name) is not None
    ]
    return text_table(("", "sum of the charges", "this owner", ""), rows, right=(1, 2))


def _unit(e: Explanation, metric: str) -> str:
    if metric.startswith("x_Reporting"):
        return e.rate.reporting_currency
    units = {"ConsumedQuantity": "ConsumedUnit", "PricingQuantity": "PricingUnit"}
    return str(e.dimensions.get(units.get(metric, "BillingCurrency")) or "")


def _decision(e: Explanation) -> str:
    d = e.decision
    further = [
        (name, value)
        for name, value in (
            ("Rule", d.text), ("Belongs to", d.pool_part), ("Effective tags", d.effective_tags)
        )
        if value
    ]  # fmt: skip
    text = _lines(
        ("Why", f"{d.rule} (tier {d.tier})"),
        *further,
        ("Evidence", d.evidence or "the decision is no longer in the table `ownership`"),
        ("Rule set", d.rule_set),
        ("Share", f"{plain(e.share)} of pool {d.pool}" if d.pool else "all of it"),
    )
    if not e.shares:
        return text
    clusters = any(s.cluster for s in e.shares)
    rows = [
        (
            f"{s.owner}{' <' if s == e.own_share else ''}",
            *([s.place] if clusters else []),
            plain(s.share),
            s.fraction,
            _number(s.weight),
            s.driver,
        )
        for s in e.shares
    ]
    head = ("owner", *(["workload"] if clusters else []), "share", "exactly", "weight", "driver")
    numbers = [head.index(name) for name in ("share", "exactly", "weight")]
    return "\n".join([text, text_table(head, rows, numbers), *_facts(e), *_ways(e)])


def _facts(e: Explanation) -> list[str]:
    """What is known of the workload that the part is for."""
    if e.own_share is None or e.own_share.facts is None:
        return []
    facts = json.loads(e.own_share.facts)
    hours = f"{facts['cpu_core_hours']} core hours, {facts['memory_gib_hours']} GiB hours"
    labels = json.dumps(facts["labels"], ensure_ascii=False)
    told = f"Workload: {e.own_share.place}: {hours}; {facts['evidence']}; labels {labels}"
    return [_clean(told)]


def _ways(e: Explanation) -> list[str]:
    """How this owner's part came through other pools."""
    own = e.own_share
    found = []
    for way in json.loads(own.route or "[]") if own else ():
        steps = " → ".join(
            f"{step['fraction']} of {step['pool']} by {step['driver']} to {step['to']}"
            for step in way
        )
        found.append(_clean(f"Way: {steps}"))
    return found


def _rate(rate: Rate) -> str:
    if rate.rate is None:
        told = f"none known for {rate.billing_currency}: no cost in {rate.reporting_currency}"
    elif rate.billing_currency == rate.reporting_currency:
        told = f"none needed: billed and reported in {rate.billing_currency}"
    else:
        told = (
            f"1 {rate.billing_currency} = {plain(rate.rate)} {rate.reporting_currency}, "
            f"published for {rate.published} by {rate.source}"
        )
    return _lines(("Rate", told))


def _charges(e: Explanation) -> str:
    shown = e.charges[:_CHARGES_SHOWN]
    rows = [
        (
            f"{c.start:%Y-%m-%d %H:%M}",
            _number(c.amounts["BilledCost"]),
            _number(c.amounts["EffectiveCost"]),
            (c.reference_number or "") + (f" (corrects {c.corrects})" if c.corrects else ""),
            c.report,
            row_text(c.report_row),
        )
        for c in shown
    ]
    head = ("charge from (UTC)", "BilledCost", "EffectiveCost", "reference", "report", "row")
    more = len(e.charges) - len(shown)
    return f"Charges: {len(e.charges):,}\n{text_table(head, rows, (1, 2, 5))}" + (
        f"\nand {more:,} more; JSON has them all" if more else ""
    )


def _raw(e: Explanation) -> str:
    lines = ["Report rows as delivered"]
    for charge in e.charges[:_CHARGES_SHOWN]:
        if charge.raw is not None or charge.raw_problem is not None:
            lines.append(f"{charge.report}, row {row_text(charge.report_row)}:")
        if charge.raw is not None:
            lines.append(f"  {charge.raw}")
        if charge.raw_problem is not None:
            lines.append(f"  ! {charge.raw_problem}")
    if e.more_raw:
        lines.append(f"and {e.more_raw:,} more rows")
    return _clean("\n".join(lines)) if len(lines) > 1 else ""


def _verdict(e: Explanation) -> str:
    if e.adds_up:
        return "It adds up: the charges, times the share, are the figure to the last digit."
    found = "\n".join(f"  {difference}" for difference in e.differences)
    return f"It does NOT add up; `finops run` rebuilds what is out of date:\n{_clean(found)}"


def _number(value: Decimal | None) -> str:
    return "" if value is None else plain(value)


def _lines(*pairs: tuple[str, str]) -> str:
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {_clean(value)}" for name, value in pairs)


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    """Rows below their heads, for people; `right` are the columns set to the right."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for position, name in enumerate(head):
        justify: Literal["left", "right"] = "right" if position in right else "left"
        table.add_column(Text(_clean(name)), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_clean(value)) for value in row))
    out = io.StringIO()
    Console(file=out, width=10_000, color_system=None, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines() if line.strip())


def _clean(text: str) -> str:
    """Text from a bill with nothing that could command a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
