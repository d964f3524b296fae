"""Which of several rows of a charge stands: golden cases, by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest

from finops_pipeline_tests.normalize.pipeline import (
    DELIVERED,
    Outcome,
    Pipeline,
    Row,
    assert_balanced,
    line,
    report,
    shift,
)


def row(ref: str, cost: str, back: str = "", **values: str) -> Row:
    return line(ref=ref, cost=cost, **({"back": back} if back else {}), **values)


@dataclass(frozen=True)
class Case:
    """Reports in the order of their delivery; who stands, and what became of the others."""

    reports: tuple[tuple[Row, ...], ...]
    stands: tuple[tuple[str, str], ...]
    lost: tuple[tuple[str, str, str], ...] = field(default=())  # reference, cost, reason
    unmatched: int = 0
    corrections: Literal["add", "replace"] = "replace"


A = row("A", "10")
B = row("B", "6", back="A")
CASES = {
    "repeated in a later report": Case(((A,), (A,)), (("A", "10"),), (("A", "10", "repeated"),)),
    "restated in a later report": Case(
        ((A,), (row("A", "11"),)), (("A", "11"),), (("A", "10", "restated"),)
    ),
    "twice in one report: the later row": Case(
        ((row("A", "1"), row("A", "2")),), (("A", "2"),), (("A", "1", "restated"),)
    ),
    "three times": Case(
        ((row("A", "1"),), (row("A", "3"),), (row("A", "1"), row("A", "3"))),
        (("A", "3"),),
        (("A", "1", "restated"), ("A", "1", "restated"), ("A", "3", "repeated")),
    ),
    "equal though spelled otherwise": Case(
        ((A,), (row("A", "1.0E1"),)), (("A", "10"),), (("A", "10", "repeated"),)
    ),
    "one number in two tenancies": Case(
        ((A,), (row("A", "7", tenancy="other"),)), (("A", "10"), ("A", "7"))
    ),
    "no tenancy is one tenancy": Case(
        ((row("A", "1", tenancy=""),), (row("A", "2", tenancy=""),)),
        (("A", "2"),),
        (("A", "1", "restated"),),
    ),
    "restated in another currency": Case(
        ((A,), (row("A", "9", currency="EUR"),)), (("A", "9"),), (("A", "10", "restated"),)
    ),
    "corrections that add": Case(
        ((A,), (row("B", "-4", back="A"),)), (("A", "10"), ("B", "-4")), corrections="add"
    ),
    "correction that replaces": Case(((A,), (B,)), (("B", "6"),), (("A", "10", "corrected"),)),
    "correction in one report with its original": Case(
        ((B, A),), (("B", "6"),), (("A", "10", "corrected"),)
    ),
    "correction delivered before its original": Case(
        ((B,), (A,)), (("B", "6"),), (("A", "10", "corrected"),)
    ),
    "chain": Case(
        ((A,), (B,), (row("C", "4", back="B"),)),
        (("C", "4"),),
        (("A", "10", "corrected"), ("B", "6", "corrected")),
    ),
    "chain that adds": Case(
        ((A,), (B,), (row("C", "4", back="B"),)),
        (("A", "10"), ("B", "6"), ("C", "4")),
        corrections="add",
    ),
    "circle: the latest stands": Case(
        ((row("A", "10", back="B"),), (B,)), (("B", "6"),), (("A", "10", "corrected"),)
    ),
    "circle of three": Case(
        ((row("A", "1", back="C"),), (row("B", "2", back="A"),), (row("C", "3", back="B"),)),
        (("C", "3"),),
        (("A", "1", "corrected"), ("B", "2", "corrected")),
    ),
    "correction of itself": Case(((row("A", "1", back="A"),),), (("A", "1"),)),
    "no original": Case(((row("B", "6", back="Z"),),), (("B", "6"),), unmatched=1),
    "original on another day": Case(
        ((row("A", "10", start="2026-09-08T10:00Z"),), (B,)),
        (("A", "10"), ("B", "6")),
        unmatched=1,
    ),
    "original of another tenancy": Case(
        ((row("A", "10", tenancy="other"),), (B,)), (("A", "10"), ("B", "6"))
    ),
    "two corrections: the later report": Case(
        ((A,), (B,), (row("C", "5", back="A"),)),
        (("C", "5"),),
        (("A", "10", "corrected"), ("B", "6", "corrected")),
    ),
    "a correction of two lines": Case(
        ((A,), (B, row("C", "5", back="A"))),
        (("B", "6"), ("C", "5")),
        (("A", "10", "corrected"),),
    ),
    "a correction delivered twice": Case(
        ((A,), (B,), (B,)),
        (("B", "6"),),
        (("A", "10", "corrected"), ("B", "6", "repeated")),
    ),
    "the original delivered again after its correction": Case(
        ((A,), (B,), (A,)),
        (("B", "6"),),
        (("A", "10", "corrected"), ("A", "10", "repeated")),
    ),
    "a back reference on a row that is no correction": Case(
        ((A,), (row("B", "6", back="A", correction="false"),)), (("A", "10"), ("B", "6"))
    ),
    "a correction without a back reference": Case(
        ((A,), (row("B", "6", back="", correction="true"),)), (("A", "10"), ("B", "6"))
    ),
}


Policy = Literal["add", "replace"]
REFERENCES = ("lineItem/referenceNo", "lineItem/backreferenceNo")


def ran(folder: Path, policy: Policy, order: tuple[int, ...] = ()) -> Outcome:
    """All cases of a policy at once, kept apart by their reference numbers.

    Reports of successive days, ingested one by one in this order, or all at once.
    """
    reports: dict[int, list[Row]] = defaultdict(list)
    for name, case in CASES.items():
        for i, rows in enumerate(case.reports if case.corrections == policy else ()):
            for made in rows:
                own = {column: f"{name}/{made[column]}" for column in REFERENCES if made[column]}
                reports[i].append(made | own)
    pipeline = Pipeline(folder, corrections=policy)
    for i, rows in reports.items():
        pipeline.deliver(f"{i}.csv", report(rows), shift(DELIVERED, i))
    for i in order:
        pipeline.run([f"{i}.csv"])
    return pipeline.run()


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> dict[Policy, Outcome]:
    return {
        "add": ran(tmp_path_factory.mktemp("add"), "add"),
        "replace": ran(tmp_path_factory.mktemp("replace"), "replace"),
    }


@pytest.mark.parametrize("name", CASES)
def test_golden(at_once: dict[Policy, Outcome], name: str) -> None:
    case = CASES[name]
    outcome = at_once[case.corrections]
    stands = sorted(
        (c["x_ReferenceNumber"].removeprefix(f"{name}/"), c["BilledCost"])
        for c in outcome.charges
        if c["x_ReferenceNumber"].startswith(f"{name}/")
    )
    assert stands == sorted((ref, Decimal(cost)) for ref, cost in case.stands)
    lost = sorted(
        (r["reference_number"].removeprefix(f"{name}/"), r["cost"], r["reason"])
        for r in outcome.superseded
        if r["reference_number"].startswith(f"{name}/")
    )
    assert lost == sorted((ref, Decimal(cost), reason) for ref, cost, reason in case.lost)


def test_the_books_of_all_cases(at_once: dict[Policy, Outcome]) -> None:
    for policy, outcome in at_once.items():
        assert_balanced(outcome)
        rows = sum(len(r) for c in CASES.values() if c.corrections == policy for r in c.reports)
        assert sum(b["delivered_rows"] for b in outcome.books) == rows
    unmatched = sum(case.unmatched for case in CASES.values() if case.corrections == "replace")
    assert sum(b["unmatched_corrections"] for b in at_once["replace"].books) == unmatched


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_the_order_of_ingest_changes_nothing(
    tmp_path: Path, at_once: dict[Policy, Outcome], order: tuple[int, ...]
) -> None:
    bit_by_bit = ran(tmp_path, "replace", order)
    assert_balanced(bit_by_bit)
    assert bit_by_bit.focus.equals(at_once["replace"].focus)
    assert bit_by_bit.superseded == at_once["replace"].superseded
    assert bit_by_bit.books == at_once["replace"].books


def test_what_stands_instead_is_named(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, corrections="replace")
    pipeline.deliver("0.csv", report([A, row("X", "1")]))
    pipeline.deliver("1.csv", report([row("X", "2"), B, row("C", "4", "B")]), shift(DELIVERED, 1))
    outcome = pipeline.run()
    names = {entry["report_id"]: entry["name"] for entry in outcome.ledger}
    assert sorted(
        (r["reference_number"], r["reason"], names[r["by_report_id"]], r["by_report_row"])
        for r in outcome.superseded
    ) == [
        ("A", "corrected", "1.csv", 2),
        ("B", "corrected", "1.csv", 3),
        ("X", "restated", "1.csv", 1),
    ]


def test_within_a_day_the_later_name_wins(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("b.csv", report([row("A", "2")]), date(2026, 9, 10))
    pipeline.deliver("a.csv", report([row("A", "1")]), date(2026, 9, 10))
    pipeline.deliver("c.csv", report([row("A", "3")]), date(2026, 9, 9))
    assert pipeline.run().costs == {"A": Decimal(2)}
