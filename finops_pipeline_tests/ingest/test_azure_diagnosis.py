"""What `finops doctor` says of Azure: down to the role assignment that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.diagnosis import Finding, diagnose
from finops_pipeline_tests.normalize.azure_exports import SUBSCRIPTION, as_csv, manifest, row
from finops_pipeline_tests.servers.azurite import (
    ACCOUNT,
    Azurite,
    azurite,
    gate,
    is_installed,
    new_certificate,
)
from finops_pipeline_tests.servers.cost_management import OBJECT, CostManagement, Fault

SCOPE = SUBSCRIPTION.strip("/")
NOW = datetime(2026, 8, 6, 12, tzinfo=UTC)
needs_azurite = pytest.mark.skipif(not is_installed(), reason="Azurite: `make azurite`")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[CostManagement]:
    with CostManagement() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def storage() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


def asked(location: str, endpoint: str, format_: str) -> dict[str, Finding]:
    source = Source(name="acme", format=format_, location=location, endpoint=endpoint)
    return {found.name: found for found in diagnose(source, now=lambda: NOW)}


def query(service: CostManagement, scope: str = SCOPE) -> dict[str, Finding]:
    return asked(f"costmanagement://{scope}", service.endpoint, "azure_cost_query")


def exports(endpoint: str, container: str = "doctor") -> dict[str, Finding]:
    return asked(f"az://{ACCOUNT}/{container}/exports", endpoint, "azure_focus")


def test_query_is_well(service: CostManagement) -> None:
    found = query(service)
    assert [name for name, f in found.items() if f.ok] == ["sign-in", "query", "inventory"]
    assert OBJECT in found["sign-in"].detail


def test_the_missing_role_of_a_subscription_is_told(service: CostManagement) -> None:
    service.fail(403, "AuthorizationFailed", "The client does not have authorization.")
    found = query(service)["query"]
    assert not found.ok
    assert "403 AuthorizationFailed" in found.detail
    assert (
        f'az role assignment create --assignee {OBJECT} --role "Cost Management Reader" '
        f"--scope /{SCOPE}"
    ) in found.remedy


def test_billing_accounts_have_roles_of_their_own(service: CostManagement) -> None:
    service.fail(403, "RBACAccessDenied", "The client does not have authorization.")
    found = query(service, "providers/Microsoft.Billing/billingAccounts/8611537")["query"]
    assert "Billing account reader" in found.remedy
    assert "az role assignment" not in found.remedy


def test_a_sign_in_that_ran_out_is_told(service: CostManagement) -> None:
    service.identity_fault = Fault(400, {}, b'{"error":"invalid_client"}')
    found = query(service)["sign-in"]
    assert not found.ok
    assert "az login" in found.remedy


def test_a_token_that_is_not_taken_is_told(service: CostManagement) -> None:
    service.fail(401, "ExpiredAuthenticationToken", "It has expired.")
    found = query(service)["query"]
    assert not found.ok
    assert "az login" in found.remedy


@needs_azurite
class TestContainer:
    """Blob Storage: the emulator, with a gate that refuses as Azure does."""

    def deliver(self, storage: Azurite, export: str = "daily") -> None:
        folder = f"exports/{export}/20260801-20260831"
        part = as_csv([row()])
        storage.put("doctor", f"{folder}/part_0.csv", part)
        blobs = {f"{folder}/part_0.csv": (part, 1)}
        told = manifest(blobs, "2026-08-06T01:00:00Z", export=export)
        storage.put("doctor", f"{folder}/manifest.json", told)

    def test_all_is_well(self, storage: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deliver(storage)
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", storage.sas("doctor"))
        found = exports(storage.endpoint)
        assert all(f.ok for f in found.values()), found
        assert list(found) == ["sign-in", "container", "reports", "exports", "reading", "inventory"]

    def test_a_month_by_two_exports_is_told(
        self, storage: Azurite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.deliver(storage)
        self.deliver(storage, "monthly")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", storage.sas("doctor"))
        found = exports(storage.endpoint)["exports"]
        assert not found.ok
        assert found.detail == f"{SCOPE} comes by 2 exports for 2026-08: daily, monthly"

    def test_a_signature_that_ran_out_ends_in_another(
        self, storage: Azurite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = storage.sas("doctor", ends_in=timedelta(hours=-1))
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", gone)
        found = exports(storage.endpoint)["container"]
        assert not found.ok
        assert (
            f"generate-sas --account-name {ACCOUNT} --name doctor --permissions rl" in found.remedy
        )
        assert gone not in found.detail + found.remedy

    def test_the_missing_role_of_a_container_is_told(
        self,
        storage: Azurite,
        service: CostManagement,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        certificate = new_certificate(tmp_path / "loopback.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with gate(storage.endpoint, certificate) as before:
            before.fail(403, code="AuthorizationPermissionMismatch")
            told = exports(before.endpoint)
        assert OBJECT in told["sign-in"].detail
        found = told["container"]
        assert not found.ok
        assert (
            f'az role assignment create --assignee {OBJECT} --role "Storage Blob Data Reader" '
            f'--scope "$(az storage account show --name {ACCOUNT} --query id --output tsv)'
            '/blobServices/default/containers/doctor"'
        ) in found.remedy

    def test_a_container_that_is_not_there_is_told(
        self, storage: Azurite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", storage.sas("absent"))
        found = exports(storage.endpoint, "absent")["container"]
        assert not found.ok
        assert "no container 'absent'" in found.remedy

    def test_nothing_delivered_is_told(
        self, storage: Azurite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.put("empty", "elsewhere/x.csv", b"x")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", storage.sas("empty"))
        found = exports(storage.endpoint, "empty")["reports"]
        assert not found.ok
        assert "Cost and usage details (FOCUS)" in found.remedy
