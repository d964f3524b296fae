"""AWS FOCUS exports to FOCUS 1.2: figures worked out by hand, trees from `file:` and from S3."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline.config import Source
from finops_pipeline.demo.clouds import make_cloud
from finops_pipeline.ingest.location import open_location
from finops_pipeline_tests.normalize.pipeline import Outcome, Pipeline, assert_balanced, report
from finops_pipeline_tests.servers.aws import Aws, aws_server

MONTH = {
    "BillingPeriodStart": "2026-09-01T00:00:00.000Z",
    "BillingPeriodEnd": "2026-10-01T00:00:00.000Z",
}
# What AWS writes for an hour of an instance, 1.2 "with AWS columns".
USAGE = MONTH | {
    "AvailabilityZone": "us-east-1a", "BilledCost": "0.0416", "BillingAccountId": "111111111111",
    "BillingAccountName": "Acme", "BillingAccountType": "Management Account",
    "BillingCurrency": "USD", "CapacityReservationId": "", "CapacityReservationStatus": "",
    "ChargeCategory": "Usage", "ChargeClass": "",
    "ChargeDescription": "$0.0416 per On Demand Linux t3.medium Instance Hour",
    "ChargeFrequency": "Usage-Based", "ChargePeriodStart": "2026-09-09T10:00:00.000Z",
    "ChargePeriodEnd": "2026-09-09T11:00:00.000Z", "ConsumedQuantity": "1.0",
    "ConsumedUnit": "Hrs", "ContractedCost": "0.0416", "ContractedUnitPrice": "0.0416",
    "EffectiveCost": "0.0416", "InvoiceId": "EUINGB26-1", "InvoiceIssuerName": "AWS EMEA SARL",
    "ListCost": "0.052", "ListUnitPrice": "5.2E-2", "PricingCategory": "Standard",
    "PricingCurrency": "USD", "PricingQuantity": "1.0", "PricingUnit": "Hours",
    "ProviderName": "AWS", "PublisherName": "Amazon Web Services, Inc.", "RegionId": "us-east-1",
    "RegionName": "US East (N. Virginia)", "ResourceId": "i-0abc", "ResourceName": "",
    "ResourceType": "Instance", "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud", "ServiceSubcategory": "Virtual Machines",
    "SkuId": "QTR2NW9UT6YF3V67", "SkuMeter": "BoxUsage:t3.medium", "SkuPriceId": "QTR2.JRTC.6YS6",
    "SkuPriceDetails": '{"InstanceType":"t3.medium"}', "SubAccountId": "222222222222",
    "SubAccountName": "Shop", "SubAccountType": "Member Account",
    "Tags": '{"user:team":"web","aws:createdBy":"auto"}', "x_Discounts": "{}",
    "x_Operation": "RunInstances", "x_ServiceCode": "AmazonEC2",
}  # fmt: skip
DATA, META = "fin/acme/data/BILLING_PERIOD=2026-09", "fin/acme/metadata/BILLING_PERIOD=2026-09"

Rows = Sequence[Mapping[str, str]]


def _line(number: int = 1, cost: str = "1", **values: str) -> dict[str, str]:
    return USAGE | {"ResourceId": f"i-{number}", "BilledCost": cost} | values


def _csv(rows: Rows) -> bytes:
    return gzip.compress(report(rows), mtime=0)


def _parquet(rows: Rows) -> bytes:
    """The same rows as AWS writes Parquet: doubles, milliseconds, tags as a map."""
    numbers = ("Cost", "Price", "Quantity")
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(n for row in rows for n in row):
        texts = [row.get(name) or None for row in rows]
        if name.endswith(("PeriodStart", "PeriodEnd")):
            times = [t and datetime.fromisoformat(t.removesuffix("Z")) for t in texts]
            columns[name] = pa.array(times, pa.timestamp("ms"))
        elif name.endswith(numbers):
            columns[name] = pa.array([t and float(t) for t in texts], pa.float64())
        elif name in ("Tags", "x_Discounts"):
            maps = [None if t is None else list(json.loads(t).items()) for t in texts]
            columns[name] = pa.array(maps, pa.map_(pa.string(), pa.string()))
        else:
            columns[name] = pa.array(texts, pa.string())
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="snappy")
    return out.getvalue()


def _manifest(*keys: str) -> bytes:
    return json.dumps({"dataFiles": [f"s3://bills/{key}" for key in keys]}).encode()


def _delivered(made: Pipeline, *rows: Mapping[str, str], parquet: bool = False) -> Outcome:
    name = f"{DATA}/acme-00001.{'snappy.parquet' if parquet else 'csv.gz'}"
    made.deliver(name, _parquet(rows) if parquet else _csv(rows))
    made.deliver(f"{META}/acme-Manifest.json", _manifest(name))
    outcome = made.run()
    assert_balanced(outcome)
    return outcome


@pytest.mark.parametrize("parquet", [False, True], ids=["csv", "parquet"])
def test_an_hour_of_an_instance(tmp_path: Path, parquet: bool) -> None:
    (charge,) = _delivered(Pipeline(tmp_path, "aws_focus"), USAGE, parquet=parquet).charges
    found = {k: v for k, v in charge.items() if v is not None and not k.startswith("x_")}
    assert json.loads(found.pop("Tags")) == {"user:team": "web", "aws:createdBy": "auto"}
    assert found == {
        "AvailabilityZone": "us-east-1a", "BilledCost": Decimal("0.0416"),
        "BillingAccountId": "111111111111", "BillingAccountName": "Acme",
        "BillingAccountType": "Management Account", "BillingCurrency": "USD",
        "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, tzinfo=UTC), "ChargeCategory": "Usage",
        "ChargeDescription": "$0.0416 per On Demand Linux t3.medium Instance Hour",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": datetime(2026, 9, 9, 10, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 9, 9, 11, tzinfo=UTC), "ConsumedQuantity": Decimal(1),
        "ConsumedUnit": "Hrs", "ContractedCost": Decimal("0.0416"),
        "ContractedUnitPrice": Decimal("0.0416"), "EffectiveCost": Decimal("0.0416"),
        "InvoiceId": "EUINGB26-1", "InvoiceIssuerName": "AWS EMEA SARL",
        "ListCost": Decimal("0.052"), "ListUnitPrice": Decimal("0.052"),
        "PricingCategory": "Standard", "PricingCurrency": "USD",
        "PricingCurrencyContractedUnitPrice": Decimal("0.0416"),
        "PricingCurrencyEffectiveCost": Decimal("0.0416"),
        "PricingCurrencyListUnitPrice": Decimal("0.052"), "PricingQuantity": Decimal(1),
        "PricingUnit": "Hours", "ProviderName": "AWS",
        "PublisherName": "Amazon Web Services, Inc.", "RegionId": "us-east-1",
        "RegionName": "US East (N. Virginia)", "ResourceId": "i-0abc", "ResourceType": "Instance",
        "ServiceCategory": "Compute", "ServiceName": "Amazon Elastic Compute Cloud",
        "ServiceSubcategory": "Virtual Machines", "SkuId": "QTR2NW9UT6YF3V67",
        "SkuMeter": "BoxUsage:t3.medium", "SkuPriceId": "QTR2.JRTC.6YS6",
        "SkuPriceDetails": '{"InstanceType":"t3.medium"}', "SubAccountId": "222222222222",
        "SubAccountName": "Shop", "SubAccountType": "Member Account",
    }  # fmt: skip
    # AWS has no prices in the pricing currency; where it is the billing currency they are known.
    assert charge["x_FilledColumns"] == (
        "PricingCurrencyContractedUnitPrice,PricingCurrencyEffectiveCost,"
        "PricingCurrencyListUnitPrice"
    )
    assert (charge["x_ScopeId"], charge["x_ScopeName"]) == ("222222222222", "Shop")
    others = json.loads(charge["x_OtherColumns"])
    assert (others["x_Operation"], others["x_ServiceCode"]) == ("RunInstances", "AmazonEC2")


def test_what_aws_leaves_empty_by_its_own_list(tmp_path: Path) -> None:
    empty = (
        "ContractedUnitPrice", "ListUnitPrice", "PricingUnit", "SkuId", "SkuPriceId",
        "SkuPriceDetails", "InvoiceIssuerName", "PublisherName", "ServiceSubcategory",
        "RegionName",
    )  # fmt: skip
    made = Pipeline(tmp_path, "aws_focus")
    (charge,) = _delivered(made, USAGE | dict.fromkeys(empty, "")).charges
    assert {name: charge[name] for name in empty} == {
        # Nothing in the row tells them, so FOCUS wants them null.
        **dict.fromkeys(empty[:6]),
        "InvoiceIssuerName": "AWS", "PublisherName": "AWS",
        "ServiceSubcategory": "Virtual Machines", "RegionName": "US East (N. Virginia)",
    }  # fmt: skip
    assert charge["x_FilledColumns"] == (
        "InvoiceIssuerName,PricingCurrencyEffectiveCost,PublisherName,RegionName,ServiceSubcategory"
    )


def test_commitments_tax_credits_refunds_and_corrections(tmp_path: Path) -> None:
    """A Savings Plan of 1.00 an hour bought all upfront, 0.70 of it used; and what else comes."""
    plan = {
        "CommitmentDiscountId": "arn:aws:savingsplans::111111111111:savingsplan/sp-1",
        "CommitmentDiscountType": "Compute Savings Plan", "CommitmentDiscountCategory": "Spend",
        "CommitmentDiscountUnit": "USD",
    }  # fmt: skip
    used = plan | {
        "CommitmentDiscountStatus": "Used", "CommitmentDiscountQuantity": "0.7",
        "BilledCost": "0", "EffectiveCost": "0.7", "ListCost": "1.2", "ContractedCost": "1.2",
        "PricingCategory": "Committed",
    }  # fmt: skip
    rows = [
        USAGE | used,
        USAGE | plan | {
            "CommitmentDiscountStatus": "Unused", "CommitmentDiscountQuantity": "0.3",
            "BilledCost": "0", "EffectiveCost": "0.3", "ListCost": "0", "ContractedCost": "0",
            "ResourceId": plan["CommitmentDiscountId"],
        },
        USAGE | plan | {
            "ChargeCategory": "Purchase", "ChargeFrequency": "One-Time", "BilledCost": "8760",
            "EffectiveCost": "0", "ListCost": "8760", "ContractedCost": "8760",
            "CommitmentDiscountQuantity": "8760",
        },
        USAGE | {"ChargeCategory": "Tax", "BilledCost": "1.99", "EffectiveCost": "1.99"},
        USAGE | {"ChargeCategory": "Credit", "BilledCost": "-25", "EffectiveCost": "-25"},
        USAGE | {"ChargeClass": "Correction", "BilledCost": "-0.0416", "EffectiveCost": "-0.0416",
                 "ChargePeriodStart": "2026-08-09T10:00:00.000Z",
                 "ChargePeriodEnd": "2026-08-09T11:00:00.000Z"},
    ]  # fmt: skip
    charges = _delivered(Pipeline(tmp_path, "aws_focus"), *rows).charges
    assert len(charges) == 6
    of = {c["x_ReportRow"]: c for c in charges}
    assert [
        (of[i]["ChargeCategory"], of[i]["CommitmentDiscountStatus"], of[i]["BilledCost"],
         of[i]["EffectiveCost"]) for i in (1, 2, 3)
    ] == [
        ("Usage", "Used", 0, Decimal("0.7")),
        ("Usage", "Unused", 0, Decimal("0.3")),
        ("Purchase", None, 8760, 0),
    ]  # fmt: skip
    assert sum(of[i]["CommitmentDiscountQuantity"] for i in (1, 2)) == 1
    assert [(of[i]["ChargeCategory"], of[i]["BilledCost"]) for i in (4, 5)] == [
        ("Tax", Decimal("1.99")), ("Credit", Decimal(-25)),
    ]  # fmt: skip
    correction = of[6]
    assert (correction["ChargeClass"], correction["x_IsCorrection"]) == ("Correction", True)
    # FOCUS: billed in the later period, charged for the original one.
    assert correction["BillingPeriodStart"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert correction["x_ChargeDay"] == date(2026, 8, 9)


def test_a_tree_of_csv_and_parquet_in_several_layouts(tmp_path: Path) -> None:
    """One export overwrites and one creates anew; a third was copied without its manifests."""
    made = Pipeline(tmp_path, "aws_focus")
    made.deliver(f"{DATA}/acme-00001.csv.gz", _csv([_line(1), _line(2, "2")]))
    made.deliver(f"{DATA}/acme-00002.csv.gz", _csv([_line(3, "4")]))
    made.deliver(f"{DATA}/acme-00003.csv.gz", _csv([_line(4, "1000")]))  # left behind
    made.deliver(
        f"{META}/acme-Manifest.json",
        _manifest(f"{DATA}/acme-00001.csv.gz", f"{DATA}/acme-00002.csv.gz"),
    )
    first, second = "2026-09-10T06:00:00Z-a", "2026-09-11T06:00:00Z-b"
    for execution, cost in ((first, "2000"), (second, "8")):
        there = f"fin/new/data/BILLING_PERIOD=2026-09/{execution}/new-00001.snappy.parquet"
        made.deliver(there, _parquet([_line(5, cost)]))
        meta = "fin/new/metadata/BILLING_PERIOD=2026-09"
        made.deliver(f"{meta}/{execution}/new-Manifest.json", _manifest(there))
    copied = "old/data/BILLING_PERIOD=2026-08"
    august = {"ChargePeriodStart": "2026-08-09T10:00:00.000Z",
              "ChargePeriodEnd": "2026-08-09T11:00:00.000Z"}  # fmt: skip
    made.deliver(f"{copied}/{first}/old-00001.csv.gz", _csv([_line(6, "4000", **august)]))
    made.deliver(f"{copied}/{second}/old-00001.csv.gz", _csv([_line(6, "16", **august)]))
    outcome = made.run()
    assert_balanced(outcome)
    assert sorted(c["BilledCost"] for c in outcome.charges) == [1, 2, 4, 8, 16]


# Schema evolution: the second file of the month is by another version of the export.
EVOLVED: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("added", USAGE | {"HostProviderName": "AWS"}, {"other": {"HostProviderName": "AWS"}}),
    ("removed", {k: v for k, v in USAGE.items() if k != "InvoiceId"}, {"InvoiceId": None}),
    (
        "renamed",
        {"ServiceProviderName" if k == "ProviderName" else k: v for k, v in USAGE.items()},
        {"ProviderName": "AWS"},
    ),
    ("retyped", USAGE | {"PricingQuantity": "1"}, {"PricingQuantity": Decimal(1)}),
    ("unreadable", USAGE | {"BilledCost": "n/a"}, {"rejected": "BilledCost"}),
]  # fmt: skip


@pytest.mark.parametrize(("how", "row", "expected"), EVOLVED, ids=[e[0] for e in EVOLVED])
def test_columns_that_change_in_the_middle_of_a_month(
    tmp_path: Path, how: str, row: dict[str, str], expected: dict[str, Any]
) -> None:
    made = Pipeline(tmp_path, "aws_focus")
    names = [f"{DATA}/acme-0000{i}.csv.gz" for i in (1, 2)]
    made.deliver(names[0], _csv([USAGE]))
    made.deliver(names[1], _csv([row]))
    made.deliver(f"{META}/acme-Manifest.json", _manifest(*names))
    outcome = made.run()
    assert_balanced(outcome)
    assert outcome.charges[0]["BilledCost"] == Decimal("0.0416")
    if "rejected" in expected:
        (rejected,) = outcome.rejected
        assert (rejected["column"], rejected["value"]) == (expected["rejected"], "n/a")
        return
    changed = outcome.charges[1]
    for column, value in expected.pop("other", {}).items():
        assert json.loads(changed["x_OtherColumns"])[column] == value
    assert {column: changed[column] for column in expected} == expected


def test_a_required_column_that_is_gone_leaves_what_was_known(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, "aws_focus")
    assert [c["BilledCost"] for c in _delivered(made, _line(cost="5")).charges] == [5]
    name = f"{DATA}/acme-00001.csv.gz"
    made.deliver(name, _csv([{"cost": "7", "ChargePeriodStart": "2026-09-09"}]), date(2026, 9, 11))
    made.deliver(f"{META}/acme-Manifest.json", _manifest(name), date(2026, 9, 11))
    outcome = made.run()
    assert [c["BilledCost"] for c in outcome.charges] == [5]
    (broken,) = outcome.ingested.unreadable
    assert "'BilledCost' is missing" in str(broken.problem)


@pytest.fixture(scope="module")
def running() -> Iterator[Aws]:
    with aws_server() as server:
        yield server


@dataclass
class InS3(Pipeline):
    """The same, with the reports in a bucket."""

    location: str = ""
    endpoint: str = ""

    def source(self) -> Source:
        return Source(
            name="acme", format=self.format, location=self.location, endpoint=self.endpoint
        )

    def place(self, source: Source) -> Any:
        return open_location(source)


@pytest.fixture
def in_s3(running: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Aws, InS3, str]:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    running.forget()
    bucket = running.bucket()
    made = InS3(tmp_path, "aws_focus", now=datetime.now(UTC))
    made.location, made.endpoint = f"s3://{bucket}/fin", running.endpoint
    return running, made, bucket


def _costs(outcome: Outcome) -> list[Decimal]:
    assert_balanced(outcome)
    return sorted(c["BilledCost"] for c in outcome.charges)


def test_a_smaller_manifest_removes_charges_and_nothing_new_changes_nothing(
    in_s3: tuple[Aws, InS3, str],
) -> None:
    server, made, bucket = in_s3
    names = [f"{DATA}/acme-0000{i}.csv.gz" for i in (1, 2)]
    server.put(bucket, {names[0]: _csv([_line(1)]), names[1]: _csv([_line(2, "2")])})
    server.put(bucket, {f"{META}/acme-Manifest.json": _manifest(*names)})
    assert _costs(made.run()) == [1, 2]
    before = made.versions()
    assert made.run().ingested.archived == ()
    assert made.versions() == before
    # The second chunk stays in the bucket, as overwriting leaves it.
    server.put(bucket, {names[0]: _csv([_line(1, "1.5")])})
    server.put(bucket, {f"{META}/acme-Manifest.json": _manifest(names[0])})
    assert _costs(made.run()) == [Decimal("1.5")]


def test_a_month_is_restated_months_later(in_s3: tuple[Aws, InS3, str]) -> None:
    server, made, bucket = in_s3
    for month, cost in (("2026-05", "10"), ("2026-09", "1")):
        _deliver_month(server, bucket, month, cost)
    assert _costs(made.run()) == [1, 10]
    _deliver_month(server, bucket, "2026-05", "7.25")
    outcome = made.run()
    assert _costs(outcome) == [1, Decimal("7.25")]
    assert [r.day for r in outcome.results] == [date(2026, 5, 9)]  # and no other day is touched


def _deliver_month(server: Aws, bucket: str, month: str, cost: str) -> None:
    key = f"fin/acme/data/BILLING_PERIOD={month}/acme-00001.csv.gz"
    times = {
        "ChargePeriodStart": f"{month}-09T10:00:00.000Z",
        "ChargePeriodEnd": f"{month}-09T11:00:00.000Z",
        "BillingPeriodStart": f"{month}-01T00:00:00.000Z",
    }
    server.put(bucket, {key: _csv([_line(1, cost, **times)])})
    meta = f"fin/acme/metadata/BILLING_PERIOD={month}/acme-Manifest.json"
    server.put(bucket, {meta: _manifest(key)})


def test_a_cut_stream_leaves_no_trace_in_the_data(in_s3: tuple[Aws, InS3, str]) -> None:
    server, made, bucket = in_s3
    rows = [_line(i, str(i)) for i in range(400)]
    name = f"{DATA}/acme-00001.csv.gz"
    content = _csv(rows)
    server.put(bucket, {name: content, f"{META}/acme-Manifest.json": _manifest(name)})
    server.cut("GetObject", 5, after=len(content) // 3)
    server.fail("GetObject", 2, "503 Slow Down", "SlowDown")
    assert _costs(made.run()) == sorted(map(Decimal, range(400)))


def test_a_listed_file_that_is_missing_is_told_and_what_was_known_stays(
    in_s3: tuple[Aws, InS3, str],
) -> None:
    server, made, bucket = in_s3
    name = f"{DATA}/acme-00001.csv.gz"
    server.put(bucket, {name: _csv([_line(1)]), f"{META}/acme-Manifest.json": _manifest(name)})
    assert _costs(made.run()) == [1]
    gone = f"{DATA}/acme-00002.csv.gz"
    server.put(bucket, {f"{META}/acme-Manifest.json": _manifest(name, gone)})
    outcome = made.run()
    assert _costs(outcome) == [1]
    failed = outcome.ingested.failed
    assert any("which it lists, could not be archived" in f for f in failed), failed


def test_the_demos_tree_is_what_its_truth_tells(tmp_path: Path) -> None:
    """Two exports, CSV created anew and Parquet overwritten, restated, with a chunk left behind."""
    made = Pipeline(tmp_path, "aws_focus", now=datetime(2100, 1, 1, tzinfo=UTC))
    truth = make_cloud(made.reports, "aws", days=25, rows=1500, seed=7)
    outcome = made.run()
    assert_balanced(outcome)
    assert not outcome.rejected
    found: dict[date, list[Any]] = {}
    for charge in outcome.charges:
        day = found.setdefault(charge["x_ChargeDay"], [0, Decimal(0), Decimal(0)])
        day[0] += 1
        day[1] += charge["BilledCost"]
        day[2] += charge["EffectiveCost"]
    assert found == {d.day: [d.net_rows, d.net_cost, d.net_effective_cost] for d in truth.days}
    # Files that no standing manifest lists are not even fetched.
    listed = {e["name"] for e in outcome.ledger if e["status"] == "read"}
    assert 0 < len(listed) < len(truth.files)
