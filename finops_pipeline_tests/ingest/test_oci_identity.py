"""The compartments of a tenancy, with the real SDK, against a server that can misbehave."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import oci
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    LocationUnavailable,
)
from finops_pipeline.ingest.oci import OciLocation
from finops_pipeline.ingest.oci_credentials import OciService
from finops_pipeline.ingest.oci_identity import list_compartments
from finops_pipeline.ingest.scopes import Scope, paths, read_scopes
from finops_pipeline_tests.ingest.conftest import brief_retry
from finops_pipeline_tests.servers.oci_metadata import InstanceMetadataServer
from finops_pipeline_tests.servers.oci_object_storage import (
    TENANCY,
    ObjectStorageServer,
    new_key,
    pem_of,
    write_config,
)

STATEMENT = "Allow group <group> to inspect compartments in tenancy"
OPERATIONS = ["compartment", "compartments"]


def listed(source: Source) -> list[tuple[str, str, str | None]]:
    return list_compartments(source, retry=brief_retry(), timeout=(5.0, 1.0))


def test_the_whole_tree_is_listed_with_its_root(
    server: ObjectStorageServer, source: Source
) -> None:
    web = server.identity.add("web")
    shop = server.identity.add("shop", web)
    assert listed(source) == [(TENANCY, "acme", None), (web, "web", TENANCY), (shop, "shop", web)]
    asked = server.seen[-1].query
    assert asked["compartmentIdInSubtree"].lower() == "true"
    assert (asked["accessLevel"], asked["limit"]) == ("ANY", "1000")
    assert "lifecycleState" not in asked


def test_every_page_is_read(server: ObjectStorageServer, source: Source) -> None:
    ids = [server.identity.add(f"c{i}") for i in range(2500)]
    assert [id_ for id_, _, _ in listed(source)] == [TENANCY, *ids]
    assert server.count("compartments") == 3


def test_a_tenancy_without_compartments_has_its_root(source: Source) -> None:
    assert listed(source) == [(TENANCY, "acme", None)]


def test_deleted_compartments_keep_the_name_they_had(
    server: ObjectStorageServer, source: Source
) -> None:
    gone = server.identity.add("web.qR5hP2BD", state="DELETED")
    below = server.identity.add("shop.v2.aB3dE6gH", gone, state="DELETED")
    alive = server.identity.add("team.platform")  # Eight letters after a dot, and never deleted.
    going = server.identity.add("old.database", state="DELETING")
    found = paths(Scope(*c) for c in listed(source))
    assert found == {
        TENANCY: "root",
        gone: "root/web",
        below: "root/web/shop.v2",
        alive: "root/team.platform",
        going: "root/old.database",
    }


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("status", "code"), [(429, "TooManyRequests"), (503, "ServiceUnavailable")]
)
def test_throttling_and_outages_are_waited_out(
    server: ObjectStorageServer, source: Source, status: int, code: str, operation: str
) -> None:
    server.fail(status, code, times=3, operation=operation)
    assert listed(source) == [(TENANCY, "acme", None)]
    assert server.count(operation) == 4


def test_throttling_between_pages_loses_and_repeats_nothing(
    server: ObjectStorageServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [server.identity.add(f"c{i}") for i in range(25)]
    server.identity.page_size = 10
    real, calls = server.identity.list, 0

    def throttled_from_the_second_on(query: dict[str, str]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            server.fail(429, "TooManyRequests", times=2, operation="compartments")
        return real(query)

    monkeypatch.setattr(server.identity, "list", throttled_from_the_second_on)
    assert [id_ for id_, _, _ in listed(source)] == [TENANCY, *ids]
    statuses = [seen.status for seen in server.seen if seen.operation == "compartments"]
    assert statuses == [200, 429, 429, 200, 200]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_broken_connections_are_tried_again(
    server: ObjectStorageServer, source: Source, operation: str
) -> None:
    web = server.identity.add("web")
    server.reset_connection(operation=operation)
    server.cut_body(after=5, operation=operation)
    server.delay(2, operation=operation)
    assert listed(source) == [(TENANCY, "acme", None), (web, "web", TENANCY)]
    assert server.count(operation) >= 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_lasting_outage_is_told(server: ObjectStorageServer, source: Source, status: int) -> None:
    server.fail(status, "Whatever", operation="compartments")
    with pytest.raises(LocationUnavailable, match=rf"acme-oci: the Identity.* {status} .*Run agai"):
        listed(source)
    assert server.count("compartments") == 4


def test_a_failing_identity_service_does_not_shut_out_the_reports(
    server: ObjectStorageServer, source: Source
) -> None:
    server.fail(500, "InternalServerError", operation="compartment")
    messages = []
    for _ in range(4):
        with pytest.raises(LocationUnavailable) as caught:
            listed(source)
        messages.append(str(caught.value))
    assert "left alone for half a minute" in messages[-1]
    assert server.count("compartment") == 10
    assert list(OciLocation(source, retry=brief_retry()).reports()) == []


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [403, 404])
def test_a_missing_right_gives_the_exact_statement(
    server: ObjectStorageServer, source: Source, operation: str, status: int
) -> None:
    server.fail(status, "NotAuthorizedOrNotFound", operation=operation)
    with pytest.raises(AccessRefused) as caught:
        listed(source)
    assert f"`{STATEMENT}`" in str(caught.value)
    assert "opc-request-id" in str(caught.value)
    assert (caught.value.status, caught.value.code) == (status, "NotAuthorizedOrNotFound")
    assert server.count(operation) == 1


def test_a_right_lost_between_pages_gives_no_half_inventory(
    server: ObjectStorageServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(15):
        server.identity.add(f"c{i}")
    server.identity.page_size = 10
    real = server.identity.list

    def once(query: dict[str, str]) -> Any:
        server.fail(404, "NotAuthorizedOrNotFound", operation="compartments")
        return real(query)

    monkeypatch.setattr(server.identity, "list", once)
    with pytest.raises(AccessRefused, match="inspect compartments"):
        listed(source)


def test_a_signature_that_is_refused_is_not_taken_for_a_missing_right(
    server: ObjectStorageServer, source: Source
) -> None:
    server._keys = {key_id: new_key().public_key() for key_id in server._keys}
    with pytest.raises(AccessRefused) as caught:
        listed(source)
    assert caught.value.status == 401
    assert caught.value.service_time is not None
    assert "inspect compartments" not in str(caught.value)


def test_another_tenancy_is_refused(source: Source) -> None:
    other = source.model_copy(update={"location": "oci://bling/ocid1.tenancy.oc1..other"})
    with pytest.raises(AccessRefused, match=r"for ocid1\.tenancy\.oc1\.\.other, answered 404"):
        listed(other)


def test_a_bucket_that_no_tenancy_names_has_no_inventory(
    server: ObjectStorageServer, source: Source
) -> None:
    assert read_scopes(source.model_copy(update={"location": "oci://acme/copies"})) == []
    assert server.seen == []


def test_pages_in_circles_end(server: ObjectStorageServer, source: Source) -> None:
    for i in range(20):
        server.identity.add(f"c{i}")
    server.identity.page_size = 10
    server.identity.pages_in_circles = True
    with pytest.raises(LocationUnavailable, match="in circles"):
        listed(source)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_portal_is_not_taken_for_a_tenancy(
    server: ObjectStorageServer, source: Source, operation: str
) -> None:
    server.answer_as_a_portal(operation=operation)
    with pytest.raises(LocationUnavailable, match="not as the Identity service does"):
        listed(source)


def test_nobody_there_is_told_with_the_address(source: Source) -> None:
    with pytest.raises(LocationUnavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
        listed(source.model_copy(update={"endpoint": "http://127.0.0.1:9"}))


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        (None, None),
        ("https://private.example", None),
        ("https://127.0.0.1.example", None),
        ("http://localhost:1", "http://localhost:1"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    ],
)
def test_a_private_endpoint_of_object_storage_is_not_asked_for_compartments(
    source: Source, monkeypatch: pytest.MonkeyPatch, endpoint: str | None, asked: str | None
) -> None:
    places: list[str] = []

    def note(service: OciService, *_: Any, **__: Any) -> Any:
        places.append(service.endpoint)
        raise LocationUnavailable("not asked")

    monkeypatch.setattr(OciService, "call", note)
    with pytest.raises(LocationUnavailable, match="not asked"):
        listed(source.model_copy(update={"endpoint": endpoint}))
    assert places == [asked or "https://identity.eu-frankfurt-1.oci.oraclecloud.com"]


def test_a_plain_http_endpoint_elsewhere_is_refused_for_the_reports(source: Source) -> None:
    with pytest.raises(IngestError, match="must be https"):
        OciLocation(source.model_copy(update={"endpoint": "http://127.0.0.1.example"}))


def by_session_token(
    server: ObjectStorageServer, source: Source, key: RSAPrivateKey, folder: Path
) -> Source:
    token = jwt.encode({"exp": time.time() + 3600}, key, algorithm="RS256")
    (folder / "token").write_text(token)
    extra = f"security_token_file={folder / 'token'}"
    write_config(folder, server, key=key, profile="S", extra=extra)
    server.trust(f"ST${token}", key.public_key())
    return source.model_copy(update={"auth": "security_token", "profile": "S"})


def test_a_session_token_signs(
    server: ObjectStorageServer, source: Source, key: RSAPrivateKey, tmp_path: Path
) -> None:
    assert listed(by_session_token(server, source, key, tmp_path)) == [(TENANCY, "acme", None)]
    assert 'keyId="ST$' in server.seen[-1].headers["authorization"]


def principal_token(key: RSAPrivateKey) -> str:
    claims = {"res_tenant": TENANCY, "res_compartment": TENANCY, "exp": time.time() + 3600}
    return jwt.encode(claims, key, algorithm="RS256")


@pytest.fixture
def resource_principal(
    server: ObjectStorageServer,
    source: Source,
    key: RSAPrivateKey,
    monkeypatch: pytest.MonkeyPatch,
) -> Source:
    token = principal_token(key)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_RPST", token)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", pem_of(key).decode())
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_REGION", "eu-frankfurt-1")
    server.trust(f"ST${token}", key.public_key())
    return source.model_copy(update={"auth": "resource_principal"})


def test_a_resource_principal_signs_and_is_named_in_the_statement(
    server: ObjectStorageServer, resource_principal: Source
) -> None:
    assert listed(resource_principal) == [(TENANCY, "acme", None)]
    server.fail(404, "NotAuthorizedOrNotFound", operation="compartments")
    with pytest.raises(AccessRefused, match="`Allow dynamic-group <dynamic-group> to inspect comp"):
        listed(resource_principal)


def test_an_instance_principal_signs(
    server: ObjectStorageServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with InstanceMetadataServer(principal_token(new_key()), server.trust) as metadata:
        metadata.stand_in(monkeypatch)
        instance = source.model_copy(update={"auth": "instance_principal"})
        assert listed(instance) == [(TENANCY, "acme", None)]


def test_missing_credentials_are_told(source: Source) -> None:
    with pytest.raises(CredentialsError, match="no such file or profile"):
        listed(source.model_copy(update={"profile": "NOBODY"}))


def test_the_default_is_the_sdks_own_strategy(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategies: list[Any] = []
    real = OciService.__init__

    def note(self: OciService, *args: Any, **options: Any) -> None:
        strategies.append(options["retry"])
        real(self, *args, **options)

    monkeypatch.setattr(OciService, "__init__", note)
    list_compartments(source)
    assert strategies == [oci.retry.DEFAULT_RETRY_STRATEGY]
