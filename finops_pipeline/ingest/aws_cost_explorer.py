"""Cost Explorer: a month of an account's costs as the answers of GetCostAndUsage, and a forecast.

Each request is priced, so a month is a report that is asked for when the ledger does not know its
change token: for a month that may still move the token is the day, for a settled one it stays. Each
answer is one paid request and one line of the report, kept byte for byte; the rows of an answer
are made in `PAGES` (`pages.py`), for saved answers of `aws ce get-cost-and-usage` too.

Sources of the rules: AWS Billing and Cost Management API Reference, "GetCostAndUsage" (pages,
group definitions, Estimated) and "GetCostForecast"; AWS Cost Management User Guide, "Analyzing your
costs and usage with Cost Explorer" (history of 13 months, prices of the API).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from finops_pipeline.config import Source
from finops_pipeline.ingest.aws import ATTEMPTS, AwsService, home_region, identity
from finops_pipeline.ingest.closing import closed_at
from finops_pipeline.ingest.location import (
    AccessRefused,
    IngestError,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
)

METRICS = ("UnblendedCost", "AmortizedCost", "NetAmortizedCost")
PRICE = Decimal("0.01")  # of a request, in USD
_BEFORE = 12  # months before the current one that Cost Explorer has for everyone
_NO_SUCH_PERIOD = (
    "BillExpirationException",
    "DataUnavailableException",
    "InvalidNextTokenException",
    "RequestChangedException",
    "ValidationException",
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CostExplorerLocation:
    """The account that a `costexplorer://<account>` location names.

    `requests` counts the paid requests that this place has made.
    """

    def __init__(
        self,
        source: Source,
        *,
        now: Callable[[], datetime] = _utc_now,
        passed: datetime | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.source_name = source.name
        self.requests = 0
        self._now = now
        self._passed = passed
        self._groups = [_group(key) for key in source.group_by]
        self._asked_for = ",".join(source.group_by)
        self._service = AwsService(
            source, "ce", region=home_region(source), endpoint=source.endpoint, attempts=attempts
        )
        self.endpoint = self._service.endpoint
        self._source = source
        self._attempts = attempts
        self._whose: str | None = None
        self._answers: list[bytes] = []
        self._service.client.meta.events.register(
            "after-call.ce.GetCostAndUsage", self._keep_answer
        )

    def reports(self) -> Iterator[RemoteReport]:
        """A report for each month of Cost Explorer's history; asking for them comes with reading.

        The month's token is the day while its costs may move, that is until the day after it counts
        as closed, and stays the same from then on.
        """
        today = self._today()
        for month in _months(today):
            settled = closed_at(month, "aws_cost_explorer").date() + timedelta(days=1)
            asked = min(today, settled)
            told = "settled" if today >= settled else today.isoformat()
            yield RemoteReport(
                name=f"{month:%Y-%m}.jsonl",
                etag=f"{told} {self._asked_for}",
                size=None,
                md5=None,
                delivered_at=datetime.combine(asked, time(), UTC),
            )

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The month's answers, one line each, page after page."""
        self._hold_account()
        yield self._pages(report)

    def _hold_account(self) -> None:
        """Cost Explorer answers for whoever asks: other credentials would give another bill."""
        account = self._source.location.removeprefix("costexplorer://")
        if self._whose is None:
            self._whose = identity(self._source, self._attempts).split(":")[4]
        if self._whose != account:
            raise IngestError(
                f"{self.source_name}: the credentials are of account {self._whose}, and `location` "
                f"names {account}. Set `profile` or `role` to the account's own, or `location` to "
                "the account that is meant."
            )

    def _today(self) -> date:
        now = self._now() if self._passed is None else max(self._now(), self._passed)
        return now.date()

    def _pages(self, report: RemoteReport) -> Iterator[bytes]:
        start = date.fromisoformat(f"{report.name.removesuffix('.jsonl')}-01")
        # The days to come have no costs yet, and Cost Explorer need not take them.
        end = min(_next(start), self._today() + timedelta(days=1))
        token: str | None = None
        seen: set[str] = set()
        while True:
            answer = self._ask(report, start, end, token)
            yield self._answers.pop().replace(b"\n", b" ") + b"\n"
            token = answer.get("NextPageToken")
            if not token:
                return
            if token in seen:
                raise LocationUnavailable(
                    f"{self.source_name}: Cost Explorer gives {start:%Y-%m} in circles: page "
                    f"{token[:40]!r} comes again. Look at what answers at {self.endpoint}."
                )
            seen.add(token)

    def _ask(self, report: RemoteReport, start: date, end: date, token: str | None) -> Any:
        try:
            answer = self._service.call(
                f"costs of {start:%Y-%m}",
                self._service.client.get_cost_and_usage,
                TimePeriod={"Start": start.isoformat(), "End": end.isoformat()},
                Granularity="DAILY",
                Metrics=list(METRICS),
                GroupBy=self._groups,
                **({"NextPageToken": token} if token else {}),
            )
        except AccessRefused as refusal:
            if refusal.code not in _NO_SUCH_PERIOD:
                raise
            raise ReportChanged(
                f"{self.source_name}: {report.name}: {refusal.answer} What was known of the month "
                "stays; other months are read. Cost Explorer has 13 months, and nothing in the "
                "first day after it was switched on."
            ) from refusal
        self.requests += 1
        return answer

    def _keep_answer(self, http_response: Any, **_: Any) -> None:
        self._answers = [http_response.content]


@dataclass(frozen=True)
class Forecast:
    """What AWS expects a period to cost: the mean, and the bounds of its prediction interval."""

    start: date
    end: date
    mean: Decimal
    low: Decimal
    high: Decimal
    currency: str


def forecast(
    source: Source, start: date, end: date, *, confidence: int = 80, attempts: int = ATTEMPTS
) -> list[Forecast]:
    """Cost Explorer's own forecast by day of unblended cost, `end` exclusive. One paid request.

    Raises AccessRefused, also where there is too little history to forecast from
    (DataUnavailableException), and whatever else IngestError names.
    """
    service = AwsService(
        source, "ce", region=home_region(source), endpoint=source.endpoint, attempts=attempts
    )
    answer = service.call(
        "forecast",
        service.client.get_cost_forecast,
        TimePeriod={"Start": start.isoformat(), "End": end.isoformat()},
        Metric="UNBLENDED_COST",
        Granularity="DAILY",
        PredictionIntervalLevel=confidence,
    )
    currency = answer["Total"]["Unit"]
    return [
        Forecast(
            date.fromisoformat(day["TimePeriod"]["Start"][:10]),
            date.fromisoformat(day["TimePeriod"]["End"][:10]),
            Decimal(day["MeanValue"]),
            Decimal(day["PredictionIntervalLowerBound"]),
            Decimal(day["PredictionIntervalUpperBound"]),
            currency,
        )
        for day in answer["ForecastResultsByTime"]
    ]


def _group(key: str) -> dict[str, str]:
    kind, colon, name = key.partition(":")
    return {"Type": kind, "Key": name} if colon else {"Type": "DIMENSION", "Key": key}


def _months(today: date) -> Iterator[date]:
    number = today.year * 12 + today.month - 1
    for month in range(number - _BEFORE, number + 1):
        yield date(month // 12, month % 12 + 1, 1)


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
