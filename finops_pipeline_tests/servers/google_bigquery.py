"""A server that behaves as BigQuery's REST API: tables, jobs, and the pages of their results.

It answers the two kinds of query that the pipeline asks, from rows in memory: months with their
newest export time and number of rows, and the rows of a month as JSON.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from finops_pipeline_tests.servers.google_api import (
    ACCOUNT,
    Answer,
    GoogleServer,
    Request,
    answer,
    refusal,
)

Row = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASE = "/bigquery/v2/projects/acme-billing"


class BigQueryServer(GoogleServer):
    """One dataset of the project `acme-billing`."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[Row]] = {}
        self.dataset = "billing"
        self.denied: set[str] = set()
        self._results: dict[str, tuple[list[tuple[str, str]], list[list[str]]]] = {}

    def respond(self, request: Request) -> Answer:
        """Listing tables, asking, and the pages of an answer."""
        path = request.path.removeprefix(_BASE)
        if path == f"/datasets/{self.dataset}/tables":
            return self._refused("bigquery.tables.list") or self._tables(request)
        if path == "/jobs" and request.method == "POST":
            return self._refused("bigquery.jobs.create") or self._ask(request)
        if found := re.fullmatch(r"/queries/(.+)", path):
            return self._page(found[1], request)
        if found := re.fullmatch(r"/jobs/(.+)", path):
            return answer(self._job(found[1]))
        return refusal(404, "notFound", f"Not found: {path}")

    def _refused(self, permission: str) -> Answer | None:
        if permission not in self.denied:
            return None
        return refusal(
            403,
            "accessDenied",
            f"Access Denied: Project acme-billing: User {ACCOUNT} does not have {permission} "
            "permission in project acme-billing.",
        )

    def _tables(self, request: Request) -> Answer:
        names = sorted(self.tables)
        start = int(request.query.get("pageToken", "0"))
        listed = [
            {
                "id": f"acme-billing:{self.dataset}.{n}",
                "tableReference": {
                    "projectId": "acme-billing", "datasetId": self.dataset, "tableId": n,
                },
            }
            for n in names[start : start + 2]
        ]  # fmt: skip
        made: dict[str, Any] = {"kind": "bigquery#tableList", "tables": listed}
        if start + 2 < len(names):
            made["nextPageToken"] = str(start + 2)
        return answer(made)

    def _ask(self, request: Request) -> Answer:
        job = request.body["jobReference"]["jobId"]
        query = request.body["configuration"]["query"]
        found = re.search(rf"FROM `acme-billing\.{self.dataset}\.([^`]+)`", query["query"])
        assert found is not None, query
        if found[1] not in self.tables:
            return refusal(404, "notFound", f"Not found: Table acme-billing:billing.{found[1]}")
        if (no := self._refused("bigquery.tables.getData")) is not None:
            return no
        rows = self.tables[found[1]]
        given = {
            p["name"]: p["parameterValue"]["value"] for p in query.get("queryParameters") or ()
        }
        if "TO_JSON_STRING" in query["query"]:
            lines = sorted(json.dumps(r) for r in rows if _month(r) == given["month"])
            self._results[job] = ([("line", "STRING")], [[line] for line in lines])
        else:
            self._results[job] = (_MONTHS, _months(rows))
        return answer(self._job(job))

    def _job(self, job: str) -> Row:
        reference = {"projectId": "acme-billing", "jobId": job, "location": "EU"}
        destination = {"projectId": "acme-billing", "datasetId": "_a", "tableId": "anon"}
        return {
            "kind": "bigquery#job",
            "id": f"acme-billing:EU.{job}",
            "jobReference": reference,
            "configuration": {
                "jobType": "QUERY",
                "query": {"query": "", "destinationTable": destination},
            },
            "status": {"state": "DONE"},
            "statistics": {"query": {"statementType": "SELECT"}},
        }

    def _page(self, job: str, request: Request) -> Answer:
        schema, rows = self._results[job]
        start = int(request.query.get("pageToken", "0"))
        count = int(request.query.get("maxResults", "100000"))
        page = rows[start : start + count]
        made: Row = {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": {"projectId": "acme-billing", "jobId": job, "location": "EU"},
            "jobComplete": True,
            "totalRows": str(len(rows)),
            "schema": {"fields": [{"name": n, "type": t, "mode": "NULLABLE"} for n, t in schema]},
            "rows": [{"f": [{"v": value} for value in row]} for row in page],
        }
        if start + count < len(rows):
            made["pageToken"] = str(start + count)
        return answer(made)


_MONTHS = [("month", "STRING"), ("exported", "INTEGER"), ("number", "INTEGER")]


def _months(rows: list[Row]) -> list[list[str]]:
    found = []
    for month in sorted({_month(r) for r in rows}):
        times = [_exported(r) for r in rows if _month(r) == month]
        found.append([month, str(max(times)), str(len(times))])
    return found


def _month(row: Row) -> str:
    if "BillingPeriodStart" in row:
        return str(row["BillingPeriodStart"][:7].replace("-", ""))
    return str((row.get("invoice") or {}).get("month") or "000000")


def _exported(row: Row) -> int:
    text = row.get("export_time") or row["x_ExportTime"]
    moment = datetime.fromisoformat(text.replace(" UTC", "+00:00").replace("Z", "+00:00"))
    since = moment - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
