"""Management groups as the inventory: pages, paths, a missing role."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.azure_access import ServiceRetry
from finops_pipeline.ingest.azure_groups import list_groups
from finops_pipeline.ingest.location import AccessRefused, CredentialsError
from finops_pipeline.ingest.scopes import paths, read_scopes
from finops_pipeline_tests.servers.cost_management import TENANT, CostManagement, Fault

GROUPS = "/providers/Microsoft.Management/managementGroups"
SUBSCRIPTION = "/subscriptions/e18e1552-c6dd-45d1-973c-999999999999"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CostManagement]:
    for name in ("CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    with CostManagement() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        running.groups = [
            (f"{GROUPS}/prod", "Production", f"{GROUPS}/{TENANT}"),
            (f"{GROUPS}/shop", "Shop", f"{GROUPS}/prod"),
            (SUBSCRIPTION, "Acme", f"{GROUPS}/shop"),
        ]
        yield running


def source(server: CostManagement, location: str = "az://acme/exports") -> Source:
    return Source(name="acme", format="azure_focus", location=location, endpoint=server.endpoint)


def test_every_page_of_groups_makes_paths(server: CostManagement) -> None:
    assert paths(read_scopes(source(server))) == {
        f"{GROUPS}/{TENANT}": "root",
        f"{GROUPS}/prod": "root/Production",
        f"{GROUPS}/shop": "root/Production/Shop",
        SUBSCRIPTION: "root/Production/Shop/Acme",
    }


def test_the_missing_role_is_told(server: CostManagement) -> None:
    body = b'{"error":{"code":"AuthorizationFailed","message":"No."}}'
    server.groups_fault = Fault(403, {}, body)
    with pytest.raises(AccessRefused) as refused:
        list_groups(source(server))
    assert (
        'az role assignment create --assignee <object id> --role "Management Group Reader" '
        f"--scope {GROUPS}/{TENANT}."
    ) in refused.value.answer


def test_who_comes_by_a_signature_has_no_inventory(
    server: CostManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024&sig=x")
    assert list_groups(source(server)) == []
    assert server.tokens_given == 0


def test_nobody_signed_in_is_told(server: CostManagement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CredentialsError, match="az login"):
        list_groups(source(server), retry=ServiceRetry(1, 0))
