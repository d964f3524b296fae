"""A driver for tests: a folder of report files through ingest and normalize into a home.

What comes back is read from the lake by Delta's own reader, and reports are read again by
`read_report` with nothing but gzip, csv and Decimal, so that a test's two sides share no code.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from finops_pipeline.config import Source
from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.directory import DirectoryLocation
from finops_pipeline.ingest.ledger import Ledger
from finops_pipeline.ingest.location import Location, laid_out
from finops_pipeline.ingest.run import Ingest, Ingested
from finops_pipeline.lake.home import Home
from finops_pipeline.normalize.rates import Rates
from finops_pipeline.normalize.run import DayResult, Normalize
from finops_pipeline.normalize.stage import Stager

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
DELIVERED = date(2026, 9, 10)
EXACT = Context(prec=80)
Row = dict[str, Any]

# A row of each format in which nothing is wrong.
COST_ROW = {
    "lineItem/referenceNo": "ref-1",
    "lineItem/tenantId": "ocid1.tenancy.oc1..acme",
    "lineItem/intervalUsageStart": "2026-09-09T10:00Z",
    "lineItem/intervalUsageEnd": "2026-09-09T11:00Z",
    "product/service": "COMPUTE",
    "product/compartmentId": "ocid1.compartment.oc1..web",
    "product/compartmentName": "web",
    "product/region": "us-ashburn-1",
    "product/availabilityDomain": "AD-1",
    "product/resourceId": "ocid1.instance.oc1.iad.one",
    "usage/billedQuantity": "2",
    "cost/subscriptionId": "sub-1",
    "cost/productSku": "B88514",
    "product/Description": "Standard - E4 - OCPU",
    "cost/unitPrice": "0.025",
    "cost/myCost": "0.05",
    "cost/currencyCode": "USD",
    "cost/skuUnitDescription": "OCPU Hours",
    "lineItem/isCorrection": "false",
    "lineItem/backreferenceNo": "",
}
FOCUS_ROW = {
    "AvailabilityZone": "AD-1",
    "BilledCost": "0.05",
    "BillingAccountId": "sub-1",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeDescription": "Standard - E4 - OCPU",
    "ChargeFrequency": "Usage-based",
    "ChargePeriodStart": "2026-09-09T10:00Z",
    "ChargePeriodEnd": "2026-09-09T11:00Z",
    "EffectiveCost": "",
    "ListCost": "0.06",
    "ListUnitPrice": "0.03",
    "PricingQuantity": "2",
    "PricingUnit": "OCPU Hours",
    "Provider": "Oracle",
    "Region": "us-ashburn-1",
    "ResourceId": "ocid1.instance.oc1.iad.one",
    "ServiceName": "COMPUTE",
    "SkuId": "B88514",
    "SubAccountId": "ocid1.tenancy.oc1..acme",
    "Tags": "{}",
    "UsageQuantity": "2",
    "UsageUnit": "OCPU Hours",
    "oci_ReferenceNumber": "ref-1",
    "oci_CompartmentId": "ocid1.compartment.oc1..web",
    "oci_BackReferenceNumber": "",
}
TEMPLATES: dict[str, dict[str, str]] = {
    "oci_cost_csv": COST_ROW,
    "oci_focus": FOCUS_ROW,
}
# What tests call a column, in each format.
NAMES: dict[str, dict[str, str]] = {
    "oci_cost_csv": {
        "ref": "lineItem/referenceNo",
        "start": "lineItem/intervalUsageStart",
        "end": "lineItem/intervalUsageEnd",
        "cost": "cost/myCost",
        "currency": "cost/currencyCode",
        "service": "product/service",
        "back": "lineItem/backreferenceNo",
        "correction": "lineItem/isCorrection",
        "tenancy": "lineItem/tenantId",
        "region": "product/region",
        "unit": "cost/skuUnitDescription",
    },
    "oci_focus": {
        "ref": "oci_ReferenceNumber",
        "start": "ChargePeriodStart",
        "end": "ChargePeriodEnd",
        "cost": "BilledCost",
        "currency": "BillingCurrency",
        "service": "ServiceName",
        "back": "oci_BackReferenceNumber",
        "tenancy": "SubAccountId",
        "region": "Region",
        "unit": "PricingUnit",
    },
}


def line(format_: str = "oci_cost_csv", /, **values: str) -> dict[str, str]:
    """A good row with some of its values changed, by short name or by full name."""
    short = NAMES[format_]
    row = TEMPLATES[format_] | {short.get(name, name): value for name, value in values.items()}
    if "back" in values and "correction" in short:
        row[short["correction"]] = values.get("correction", "true")
    return row


def report(rows: Sequence[Mapping[str, str]], columns: Iterable[str] = ()) -> bytes:
    """A report as OCI writes it: CSV with CRLF, not compressed."""
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8")


def lines(*rows: Mapping[str, str]) -> bytes:
    """A compressed report of these rows."""
    return gzip.compress(report(rows), mtime=0)


@dataclass
class Outcome:
    """What the lake holds after a run, and what the run said."""

    ingested: Ingested
    results: list[DayResult]
    books: list[Row]
    focus: pa.Table
    rejected: list[Row]
    superseded: list[Row]
    ledger: list[Row]

    @property
    def charges(self) -> list[Row]:
        """The FOCUS rows, by report and row."""
        return self.focus.to_pylist()

    @property
    def costs(self) -> dict[str, Decimal]:
        """The billed cost of each charge by its reference number."""
        return {c["x_ReferenceNumber"]: c["BilledCost"] for c in self.charges}

    @property
    def problems(self) -> list[str]:
        """What broke on any day."""
        return [problem for result in self.results for problem in result.problems]


@dataclass
class Pipeline:
    """One source below a folder, and the home that its reports are brought into."""

    folder: Path
    format: str = "oci_cost_csv"
    corrections: Literal["add", "replace"] = "add"
    reporting: str = "USD"
    rates: Mapping[tuple[str, str], str] = field(default_factory=dict)
    now: datetime = NOW
    first_day: date = date(2020, 1, 1)
    home_name: str = "home"
    scopes: Mapping[str, str] = field(default_factory=dict)

    @property
    def reports(self) -> Path:
        """Where the reports lie."""
        return self.folder / "reports-in"

    @property
    def home(self) -> Home:
        """The home folder."""
        return Home(self.folder / self.home_name)

    def deliver(self, name: str, content: bytes, day: date = DELIVERED) -> None:
        """Put a report into the folder, as if delivered on that day."""
        path = self.reports / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.touch(name, day)

    def touch(self, name: str, day: date) -> None:
        """Give a report the times of that day."""
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
        os.utime(self.reports / name, (noon, noon))

    def source(self) -> Source:
        """The source's configuration."""
        return Source(
            name="acme",
            format=self.format,
            location=f"file:{self.reports}",
            corrections=self.corrections,
        )

    def run(self, only: Sequence[str] | None = None) -> Outcome:
        """Ingest what is new (or only these reports), normalize what is stale; read the lake."""
        self.reports.mkdir(parents=True, exist_ok=True)
        with self.engine() as engine:
            ingested = self.ingest(engine, only)
            results = self.normalize(engine)
        return self.outcome(ingested, results)

    def place(self, source: Source) -> Location:
        """Where the reports are."""
        return laid_out(DirectoryLocation(source, now=lambda: self.now), source)

    def engine(self) -> DuckDBEngine:
        """An engine of its own."""
        return DuckDBEngine("500MB", self.folder / "spill")

    def ingest(self, engine: DuckDBEngine, only: Sequence[str] | None = None) -> Ingested:
        """Ingest what is new, or only these reports."""
        source, home = self.source(), self.home
        location = self.place(source)
        ledger = Ledger(home.table("reports"), source.name)
        ingest = Ingest(
            source, location, ledger, home.archive, engine, home.spool,
            lambda: self.now,
        )  # fmt: skip
        return ingest.run([r for r in ingest.new_reports() if only is None or r.name in only])

    def normalize(self, engine: DuckDBEngine) -> list[DayResult]:
        """Normalize the days that are stale."""
        source, home = self.source(), self.home
        ledger = Ledger(home.table("reports"), source.name)
        stager = Stager(home, source.name, engine, self._rates(), self.scopes, self.first_day)
        normalize = Normalize(home, source, ledger, engine, stager)
        return normalize.run(normalize.stale_days())

    def _rates(self) -> Rates:
        if not self.rates:
            return Rates(self.reporting, None, 7)
        path = self.folder / "rates.csv"
        text = "".join(
            f"{day},{currency},{self.reporting},{rate}\n"
            for (currency, day), rate in self.rates.items()
        )
        path.write_text(f"date,from,to,rate\n{text}", encoding="utf-8")
        return Rates(self.reporting, path, 7)

    def outcome(
        self, ingested: Ingested | None = None, results: Sequence[DayResult] = ()
    ) -> Outcome:
        """What the lake holds."""
        focus = self.read("focus_costs")
        return Outcome(
            ingested or Ingested((), ()),
            list(results),
            self.read("conservation").sort_by("charge_day").to_pylist(),
            focus.sort_by([("x_Report", "ascending"), ("x_ReportRow", "ascending")]),
            sorted(
                self.read("rejected_rows").to_pylist(), key=lambda r: (r["report"], r["report_row"])
            ),
            sorted(
                self.read("superseded_rows").to_pylist(),
                key=lambda r: (r["report_id"], r["report_row"]),
            ),
            sorted(self.read("reports").to_pylist(), key=lambda r: r["name"]),
        )

    def read(self, table: str) -> pa.Table:
        """All rows of a table, by Delta's log and Parquet's own reader."""
        root = self.folder / self.home_name / "lake" / table
        schema = arrow_schema(tables()[table]).remove_metadata()
        files = DeltaTable(root).file_uris() if DeltaTable.is_deltatable(str(root)) else []
        parts = [pq.ParquetFile(f).read().cast(schema) for f in files]
        return pa.concat_tables([schema.empty_table(), *parts])

    def versions(self) -> dict[str, int]:
        """The version of each table."""
        lake = self.folder / self.home_name / "lake"
        return {root.name: DeltaTable(root).version() for root in sorted(lake.iterdir())}

    def files(self) -> dict[str, bytes]:
        """Every file of the home with its bytes."""
        root = self.folder / self.home_name
        return {
            p.relative_to(root).as_posix(): p.read_bytes()
            for p in sorted(root.rglob("*"))
            if p.is_file()
        }


def shift(day: date, days: int) -> date:
    """A day some days later."""
    return day + timedelta(days=days)


def assert_balanced(outcome: Outcome) -> None:
    """Delivered = stored + superseded + rejected, summed again from the rows themselves."""
    assert not outcome.problems, outcome.problems
    assert all(book["balanced"] for book in outcome.books)
    sums: dict[tuple[str, date, str], list[Any]] = defaultdict(lambda: [0, Decimal(0)])

    def add(kind: str, day: date, currency: str, cost: Decimal | None) -> None:
        found = sums[kind, day, currency]
        found[0] += 1
        found[1] = EXACT.add(found[1], cost or Decimal(0))

    for c in outcome.charges:
        add("stored", c["x_ChargeDay"], c["BillingCurrency"], c["BilledCost"])
    for r in outcome.rejected:
        add("rejected", r["charge_day"], r["currency"], r["cost"])
    for book in outcome.books:
        key = (book["charge_day"], book["currency"])
        for kind in ("stored", "rejected"):
            assert [book[f"{kind}_rows"], book[f"{kind}_cost"]] == sums.pop((kind, *key), [0, 0])
        parts = ("stored", "superseded", "rejected")
        assert book["delivered_rows"] == sum(book[f"{p}_rows"] for p in parts)
        assert book["delivered_cost"] == exact_sum(book[f"{p}_cost"] for p in parts)
    assert not sums


def total(outcome: Outcome, what: str) -> Any:
    """A figure of the books, over all days and currencies."""
    return exact_sum(book[what] for book in outcome.books)


def exact_sum(amounts: Iterable[Any]) -> Any:
    """A sum of any number of digits: the default context would round to 28."""
    with localcontext(EXACT):
        return sum(amounts)
