"""The format `focus`: any version's names, CSV or Parquet, gaps filled and named."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline_tests.normalize.pipeline import Pipeline, assert_balanced, lines, report

EXAMPLES = Path(__file__).parents[3] / "shared/data/focus_spec_examples_1_2"
_AS_FOCUS_CALLS_IT = {"Database": "Databases", "No-SQL DB": "NoSQL Databases"}
LEAST = {
    "BilledCost": "12.5",
    "BillingCurrency": "USD",
    "ChargePeriodStart": "2026-09-01T00:00:00Z",
    "ChargePeriodEnd": "2026-09-02T00:00:00Z",
}


def focus(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path, "focus")


def test_what_a_provider_leaves_out_is_filled_and_named(tmp_path: Path) -> None:
    made = focus(tmp_path)
    made.deliver("bill.csv.gz", lines(LEAST))
    outcome = made.run()
    assert_balanced(outcome)
    (charge,) = outcome.charges
    assert {k: v for k, v in charge.items() if v is not None and not k.startswith("x_")} == {
        "BilledCost": Decimal("12.5"), "BillingAccountId": "unknown",
        "BillingAccountName": "unknown", "BillingAccountType": "Billing Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, tzinfo=UTC), "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based", "ChargePeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 9, 2, tzinfo=UTC), "ContractedCost": Decimal("12.5"),
        "EffectiveCost": Decimal("12.5"), "InvoiceIssuerName": "Unknown",
        "ListCost": Decimal("12.5"), "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": Decimal("12.5"), "ProviderName": "Unknown",
        "PublisherName": "Unknown", "ServiceCategory": "Other", "ServiceName": "Other",
        "ServiceSubcategory": "Other (Other)", "Tags": "{}",
    }  # fmt: skip
    assert charge["x_FilledColumns"] == (
        "BillingAccountId,BillingAccountType,BillingPeriodEnd,BillingPeriodStart,ChargeCategory,ChargeFrequency,"
        "ContractedCost,EffectiveCost,InvoiceIssuerName,ListCost,PricingCurrency,"
        "PricingCurrencyEffectiveCost,ProviderName,"
        "PublisherName,RegionName,ResourceType,ServiceCategory,ServiceName,ServiceSubcategory"
    )


def test_names_of_every_version_in_csv_and_parquet(tmp_path: Path) -> None:
    made = focus(tmp_path)
    preview = LEAST | {"Provider": "P", "Publisher": "Q", "InvoiceIssuer": "I", "Region": "r"}
    newest = LEAST | {"ServiceProviderName": "P", "InvoiceIssuerName": "I", "RegionId": "r"}
    newest |= {"HostProviderName": "H", "Tags": "NULL", "ResourceId": "null"}
    made.deliver("a/preview.csv", report([preview]))
    made.deliver("b/newest.csv", report([newest]))
    table = pa.table(
        {
            "BilledCost": [Decimal("12.5")],
            "BillingCurrency": ["USD"],
            "ChargePeriodStart": pa.array([datetime(2026, 9, 1)], pa.timestamp("ms")),
            "ChargePeriodEnd": pa.array([datetime(2026, 9, 2)], pa.timestamp("ms")),
            "ProviderName": ["P"],
            "Tags": pa.array([[("team", "web")]], pa.map_(pa.string(), pa.string())),
            "x_Extra": [{"depth": 1.5}],
        }
    )
    (made.reports / "c").mkdir()
    pq.write_table(table, made.reports / "c/some.parquet")
    made.touch("c/some.parquet", date(2026, 9, 10))
    outcome = made.run()
    assert_balanced(outcome)
    first, second, third = outcome.charges
    assert [c["ProviderName"] for c in outcome.charges] == ["P", "P", "P"]
    assert (first["PublisherName"], first["RegionId"], first["InvoiceIssuerName"]) == (
        "Q", "r", "I",
    )  # fmt: skip
    assert json.loads(second["x_OtherColumns"]) == {"HostProviderName": "H"}
    assert (second["Tags"], second["ResourceId"]) == ("{}", None)
    assert json.loads(third["Tags"]) == {"team": "web"}
    assert json.loads(third["x_OtherColumns"]) == {"x_Extra.depth": "1.5"}
    assert third["BilledCost"] == Decimal("12.5")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("ChargeCategory", "Refund", "expected one of: Usage, Purchase, Tax, Credit, Adjustment"),
        ("ChargePeriodEnd", "2026-08-31T00:00:00Z", "not before the start"),
        ("BillingPeriodStart", "September", "expected a time"),
        ("ListCost", "$10.00", "expected a plain number"),
        ("BillingCurrency", "Token", "ISO 4217"),
    ],
)
def test_a_row_that_breaks_a_rule_is_set_aside(
    tmp_path: Path, column: str, value: str, said: str
) -> None:
    made = focus(tmp_path)
    made.deliver("bill.csv", report([LEAST, LEAST | {column: value}]))
    outcome = made.run()
    assert_balanced(outcome)
    ((rejected),) = outcome.rejected
    assert (rejected["column"], rejected["value"], rejected["report_row"]) == (column, value, 2)
    assert said in rejected["reason"]
    assert len(outcome.charges) == 1


def test_a_purchase_for_later_is_kept_on_the_day_it_was_delivered(tmp_path: Path) -> None:
    made = focus(tmp_path)
    later = LEAST | {
        "ChargeCategory": "Purchase", "ChargePeriodStart": "2026-12-01T00:00:00Z",
        "ChargePeriodEnd": "2027-12-01T00:00:00Z", "EffectiveCost": "0",
    }  # fmt: skip
    made.deliver("bill.csv", report([later]), date(2026, 9, 10))
    outcome = made.run()
    assert_balanced(outcome)
    (charge,) = outcome.charges
    assert charge["x_ChargeDay"] == date(2026, 9, 10)
    assert charge["ChargePeriodStart"] == datetime(2026, 12, 1, tzinfo=UTC)
    assert (charge["EffectiveCost"], charge["ContractedCost"]) == (Decimal(0), Decimal("12.5"))
    assert charge["ChargeFrequency"] == "One-Time"


def test_identical_rows_without_a_number_are_charges_of_their_own(tmp_path: Path) -> None:
    made = focus(tmp_path)
    made.deliver("bill.csv", report([LEAST, LEAST]))
    outcome = made.run()
    assert_balanced(outcome)
    assert sum(c["BilledCost"] for c in outcome.charges) == Decimal(25)


def test_no_number_of_a_data_frame_is_no_value(tmp_path: Path) -> None:
    made = focus(tmp_path)
    made.reports.mkdir()
    table = pa.table(
        {name: [value] * 3 for name, value in LEAST.items() if name != "BilledCost"}
        | {
            "BilledCost": [12.5, 1e-9, float("nan")],
            "ListUnitPrice": [float("nan"), 0.1, 1.0],
            "ListCost": pa.array([float("nan"), 0.1, 1.0], pa.float32()),
        }
    )
    pq.write_table(table, made.reports / "frame.parquet")
    made.touch("frame.parquet", date(2026, 9, 10))
    outcome = made.run()
    assert_balanced(outcome)
    assert [(c["BilledCost"], c["ListUnitPrice"], c["ListCost"]) for c in outcome.charges] == [
        (Decimal("12.5"), None, Decimal("12.5")),
        (Decimal("1e-9"), Decimal("0.1"), Decimal("0.1")),
    ]
    assert [(r["report_row"], r["column"]) for r in outcome.rejected] == [(3, "BilledCost")]


def test_a_copy_of_a_file_under_another_name_counts_once(tmp_path: Path) -> None:
    made = focus(tmp_path)
    made.deliver("bill.csv", report([LEAST, LEAST]))
    made.run()
    made.deliver("bill (1).csv", report([LEAST, LEAST]))
    made.deliver("again/bill.csv", report([LEAST, LEAST]), date(2026, 9, 12))
    made.deliver("other.csv", report([LEAST]))
    outcome = made.run()
    assert_balanced(outcome)
    assert sum(c["BilledCost"] for c in outcome.charges) == Decimal("37.5")
    assert sum(book["superseded_cost"] for book in outcome.books) == Decimal(50)
    assert made.run().results == []
    # A copy stands when what it is a copy of says something else now.
    made.deliver("bill.csv", report([LEAST | {"BilledCost": "1"}]), date(2026, 9, 13))
    made.deliver("bill (1).csv", report([LEAST | {"BilledCost": "2"}]), date(2026, 9, 13))
    outcome = made.run()
    assert_balanced(outcome)
    assert sum(c["BilledCost"] for c in outcome.charges) == Decimal("40.5")


def _examples() -> list[Path]:
    return sorted(EXAMPLES.rglob("*.csv"))


def _clean(value: str) -> str:
    """A value as a file would have it: the examples are written for people."""
    text = value.strip()
    if text.startswith("$") or (text.replace(",", "").replace(".", "").isdigit()):
        return text.replace("$", "").replace(",", "")
    if text.count("/") == 2 and text.replace("/", "").isdigit():
        month, day, year = (int(part) for part in text.split("/"))
        return f"{2000 + year}-{month:02}-{day:02}T00:00:00Z"
    return _AS_FOCUS_CALLS_IT.get(text, text)


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the specification's examples are not here")
@pytest.mark.parametrize("path", _examples(), ids=lambda p: p.stem)
def test_the_worked_examples_of_the_specification_hold(tmp_path: Path, path: Path) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        given = [{k: _clean(v or "") for k, v in row.items() if k} for row in csv.DictReader(file)]
    rows = [{"BillingCurrency": "USD", **row} for row in given]
    made = focus(tmp_path)
    made.deliver("example.csv", report(rows))
    outcome = made.run()
    assert_balanced(outcome)
    # The specification has a purchase that ends at 30:00, and one that ends before it starts.
    impossible = [i for i, row in enumerate(rows, 1) if not _is_possible(row)]
    assert [r["report_row"] for r in outcome.rejected] == impossible
    rows = [row for row in rows if _is_possible(row)]
    for row, charge in zip(rows, outcome.charges, strict=True):
        for name, text in row.items():
            if name in charge and not name.startswith("x_"):
                assert _same(charge[name], text), (name, text, charge[name])


def _is_possible(row: dict[str, str]) -> bool:
    try:
        start, end = (datetime.fromisoformat(row[f"ChargePeriod{s}"]) for s in ("Start", "End"))
    except ValueError:
        return False
    return end >= start


def _same(found: Any, text: str) -> bool:
    if text in ("", "null"):
        return True  # what is empty may be filled
    if isinstance(found, Decimal):
        return found == Decimal(text)
    if isinstance(found, datetime):
        return found == datetime.fromisoformat(text)
    return str(found) == text
