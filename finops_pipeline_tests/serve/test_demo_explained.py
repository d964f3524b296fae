"""Every allocated figure of a demo, of four providers, explained through the API.

What it says is held against the rows of `allocated_costs` as Delta's own reader has them, and
against what the command prints.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from finops_pipeline_tests.cli.place import Place, finops
from finops_pipeline_tests.serve.server import serving

Row = dict[str, Any]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that was run."""
    folder = tmp_path_factory.mktemp("demo")
    done = finops(folder, ["demo", "--days", "1", "--rows", "3000"])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def explained(demo: Path) -> dict[str, tuple[Row, Row, bytes]]:
    """Each figure: its row of the lake, its explanation, and the bytes of the answer."""
    rows = {row["x_AllocationId"]: row for row in _rows(demo / ".finops/lake/allocated_costs")}
    with serving(demo / ".finops/demo/finops.yaml") as server, server.client() as client:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda i: client.get(f"explain/{i}"), rows))
        assert {a.status_code for a in answers} == {200}
    return {
        i: (row, a.json(), a.content)
        for (i, row), a in zip(rows.items(), answers, strict=True)
    }  # fmt: skip


def test_every_figure_has_its_whole_evidence(
    explained: dict[str, tuple[Row, Row, bytes]],
) -> None:
    tiers: dict[str, int] = defaultdict(int)
    for identifier, (row, found, _) in explained.items():
        decision, rate = found["decision"], found["rate"]
        tiers[decision["tier"]] += 1
        assert found["allocation_id"] == identifier and found["owner"] == row["x_BusinessUnit"]
        assert found["adds_up"] and not found["problems"] and not found["differences"]
        for metric in ("BilledCost", "EffectiveCost", "ListCost", "x_ReportingEffectiveCost"):
            told = found["amounts"][metric]
            assert (told and Decimal(told)) == row[metric]
        # Tier, rule and its text, what matched, pool.
        assert [decision[n] for n in ("tier", "rule", "pool", "rule_set")] == [
            row[n] for n in ("x_Tier", "x_Rule", "x_Pool", "x_RuleSet")
        ]
        assert decision["evidence"]
        assert decision["text"] or decision["tier"] == "unallocated"
        # The exchange rate, its date and its source.
        assert Decimal(rate["rate"]) == row["x_ExchangeRate"]
        assert (rate["billing_currency"], rate["reporting_currency"]) == (
            row["BillingCurrency"], row["x_ReportingCurrency"]
        )  # fmt: skip
        if rate["billing_currency"] != rate["reporting_currency"]:
            assert date.fromisoformat(rate["published"]) == row["x_ExchangeRateDate"]
            assert rate["source"] == row["x_ExchangeRateSource"]
        _shares_hold(row, found)
        _lines_hold(row, found)
    assert len(explained) > 300 and set(tiers) == {"tag", "scope", "pool", "unallocated"}
    assert {row["ProviderName"] for row, _, _ in explained.values()} >= {
        "Oracle", "AWS", "Microsoft", "Google Cloud"
    }  # fmt: skip
    assert {row["BillingCurrency"] for row, _, _ in explained.values()} > {"USD"}


def test_the_command_prints_the_same(
    demo: Path, explained: dict[str, tuple[Row, Row, bytes]]
) -> None:
    place = Place(demo / ".finops/demo")
    of_kind = {(r["x_Source"], r["x_Tier"], r["x_Pool"]): i for i, (r, _, _) in explained.items()}
    assert len(of_kind) > 10
    for figure in sorted(of_kind.values()):
        printed = place.finops("explain", figure, "--format", "json")
        assert (printed.exit_code, printed.stdout.encode()) == (0, explained[figure][2])


def _shares_hold(row: Row, found: Row) -> None:
    """The share as a decimal and as an exact fraction, with the driver and its value."""
    assert Decimal(found["share"]) == row["x_Share"]
    if row["x_Pool"] is None:
        assert found["share"] == "1" and found["own_share"] is None and not found["shares"]
        return
    own = found["own_share"]
    assert own in found["shares"] and own["owner"] == row["x_BusinessUnit"]
    assert own["driver"] and (own["weight"] is not None or own["owner"] == "unallocated")
    assert own["share"] == found["share"]
    assert abs(Fraction(own["fraction"]) - Fraction(own["share"])) <= Fraction(1, 10**12)
    assert sum(Fraction(s["fraction"]) for s in found["shares"]) == 1
    assert sum(Fraction(s["share"]) for s in found["shares"]) == 1


def _lines_hold(row: Row, found: Row) -> None:
    """Report, line and reference number of each charge; the charges sum to the whole."""
    assert len(found["charges"]) == row["x_ChargeCount"]
    with localcontext() as exact:
        exact.prec = 100
        whole = sum(Decimal(c["amounts"]["BilledCost"]) for c in found["charges"])
    assert whole == Decimal(found["whole"]["BilledCost"])
    for number, charge in enumerate(found["charges"]):
        assert charge["report"] and charge["report_id"] and charge["report_row"] >= 1
        if row["ProviderName"] == "Oracle" and number < 20:
            assert charge["reference_number"] in charge["raw"]
    assert found["more_raw"] == max(0, len(found["charges"]) - 20)


def _rows(table: Path) -> list[Row]:
    return [
        row
        for uri in DeltaTable(table).file_uris()
        for row in pq.ParquetFile(uri).read().to_pylist()
    ]
