"""Query through azure-core and a managed identity, against a server that throttles and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.azure_access import ServiceRetry
from finops_pipeline.ingest.azure_cost_query import CostQueryLocation
from finops_pipeline.ingest.fetch import fetch
from finops_pipeline.ingest.ledger import Ledger
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    LocationUnavailable,
    RemoteReport,
)
from finops_pipeline.ingest.run import Ingest, Ingested
from finops_pipeline_tests.normalize.pipeline import Pipeline, assert_balanced
from finops_pipeline_tests.servers.azurite import new_certificate
from finops_pipeline_tests.servers.cost_management import CostManagement, Fault
from finops_pipeline_tests.servers.entra import SECRET, entra

SCOPE = "subscriptions/e18e1552-c6dd-45d1-973c-999999999999"
VM = f"/{SCOPE}/resourceGroups/Web/providers/Microsoft.Compute/virtualMachines/vm1"
NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CostManagement]:
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with CostManagement() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(
        "azure.core.pipeline.transport.HttpTransport.sleep", lambda _, s: found.append(s)
    )
    return found


def source(server: CostManagement, scope: str = SCOPE) -> Source:
    return Source(
        name="acme-query",
        format="azure_cost_query",
        location=f"costmanagement://{scope}",
        endpoint=server.endpoint,
    )


def located(server: CostManagement, now: datetime = NOW, attempts: int = 5) -> CostQueryLocation:
    return CostQueryLocation(source(server), retry=ServiceRetry(attempts, 0), now=lambda: now)


def month(location: CostQueryLocation, name: str = "2026-08.jsonl") -> RemoteReport:
    (found,) = [report for report in location.reports() if report.name == name]
    return found


def text(location: CostQueryLocation, tmp_path: Path) -> bytes:
    return fetch(location, month(location), tmp_path).path.read_bytes()


def test_all_pages_come_by_the_same_question(server: CostManagement, tmp_path: Path) -> None:
    server.page = 3
    for number in range(8):
        server.add(SCOPE, "2026-08-03", f"{number}.5", VM, "Virtual Machines")
    server.add(SCOPE, "2026-09-01", "99", VM, "Virtual Machines")
    pages = text(located(server), tmp_path).splitlines()
    assert len(pages) == 3
    bodies = [asked for _, asked in server.asked]
    assert (
        bodies
        == [
            {
                "type": "ActualCost",
                "timeframe": "Custom",
                "timePeriod": {
                    "from": "2026-08-01T00:00:00+00:00",
                    "to": "2026-08-31T23:59:59+00:00",
                },
                "dataset": {
                    "granularity": "Daily",
                    "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
                    "grouping": [
                        {"type": "Dimension", "name": "ResourceId"},
                        {"type": "Dimension", "name": "ServiceName"},
                    ],
                },
            }
        ]
        * 3
    )
    assert server.tokens_given == 1


def test_throttling_is_waited_for_as_long_as_its_strictest_limit_says(
    server: CostManagement, tmp_path: Path, waits: list[float]
) -> None:
    server.add(SCOPE, "2026-08-03", "1", VM, "Virtual Machines")
    server.throttle(qpu="11", entity="3", tenant="2")
    server.throttle(clienttype="40")
    server.fail(503, "ServiceUnavailable", "Busy.")
    assert b'"rows":[[1,20260803,' in text(located(server), tmp_path)
    assert [wait for wait in waits if wait] == [11, 40]


def test_who_asks_for_more_than_ten_minutes_is_left_alone(
    server: CostManagement, tmp_path: Path, waits: list[float]
) -> None:
    server.throttle(qpu="3600")
    with pytest.raises(LocationUnavailable, match="asks to wait 3600 seconds"):
        text(located(server), tmp_path)
    assert not waits
    assert len(server.asked) == 1


def test_who_stays_busy_is_named(server: CostManagement, tmp_path: Path) -> None:
    server.fail(503, "ServiceUnavailable", "Busy.", times=3)
    with pytest.raises(
        LocationUnavailable, match=r"503 ServiceUnavailable \(2026-08\.jsonl\): Busy"
    ):
        text(located(server, attempts=2), tmp_path)


def test_an_answer_cut_off_leaves_no_trace(server: CostManagement, tmp_path: Path) -> None:
    server.page = 2
    for number in range(4):
        server.add(SCOPE, "2026-08-03", str(number), VM, "Virtual Machines")
    whole = text(located(server), tmp_path)
    server.cut(0, 40)
    server.faults.append(Fault())
    server.cut(200)
    assert text(located(server), tmp_path) == whole
    assert not server.faults


def test_a_token_that_ran_out_is_a_refusal(server: CostManagement, tmp_path: Path) -> None:
    server.fail(401, "ExpiredAuthenticationToken", "The access token expiry time is past.")
    with pytest.raises(AccessRefused, match="401 ExpiredAuthenticationToken") as refused:
        text(located(server), tmp_path)
    assert refused.value.status == 401
    assert len(server.asked) == 1


def test_an_application_asks_by_its_secret_until_that_runs_out(
    server: CostManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(SCOPE, "2026-08-03", "1", VM, "Virtual Machines")
    with entra(new_certificate(tmp_path / "authority.pem")) as authority:
        for name, value in authority.environment.items():
            monkeypatch.setenv(name, value)
        assert b"20260803" in text(located(server), tmp_path)
        assert "https://management.azure.com/.default" in " ".join(authority.asked)
        assert server.tokens_given == 0  # before the identity of the machine
        asked = len(server.asked)
        authority.error = (
            "AADSTS7000222: The provided client secret keys for app '1111' are expired. Visit the "
            "portal to create new keys for your app."
        )
        with pytest.raises(CredentialsError) as refused:
            text(located(server), tmp_path)
        assert "AADSTS7000222: the client secret has run out" in str(refused.value)
        assert "az ad app credential reset" in str(refused.value)
        assert SECRET not in str(refused.value)
        assert len(server.asked) == asked


def test_nobody_to_ask_as_is_named(
    server: CostManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    monkeypatch.setenv("PATH", "")  # no Azure CLI
    with pytest.raises(CredentialsError, match="gives a token: `az login`"):
        text(located(server), tmp_path)


def test_a_missing_role_is_a_refusal(server: CostManagement, tmp_path: Path) -> None:
    server.fail(403, "AuthorizationFailed", "The client does not have authorization.")
    with pytest.raises(AccessRefused, match="403 AuthorizationFailed") as refused:
        text(located(server), tmp_path)
    assert (refused.value.status, refused.value.code) == (403, "AuthorizationFailed")


def test_the_token_goes_to_no_other_host(server: CostManagement, tmp_path: Path) -> None:
    answer = b'{"properties":{"nextLink":"https://elsewhere.example/query","columns":[],"rows":[]}}'
    server.answer = lambda *_: answer  # type: ignore[method-assign]
    with pytest.raises(LocationUnavailable, match=r"elsewhere\.example"):
        text(located(server), tmp_path)


def test_what_is_not_the_service_is_named(server: CostManagement, tmp_path: Path) -> None:
    server.answer = lambda *_: b"<html>proxy</html>"  # type: ignore[method-assign]
    with pytest.raises(LocationUnavailable, match="not as Cost Management does"):
        text(located(server), tmp_path)


def test_a_month_is_asked_for_once_a_day_while_it_moves(server: CostManagement) -> None:
    tokens = {
        r.name: r.etag for r in located(server, datetime(2026, 9, 4, 3, tzinfo=UTC)).reports()
    }
    assert list(tokens) == sorted(tokens)
    assert len(tokens) == 13
    moving = {name for name, etag in tokens.items() if etag == "asked 2026-09-04"}
    assert moving == {"2026-08.jsonl", "2026-09.jsonl"}
    later = datetime(2026, 9, 11, tzinfo=UTC)
    tokens = {r.name: r.etag for r in located(server, later).reports()}
    assert [n for n, etag in tokens.items() if etag != "settled"] == ["2026-09.jsonl"]


class Asking(Pipeline):
    """The pipeline of a test, whose place is the service."""

    server: CostManagement

    def ingest(self, engine: Any, only: Any = None) -> Ingested:
        told = source(self.server).model_copy(update={"name": "acme"})
        place = CostQueryLocation(told, retry=ServiceRetry(3, 0), now=lambda: self.now)
        home = self.home
        ingest = Ingest(
            told, place, Ledger(home.table("reports"), "acme"), home.archive, engine, home.spool,
            lambda: self.now,
        )  # fmt: skip
        return ingest.run(ingest.new_reports())


def test_from_the_service_to_charges_and_again_when_a_month_moved(
    server: CostManagement, tmp_path: Path
) -> None:
    made = Asking(tmp_path, "azure_cost_query", now=datetime(2026, 9, 3, 12, tzinfo=UTC))
    made.server = server
    server.add(SCOPE, "2026-08-31", "1.2345678901234567E-05", VM, "Virtual Machines")
    server.add(SCOPE, "2026-09-01", "-2.5", "", "Unassigned")
    outcome = made.run()
    assert_balanced(outcome)
    assert not outcome.ingested.failed
    assert len(server.asked) == 13
    machine, credit = sorted(outcome.charges, key=lambda c: c["ChargePeriodStart"])
    assert machine["BilledCost"] == Decimal("0.000012345678901235")  # 18 digits, half up
    assert machine["ChargePeriodEnd"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert credit["ChargeCategory"] == "Credit"

    made.now = datetime(2026, 9, 3, 18, tzinfo=UTC)  # the same day: nothing is asked
    made.run()
    assert len(server.asked) == 13
    made.now = datetime(2026, 9, 4, 6, tzinfo=UTC)
    server.rows[SCOPE][0] = ("2026-08-31", "7", VM, "Virtual Machines", "USD")
    outcome = made.run()
    assert len(server.asked) == 15  # two months may still move
    assert_balanced(outcome)
    assert sorted(c["BilledCost"] for c in outcome.charges) == [Decimal("-2.5"), 7]
    made.now = datetime(2026, 10, 20, tzinfo=UTC)
    made.run()
    asked = [body["timePeriod"]["from"][:7] for _, body in server.asked[15:]]
    assert asked == ["2026-08", "2026-09", "2026-10"]  # the closed ones for the last time
    made.now = datetime(2026, 10, 21, tzinfo=UTC)
    made.run()
    assert [b["timePeriod"]["from"][:7] for _, b in server.asked[18:]] == ["2026-10"]


def test_a_new_column_in_the_middle_of_a_month(server: CostManagement, tmp_path: Path) -> None:
    made = Asking(tmp_path, "azure_cost_query", now=NOW)
    made.server = server
    server.add(SCOPE, "2026-09-02", "1", VM, "Virtual Machines")
    made.run()
    server.extra_column = "Pool"
    made.now = datetime(2026, 9, 21, tzinfo=UTC)
    (charge,) = made.run().charges
    assert charge["x_OtherColumns"] == '{"Pool":"new"}'


def test_days_are_those_of_the_month(server: CostManagement, tmp_path: Path) -> None:
    text(located(server, datetime(2026, 9, 30, tzinfo=UTC)), tmp_path)
    period = server.asked[0][1]["timePeriod"]
    assert (date.fromisoformat(period["to"][:10]) - date(2026, 8, 1)).days == 30
