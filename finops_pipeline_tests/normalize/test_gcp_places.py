"""GCP from BigQuery and Cloud Storage to the lake through the real clients: late rows, overlaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.bigquery import BigQueryLocation
from finops_pipeline.ingest.gcs import GcsLocation
from finops_pipeline.ingest.location import Location
from finops_pipeline_tests.normalize.gcp_rows import (
    CUD,
    PROMOTION,
    SUD,
    Row,
    delivered,
    flat_csv,
    gz,
    json_lines,
    parquet,
    row,
)
from finops_pipeline_tests.normalize.pipeline import (
    Outcome,
    Pipeline,
    assert_balanced,
    exact_sum,
)
from finops_pipeline_tests.servers.google_bigquery import BigQueryServer
from finops_pipeline_tests.servers.google_storage import StorageServer

TABLE = "gcp_billing_export_resource_v1_012345_ABCDEF_678901"


@pytest.fixture(autouse=True)
def _no_look_up_at_google(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    kind = "google.auth.credentials.CredentialsWithRegionalAccessBoundary"
    monkeypatch.setattr(f"{kind}._after_refresh", lambda *_: None, raising=False)


def month(number: str, *days: int, **values: object) -> list[Row]:
    return [
        row(
            usage_start_time=f"2026-{number}-{day:02} 10:00:00 UTC",
            usage_end_time=f"2026-{number}-{day:02} 11:00:00 UTC",
            invoice={"month": f"2026{number}"},
            **({"export_time": f"2026-{number}-{day:02} 15:00:00 UTC"} | values),
        )
        for day in days
    ]


@dataclass
class Placed(Pipeline):
    """A pipeline whose reports are where a function says."""

    at: Callable[[Source], Location] | None = None

    def place(self, source: Source) -> Location:
        assert self.at is not None
        return self.at(source)


def billed(outcome: Outcome) -> Decimal:
    assert_balanced(outcome)
    assert outcome.rejected == [] and outcome.ingested.failed == ()
    total: Decimal = exact_sum(c["BilledCost"] for c in outcome.charges)
    return total


def test_late_rows_of_an_old_month_rebuild_their_days_alone(tmp_path: Path) -> None:
    july, august = month("07", 3, 4), month("08", 5, 6, credits=[CUD, PROMOTION])
    with BigQueryServer() as server:
        server.tables = {TABLE: [*july, *august, *august[:1]]}
        key = server.key_file(tmp_path)

        def at(source: Source) -> Location:
            place = {
                "location": "bigquery://acme-billing/billing",
                "endpoint": server.endpoint,
                "credentials_file": key,
            }
            return BigQueryLocation(source.model_copy(update=place), page=2)

        pipeline = Placed(tmp_path, "gcp_detailed", at=at)
        first = pipeline.run()
        assert billed(first) == delivered([*july, *august, *august[:1]])
        assert len(first.charges) == 2 + 3 * 2
        versions = pipeline.versions()
        assert billed(pipeline.run()) == billed(first)
        assert pipeline.versions() == versions

        late = month("07", 4, cost=-0.5, credits=[SUD], export_time="2026-09-01 00:00:00 UTC")
        server.tables[TABLE] += late
        second = pipeline.run()
        assert billed(second) == billed(first) + delivered(late)
        assert [e.name for e in second.ingested.archived] == [f"{TABLE}/2026-07.jsonl"]
        assert {r.day for r in second.results} == {date(2026, 7, 3), date(2026, 7, 4)}
        assert second.ingested.archived[0].delivered_at == datetime(2026, 9, 1, tzinfo=UTC)


def test_what_bigquery_gave_is_the_same_from_files_of_every_kind(tmp_path: Path) -> None:
    rows = [*month("08", 1, 2, 3, credits=[CUD, PROMOTION]), *month("08", 3, cost=0.7)]
    rows += rows[:1]
    with StorageServer() as server:
        key = server.key_file(tmp_path)
        server.put("x/whole-000000000000.json.gz", gz(json_lines(*rows[:3])))
        server.put("x/whole-000000000001.json.gz", gz(json_lines(*rows[3:])))
        server.put("x/first days.csv", flat_csv(*rows[:2]))
        server.put("x/again/all.parquet", parquet(*rows), composed=True)
        server.put("y/not ours.csv", flat_csv(*rows))

        def at(source: Source) -> Location:
            place = {
                "location": "gs://acme-billing-export/x/",
                "endpoint": server.endpoint,
                "credentials_file": key,
            }
            return GcsLocation(source.model_copy(update=place), page=2)

        pipeline = Placed(tmp_path, "gcp_detailed", at=at)
        outcome = pipeline.run()
        assert billed(outcome) == delivered(rows)
        server.put("x/first days.csv", flat_csv(*rows[:2], *month("08", 9, cost=4)))
        again = pipeline.run()
        assert billed(again) == delivered(rows) + Decimal(4)
        assert [e.name for e in again.ingested.archived] == ["x/first days.csv"]
    files = Pipeline(tmp_path / "files", "gcp_detailed")
    files.deliver("tree/2026-08.jsonl", json_lines(*rows))
    known = {c["x_ReferenceNumber"] for c in files.run().charges}
    assert known == {c["x_ReferenceNumber"] for c in outcome.charges}
