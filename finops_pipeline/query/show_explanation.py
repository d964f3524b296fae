"""How an explained figure is shown: as text for people, or as JSON with every digit.

What an explanation is made of is in `explanation.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from typing import Literal

from finops_pipeline.ingest.rows import row_text
from finops_pipeline.query.explanation import Explanation, Rate, explanation_problems
from finops_pipeline.query.show import clean, plain
from finops_pipeline.query.show_parts import plain_json, text_table

_CHARGES_SHOWN = 20  # in the table for people; JSON has all
_WHAT = (
    "ServiceName", "ChargeCategory", "ChargeDescription", "SkuId", "ResourceId", "ResourceName",
    "RegionId", "SubAccountName", "x_ScopePath", "Tags",
)  # fmt: skip


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
    return [clean(told)]


def _ways(e: Explanation) -> list[str]:
    """How this owner's part came through other pools."""
    own = e.own_share
    found = []
    for way in json.loads(own.route or "[]") if own else ():
        steps = " → ".join(
            f"{step['fraction']} of {step['pool']} by {step['driver']} to {step['to']}"
            for step in way
        )
        found.append(clean(f"Way: {steps}"))
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
    return clean("\n".join(lines)) if len(lines) > 1 else ""


def _verdict(e: Explanation) -> str:
    if e.adds_up:
        return "It adds up: the charges, times the share, are the figure to the last digit."
    found = "\n".join(f"  {difference}" for difference in e.differences)
    return f"It does NOT add up; `finops run` rebuilds what is out of date:\n{clean(found)}"


def _number(value: Decimal | None) -> str:
    return "" if value is None else plain(value)


def _lines(*pairs: tuple[str, str]) -> str:
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {clean(value)}" for name, value in pairs)
