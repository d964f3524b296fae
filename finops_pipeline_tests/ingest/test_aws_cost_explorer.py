"""Cost Explorer as a place: pages, throttling, cut streams, rights, and what is asked how often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.aws_cost_explorer import CostExplorerLocation, Forecast, forecast
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    Location,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
)
from finops_pipeline_tests.normalize.pipeline import Outcome, Pipeline, assert_balanced
from finops_pipeline_tests.servers.aws import ACCOUNT, Aws, aws_server

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
SERVICES = ("Amazon DynamoDB", "AWS Lambda", "Amazon Simple Storage Service")


@pytest.fixture(scope="module")
def running() -> Iterator[Aws]:
    with aws_server() as server:
        yield server


@pytest.fixture
def server(running: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    running.forget()
    running.cost_explorer = Bills()
    return running


class Bills:
    """A Cost Explorer that holds a dollar for each service on the first of each month.

    It gives one service a page, as the real one gives so many groups.
    """

    def __init__(self) -> None:
        self.amount = "1"

    def __call__(self, operation: str, asked: dict[str, Any]) -> Any:
        if operation == "GetCostForecast":
            return _forecast(asked)
        assert asked["Granularity"] == "DAILY"
        assert asked["GroupBy"] == [
            {"Type": "DIMENSION", "Key": "SERVICE"},
            {"Type": "DIMENSION", "Key": "LINKED_ACCOUNT"},
        ]
        start = date.fromisoformat(asked["TimePeriod"]["Start"])
        page = int(asked.get("NextPageToken", f"{start} 0").split()[1])
        money = {"Amount": self.amount, "Unit": "USD"}
        answer = {
            "GroupDefinitions": asked["GroupBy"],
            "ResultsByTime": [
                {
                    "TimePeriod": {"Start": f"{start}", "End": f"{start.replace(day=2)}"},
                    "Groups": [
                        {
                            "Keys": [SERVICES[page], ACCOUNT],
                            "Metrics": dict.fromkeys(asked["Metrics"], money),
                        }
                    ],
                    "Estimated": start.month == 9,
                }
            ],
            "DimensionValueAttributes": [{"Value": ACCOUNT, "Attributes": {"description": "Acme"}}],
        }
        if page + 1 < len(SERVICES):
            answer["NextPageToken"] = f"{start} {page + 1}"
        return answer


def _forecast(asked: dict[str, Any]) -> Any:
    assert asked["Metric"] == "UNBLENDED_COST"
    assert asked["PredictionIntervalLevel"] == 80
    days = [
        {
            "TimePeriod": {"Start": f"2026-09-{day}", "End": f"2026-09-{day + 1}"},
            "MeanValue": "10.123456789012345678",
            "PredictionIntervalLowerBound": "9.5",
            "PredictionIntervalUpperBound": "11",
        }
        for day in (21, 22)
    ]
    return {"Total": {"Amount": "20.24", "Unit": "USD"}, "ForecastResultsByTime": days}


def _source(server: Aws, **more: Any) -> Source:
    given = {"location": f"costexplorer://{ACCOUNT}", "endpoint": server.endpoint} | more
    return Source(name="acme-ce", format="aws_cost_explorer", **given)


def _place(server: Aws, now: datetime = NOW, **more: Any) -> CostExplorerLocation:
    return CostExplorerLocation(_source(server, **more), now=lambda: now, attempts=4)


def _month(place: CostExplorerLocation, month: str) -> RemoteReport:
    return next(r for r in place.reports() if r.name == f"{month}.jsonl")


def _read(place: CostExplorerLocation, report: RemoteReport) -> bytes:
    with place.stream(report) as pages:
        return b"".join(pages)


def test_thirteen_months_are_listed_and_none_is_asked_for(server: Aws) -> None:
    place = _place(server)
    reports = list(place.reports())
    assert [r.name for r in reports] == [
        *(f"2025-{m:02}.jsonl" for m in range(9, 13)),
        *(f"2026-{m:02}.jsonl" for m in range(1, 10)),
    ]
    assert [r.etag.split()[0] for r in reports] == [*["settled"] * 12, "2026-09-20"]
    assert reports[-2].delivered_at == datetime(2026, 9, 16, tzinfo=UTC)
    assert (place.requests, server.requests) == (0, [])


def test_the_answers_are_kept_as_they_came_page_after_page(server: Aws, tmp_path: Path) -> None:
    place = _place(server)
    content = fetch(place, _month(place, "2026-08"), tmp_path).path.read_bytes()
    asked = [json.loads(r.body) for r in server.asked("GetCostAndUsage")]
    assert [a.get("NextPageToken") for a in asked] == [None, "2026-08-01 1", "2026-08-01 2"]
    assert asked[0]["TimePeriod"] == {"Start": "2026-08-01", "End": "2026-09-01"}
    assert content.splitlines() == [json.dumps(Bills()("", a)).encode() for a in asked]
    assert place.requests == 3


def test_the_days_to_come_are_not_asked_for(server: Aws) -> None:
    place = _place(server)
    _read(place, _month(place, "2026-09"))
    asked = json.loads(server.asked("GetCostAndUsage")[0].body)
    assert asked["TimePeriod"] == {"Start": "2026-09-01", "End": "2026-09-21"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400 Bad Request", "ThrottlingException"),
        ("400 Bad Request", "LimitExceededException"),
        ("429 Too Many Requests", "TooManyRequestsException"),
        ("503 Service Unavailable", "ServiceUnavailable"),
    ],
)
def test_throttled_requests_are_asked_again_and_not_counted(
    server: Aws, status: str, code: str
) -> None:
    place = _place(server)
    server.fail("GetCostAndUsage", 2, status, code, "Rate exceeded")
    assert len(_read(place, _month(place, "2026-08")).splitlines()) == 3
    assert (len(server.asked("GetCostAndUsage")), place.requests) == (5, 3)


def test_throttling_that_stays_is_told_as_unavailable(server: Aws) -> None:
    place = _place(server)
    server.fail("GetCostAndUsage", 99, "400 Bad Request", "LimitExceededException", "Rate")
    with pytest.raises(LocationUnavailable, match=r"acme-ce: costs of 2026-08: .*LimitExceeded"):
        _read(place, _month(place, "2026-08"))


def test_an_answer_that_is_cut_off_is_asked_for_again(server: Aws) -> None:
    place = _place(server)
    server.cut("GetCostAndUsage", 1, after=40)
    lines = _read(place, _month(place, "2026-08")).splitlines()
    assert [json.loads(line)["ResultsByTime"][0]["Groups"][0]["Keys"][0] for line in lines] == [
        *SERVICES
    ]


def test_credentials_of_another_account_are_refused(server: Aws) -> None:
    """Cost Explorer would answer them, with the bill of that account."""
    place = _place(server, location="costexplorer://999999999999")
    with pytest.raises(IngestError, match=f"are of account {ACCOUNT}, and .* names 999999999999"):
        _read(place, _month(place, "2026-08"))
    assert server.asked("GetCostAndUsage") == []


def test_pages_in_circles_are_told(server: Aws) -> None:
    server.cost_explorer = lambda *_: {"ResultsByTime": [], "NextPageToken": "again"}
    place = _place(server)
    with pytest.raises(LocationUnavailable, match="2026-08 in circles"):
        _read(place, _month(place, "2026-08"))
    assert place.requests == 2


def test_expired_credentials_and_a_denied_right(server: Aws) -> None:
    place = _place(server)
    server.fail("GetCostAndUsage", 1, "400 Bad Request", "ExpiredTokenException", "expired")
    with pytest.raises(CredentialsError, match="the session has run out"):
        _read(place, _month(place, "2026-08"))
    server.deny("GetCostAndUsage", "ce:GetCostAndUsage", "*")
    with pytest.raises(AccessRefused, match="not authorized to perform: ce:GetCostAndUsage"):
        _read(place, _month(place, "2026-08"))


def test_a_month_that_cost_explorer_does_not_have_blocks_no_other(server: Aws) -> None:
    server.fail("GetCostAndUsage", 1, "400 Bad Request", "ValidationException", "too far back")
    place = _place(server)
    with pytest.raises(ReportChanged, match=r"2025-09\.jsonl: .*too far back.*13 months"):
        _read(place, _month(place, "2025-09"))


def test_other_groups_are_asked_for_and_are_another_version(server: Aws) -> None:
    server.cost_explorer = lambda _, asked: {
        "GroupDefinitions": asked["GroupBy"],
        "ResultsByTime": [],
    }
    place = _place(server, group_by=("TAG:team", "REGION"))
    report = _month(place, "2026-08")
    assert report.etag != _month(_place(server), "2026-08").etag
    said = json.loads(_read(place, report))
    assert said["GroupDefinitions"] == [
        {"Type": "TAG", "Key": "team"},
        {"Type": "DIMENSION", "Key": "REGION"},
    ]


class _Asked(Pipeline):
    """The pipeline of the tests with Cost Explorer as its place."""

    server: Aws

    def source(self) -> Source:
        return _source(self.server).model_copy(update={"name": "acme"})

    def place(self, source: Source) -> Location:
        self.last = CostExplorerLocation(source, now=lambda: self.now, attempts=4)
        return self.last


def _costs(made: _Asked, now: datetime) -> tuple[Outcome, Decimal, int]:
    made.now = now
    outcome = made.run()
    assert_balanced(outcome)
    return outcome, sum((c["BilledCost"] for c in outcome.charges), Decimal(0)), made.last.requests


def test_a_closed_month_is_asked_once_and_an_open_one_daily(server: Aws, tmp_path: Path) -> None:
    made = _Asked(tmp_path, "aws_cost_explorer")
    made.server = server
    assert _costs(made, NOW)[1:] == (39, 39)  # 13 months, 3 services, 3 pages each
    assert _costs(made, NOW)[1:] == (39, 0)
    before = made.versions()["focus_costs"]
    assert _costs(made, datetime(2026, 9, 21, tzinfo=UTC))[1:] == (39, 3)
    assert made.versions()["focus_costs"] == before  # the same answers change nothing
    bills = Bills()
    bills.amount = "1.5"
    server.cost_explorer = bills
    outcome, total, asked = _costs(made, datetime(2026, 9, 22, tzinfo=UTC))
    assert (total, asked) == (Decimal("40.5"), 3)  # September alone was asked for again
    assert [r.day for r in outcome.results] == [date(2026, 9, 1)]
    charge = next(c for c in outcome.charges if c["x_ChargeDay"] == date(2026, 9, 1))
    assert (charge["SubAccountName"], charge["EffectiveCost"]) == ("Acme", Decimal("1.5"))


def test_a_forecast(server: Aws) -> None:
    found = forecast(_source(server), date(2026, 9, 21), date(2026, 9, 23))
    mean, low, high = Decimal("10.123456789012345678"), Decimal("9.5"), Decimal(11)
    assert found == [
        Forecast(date(2026, 9, day), date(2026, 9, day + 1), mean, low, high, "USD")
        for day in (21, 22)
    ]


def test_a_forecast_without_enough_history(server: Aws) -> None:
    server.fail("GetCostForecast", 9, "400 Bad Request", "DataUnavailableException", "Insufficient")
    with pytest.raises(AccessRefused, match="DataUnavailableException"):
        forecast(_source(server), date(2026, 9, 21), date(2026, 9, 23))
