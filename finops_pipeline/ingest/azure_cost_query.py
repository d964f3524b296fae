"""Cost Management's Query: a scope's cost by day, resource and service, month after month.

For scopes without an export, and to hold exports against. The service gives about a thousand rows
a page, two groupings at most, and throttles by the months asked for, so a month is asked for once a
day while it may still move and then never again. An answer is kept as it came, a page a line; its
rows are `azure_answers.py`.

Sources of the rules: Microsoft, "Query - Usage" (API 2025-03-01) and "Understand Cost Management
data" (charges of a month come until five days after it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from azure.core import PipelineClient
from azure.core.pipeline.policies import (
    BearerTokenCredentialPolicy,
    HeadersPolicy,
    HTTPPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest

from finops_pipeline.config import Source
from finops_pipeline.ingest.azure_access import (
    MANAGEMENT,
    TIMEOUTS,
    ServiceRetry,
    endpoint_of,
    explained,
    is_loopback,
    token_credential,
)
from finops_pipeline.ingest.location import LocationUnavailable, RemoteReport

_API = "2025-03-01"
MONTHS = 13  # what Cost Management keeps for questions, this month included
MOVES_FOR = timedelta(days=10)  # five days by Microsoft's word, and as many again
# What stands for an answer without a body: nothing was used.
_NO_CONTENT = b'{"properties":{"nextLink":null,"columns":[],"rows":[]}}'
_GROUPING = ("ResourceId", "ServiceName")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CostQueryLocation:
    """The scope that a `costmanagement://<scope>` location names; a report is a month of it."""

    def __init__(
        self,
        source: Source,
        *,
        retry: ServiceRetry | None = None,
        now: Callable[[], datetime] = _utc_now,
        passed: datetime | None = None,
    ) -> None:
        self.source_name = source.name
        self.scope = scope_of(source)
        self.endpoint = endpoint_of(source, MANAGEMENT)
        self.credential = token_credential()
        self._place = f"Cost Management of {self.scope}"
        self._now = now
        self._passed = passed
        policies: list[HTTPPolicy[Any, Any] | SansIOHTTPPolicy[Any, Any]] = [
            HeadersPolicy(),
            UserAgentPolicy("finops-pipeline"),
            retry or ServiceRetry(),
            BearerTokenCredentialPolicy(self.credential, f"{MANAGEMENT}/.default"),
        ]
        self._client: PipelineClient[Any, Any] = PipelineClient(self.endpoint, policies=policies)

    def reports(self) -> Iterator[RemoteReport]:
        """A report for each month that the service knows, in the order of their names.

        The change token of a month that may still move is the day; after that it stays.
        """
        now = self._today()
        for month in reversed(_months(now.date(), MONTHS)):
            settled = now.date() - _next(month) >= MOVES_FOR
            yield RemoteReport(
                name=f"{month:%Y-%m}.jsonl",
                etag="settled" if settled else f"asked {now:%Y-%m-%d}",
                size=None,
                md5=None,
                delivered_at=now,
            )

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The month's answers as they come, a line for each page."""
        month = datetime.strptime(report.name, "%Y-%m.jsonl").date()
        yield self._pages(report.name, question(month))

    def first_page(self) -> None:
        """Ask for today, which needs the right to ask. Raises as `stream` does."""
        today = self._today().date()
        self._ask("asking for a day", self._url(), question(today, today))

    def _pages(self, name: str, asked: dict[str, Any]) -> Iterator[bytes]:
        url: str | None = self._url()
        seen: set[str] = set()
        while url:
            seen.add(url)
            answer = self._ask(name, url, asked)
            if answer.status_code == 204:
                yield _NO_CONTENT + b"\n"
                return
            url = self._next_page(answer, seen)
            yield answer.content.rstrip() + b"\n"

    def _next_page(self, answer: Any, seen: set[str]) -> str | None:
        try:
            link = answer.json()["properties"].get("nextLink")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LocationUnavailable(
                f"{self.source_name}: {self.endpoint} answers, but not as Cost Management does. "
                "Check the endpoint, and what a proxy puts in between."
            ) from None
        if not link:
            return None
        if urlsplit(link)[:2] != urlsplit(self.endpoint)[:2] or link in seen:
            raise LocationUnavailable(
                f"{self.source_name}: {self._place} names as its next page "
                f"{urlsplit(link).hostname}, which is another service or a page already read. "
                "Check what a proxy puts in between."
            )
        return str(link)

    def _ask(self, what: str, url: str, asked: dict[str, Any]) -> Any:
        # Tokens go to this machine in the clear, to others never: see `endpoint_of`.
        options = TIMEOUTS | ({"enforce_https": False} if is_loopback(self.endpoint) else {})
        with explained(self.source_name, self._place, self.endpoint, what):
            request = HttpRequest("POST", url, json=asked)
            answer = self._client.send_request(request, **options)
            answer.raise_for_status()
        return answer

    def _url(self) -> str:
        path = "/providers/Microsoft.CostManagement/query"
        return f"{self.endpoint}/{self.scope}{path}?api-version={_API}"

    def _today(self) -> datetime:
        now = self._now()
        return (now if self._passed is None else max(now, self._passed)).replace(microsecond=0)


def scope_of(source: Source) -> str:
    """The scope of Cost Management that a `costmanagement://` location names, without slashes."""
    return source.location.removeprefix("costmanagement://").strip("/")


def question(first: date, last: date | None = None) -> dict[str, Any]:
    """What is asked: cost as billed, by day, resource and service, of a month or some days of it.

    The resource's identifier tells its subscription, resource group and type as well.
    """
    until = last or _next(first) - timedelta(days=1)
    return {
        "type": "ActualCost",
        "timeframe": "Custom",
        "timePeriod": {"from": f"{first}T00:00:00+00:00", "to": f"{until}T23:59:59+00:00"},
        "dataset": {
            "granularity": "Daily",
            "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
            "grouping": [{"type": "Dimension", "name": name} for name in _GROUPING],
        },
    }


def _months(today: date, count: int) -> list[date]:
    """The first days of the latest months, this one first."""
    months = [today.replace(day=1)]
    while len(months) < count:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    return months


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
