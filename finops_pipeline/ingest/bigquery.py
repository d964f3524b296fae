"""Billing exports in BigQuery, read with the `google-cloud-bigquery` client: a report is a month.

Tables only grow, so a month is known by its newest export time and its number of rows; one that
changed is read whole again. Its rows come as JSON, which BigQuery makes of them itself: numbers
with all their digits, records and lists as they are, whatever columns there are. They are sorted
by that text, so that the same rows are the same bytes. A query is charged for what it scans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import bigquery

from finops_pipeline.config import Source
from finops_pipeline.ingest.gcp_service import GcpService, Waits, changed, credentials_of
from finops_pipeline.ingest.location import IngestError, RemoteReport

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.-]*")
_NO_MONTH = "000000"
# Google's own dataset of FOCUS exports, from which rows go after two years; a copy keeps them.
_FADING = "gcp_billing_immutable_"
_WHOLE_MONTHS = 23
# The start of the names of a format's tables; the month that a row is in; when it was exported.
# An invoice month is Google's own; a billing period starts within its month in UTC too.
_TABLES = {
    "gcp_detailed": ("gcp_billing_export_resource_v1_", "invoice.month", "export_time"),
    "gcp_focus": (
        "gcp_billing_export_focus_",
        "FORMAT_TIMESTAMP('%Y%m', BillingPeriodStart)",
        "x_ExportTime",
    ),
}


class BigQueryLocation:
    """The export that a `bigquery://<project>/<dataset>[/<table>]` location names.

    Without a table all of the dataset's tables that are named as the format's exports are.
    """

    def __init__(self, source: Source, *, waits: Waits | None = None, page: int = 10_000) -> None:
        self.source_name = source.name
        parts = source.location.removeprefix("bigquery://").split("/")
        if not all(_NAME.fullmatch(part) for part in parts):
            raise IngestError(
                f"{source.name}: location {source.location!r} must be "
                "bigquery://<project>/<dataset>/<table>, with the names that BigQuery allows."
            )
        self.project, self.dataset = parts[:2]
        self._table = parts[2] if len(parts) == 3 else None
        self._prefix, self._month, self._exported = _TABLES[source.format]
        self._page = page
        self._service = GcpService(source, source.location, waits or Waits())
        self.credentials, _ = credentials_of(source, source.location)
        options = {"api_endpoint": source.endpoint} if source.endpoint else None
        self._client = bigquery.Client(
            project=self.project, credentials=self.credentials, client_options=options
        )

    def reports(self) -> Iterator[RemoteReport]:
        """Each month of each table, by table and month."""
        for table in self.tables():
            query = (
                f"SELECT COALESCE({self._month}, '{_NO_MONTH}') AS month, "
                f"UNIX_MICROS(MAX({self._exported})) AS exported, COUNT(*) AS number "
                f"FROM {self._named(table)} GROUP BY month ORDER BY month"
            )
            pages = self._asked(f"months of {table}", query)
            months = [self._report(table, *row) for page in pages for row in page]
            newest = max((m.delivered_at for m in months), default=_EPOCH)
            yield from (m for m in months if not self._is_fading(m, newest))

    def _is_fading(self, report: RemoteReport, newest: datetime) -> bool:
        """Whether Google may have begun to delete the month: then what is known of it stays."""
        year, month = (int(part) for part in report.name[-13:-6].split("-"))
        ago = (newest.year - year) * 12 + newest.month - month
        return self.dataset.startswith(_FADING) and ago > _WHOLE_MONTHS

    def tables(self) -> list[str]:
        """The tables that are read, in order. Raises IngestError when there is none."""
        if self._table is not None:
            return [self._table]
        listed = self._client.list_tables(
            f"{self.project}.{self.dataset}", retry=self._service.retry
        )
        pages = self._service.pages("listing tables", listed)
        names = sorted(t.table_id for page in pages for t in page)
        found = [name for name in names if name.startswith(self._prefix)]
        if not found:
            raise IngestError(
                f"{self.source_name}: dataset {self.project}.{self.dataset} has no table named "
                f"{self._prefix}<billing account>. Turn the export on (Billing, Billing export), "
                "wait a day for its first rows, or name the table in the location."
            )
        return found

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The month's rows, one JSON object a line, page after page."""
        yield self._lines(report)

    def first_byte(self, report: RemoteReport) -> None:
        """Nothing: what lists the months has read the table already."""

    def _report(self, table: str, month: str, exported: int | None, number: int) -> RemoteReport:
        if exported is None:
            raise IngestError(
                f"{self.source_name}: {self._named(table)}: no row of month {month} has a value in "
                f"{self._exported}, so nobody can tell when it changed. Name the table that Google "
                "exports to, not one made of it."
            )
        return RemoteReport(
            name=f"{table}/{month[:4]}-{month[4:]}.jsonl",
            etag=f"{exported}-{number}",
            size=None,
            md5=None,
            delivered_at=_EPOCH + timedelta(microseconds=exported),
        )

    def _lines(self, report: RemoteReport) -> Iterator[bytes]:
        table, _, file = report.name.rpartition("/")
        query = (
            f"SELECT TO_JSON_STRING(charge) AS line FROM {self._named(table)} AS charge "
            f"WHERE COALESCE({self._month}, '{_NO_MONTH}') = @month ORDER BY line"
        )
        month = bigquery.ScalarQueryParameter("month", "STRING", file[:7].replace("-", ""))
        count = 0
        for page in self._asked(report.name, query, [month]):
            lines = [line for (line,) in page]
            count += len(lines)
            yield "".join(f"{line}\n" for line in lines).encode()
        if count != int(report.etag.rpartition("-")[2]):
            raise changed(self.source_name, report.name, report.etag)

    def _asked(self, what: str, query: str, parameters: Any = ()) -> Iterator[Any]:
        """The pages of a query's rows."""
        config = bigquery.QueryJobConfig(query_parameters=list(parameters))
        retry = self._service.retry

        def ask() -> Any:
            job = self._client.query(query, job_config=config, retry=retry, job_retry=None)
            return job.result(page_size=self._page, retry=retry, job_retry=None)

        yield from self._service.pages(what, self._service.explained(what, ask))

    def _named(self, table: str) -> str:
        return f"`{self.project}.{self.dataset}.{table}`"
