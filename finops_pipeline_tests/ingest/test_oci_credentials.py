"""Signing in to OCI in each of the four ways, and saying what is wrong without a secret."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_pipeline.config import Source
from finops_pipeline.ingest.diagnosis import diagnose
from finops_pipeline.ingest.location import AccessRefused, CredentialsError, IngestError
from finops_pipeline.ingest.oci import OciLocation
from finops_pipeline_tests.ingest.conftest import DELIVERED, brief_retry
from finops_pipeline_tests.servers.oci_metadata import InstanceMetadataServer
from finops_pipeline_tests.servers.oci_object_storage import (
    TENANCY,
    ObjectStorageServer,
    fingerprint_of,
    new_key,
    pem_of,
    write_config,
)

NAME = "reports/cost-csv/0001.csv.gz"
PASSPHRASE = "correct horse battery staple"


def token_for(key: RSAPrivateKey, seconds: float = 3600) -> str:
    claims = {"res_tenant": TENANCY, "res_compartment": TENANCY, "exp": time.time() + seconds}
    return jwt.encode(claims, key, algorithm="RS256")


def names(source: Source) -> list[str]:
    return [report.name for report in OciLocation(source, retry=brief_retry()).reports()]


@pytest.fixture(autouse=True)
def _one_report(server: ObjectStorageServer) -> None:
    server.put(NAME, b"x", delivered_at=DELIVERED)


def test_a_key_with_a_passphrase_signs(
    server: ObjectStorageServer, source: Source, key: RSAPrivateKey, tmp_path: Path
) -> None:
    write_config(tmp_path, server, key=key, passphrase=PASSPHRASE, profile="LOCKED")
    assert names(source.model_copy(update={"profile": "LOCKED"})) == [NAME]


def test_each_profile_signs_with_its_own_key(
    server: ObjectStorageServer, source: Source, tmp_path: Path
) -> None:
    write_config(tmp_path, server, key=new_key(), profile="SECOND")
    assert names(source.model_copy(update={"profile": "SECOND"})) == [NAME]
    ids = {request.headers["authorization"].split('keyId="')[1][:80] for request in server.seen}
    assert names(source) == [NAME]
    assert ids != {server.seen[-1].headers["authorization"].split('keyId="')[1][:80]}


def test_a_key_that_is_not_uploaded_is_refused(
    source: Source, tmp_path: Path, key: RSAPrivateKey
) -> None:
    text = source.config_file.read_text()
    source.config_file.write_text(text.replace(fingerprint_of(key), fingerprint_of(new_key())))
    with pytest.raises(AccessRefused, match="401 NotAuthenticated"):
        names(source)


def test_a_session_token_signs(
    server: ObjectStorageServer, source: Source, key: RSAPrivateKey, tmp_path: Path
) -> None:
    token = token_for(key)
    (tmp_path / "token").write_text(token + "\n")
    write_config(
        tmp_path, server, key=key, profile="S", extra=f"security_token_file={tmp_path / 'token'}"
    )
    by_token = source.model_copy(update={"auth": "security_token", "profile": "S"})
    with pytest.raises(AccessRefused, match="401"):
        names(by_token)
    server.trust(f"ST${token}", key.public_key())
    assert names(by_token) == [NAME]
    assert f'keyId="ST${token}"' in server.seen[-1].headers["authorization"]


@pytest.fixture
def resource_principal(
    server: ObjectStorageServer,
    source: Source,
    key: RSAPrivateKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Source]:
    """The environment that a container instance gives: token and key as files, which it renews."""
    (tmp_path / "rpst").write_text(token_for(key))
    (tmp_path / "session.pem").write_bytes(pem_of(key))
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_RPST", str(tmp_path / "rpst"))
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", str(tmp_path / "session.pem"))
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_REGION", "eu-frankfurt-1")
    yield source.model_copy(update={"auth": "resource_principal"})


def test_a_resource_principal_signs_and_renews(
    server: ObjectStorageServer, resource_principal: Source, key: RSAPrivateKey, tmp_path: Path
) -> None:
    server.trust(f"ST${(tmp_path / 'rpst').read_text()}", key.public_key())
    location = OciLocation(resource_principal, retry=brief_retry())
    assert [report.name for report in location.reports()] == [NAME]
    server._keys.clear()
    renewed = token_for(key, 7200)
    (tmp_path / "rpst").write_text(renewed)
    server.trust(f"ST${renewed}", key.public_key())
    assert [report.name for report in location.reports()] == [NAME]
    assert [request.status for request in server.seen] == [200, 401, 200]


def test_a_resource_principal_that_cannot_be_renewed_is_told(
    server: ObjectStorageServer, resource_principal: Source, tmp_path: Path
) -> None:
    location = OciLocation(resource_principal, retry=brief_retry())
    (tmp_path / "rpst").unlink()
    with pytest.raises(CredentialsError, match="cannot be renewed"):
        list(location.reports())


def test_a_resource_principal_elsewhere_is_told(
    resource_principal: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OCI_RESOURCE_PRINCIPAL_VERSION")
    with pytest.raises(CredentialsError, match="OCI_RESOURCE_PRINCIPAL_"):
        names(resource_principal)


def test_an_instance_principal_signs(
    server: ObjectStorageServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with InstanceMetadataServer(token_for(new_key()), server.trust) as metadata:
        metadata.stand_in(monkeypatch)
        assert names(source.model_copy(update={"auth": "instance_principal"})) == [NAME]
    assert 'keyId="ST$' in server.seen[-1].headers["authorization"]


def test_an_instance_principal_elsewhere_is_told_soon(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", "http://127.0.0.1:9/opc/v2")
    started = time.monotonic()
    with pytest.raises(CredentialsError, match="metadata service"):
        names(source.model_copy(update={"auth": "instance_principal"}))
    assert time.monotonic() - started < 10


def test_a_region_is_asked_for_where_none_is_known(
    resource_principal: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OCI_RESOURCE_PRINCIPAL_REGION")
    with pytest.raises(CredentialsError, match="home region"):
        OciLocation(resource_principal.model_copy(update={"endpoint": None}))
    there = resource_principal.model_copy(update={"endpoint": None, "region": "eu-frankfurt-1"})
    assert OciLocation(there).endpoint == "https://objectstorage.eu-frankfurt-1.oraclecloud.com"


def elliptic_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def secrets_of(key_file: Path, *more: str) -> list[str]:
    lines = [line for line in key_file.read_text(errors="replace").splitlines() if len(line) > 20]
    return [line for line in lines if not line.startswith("-----")] + list(more)


def assert_fails_without(source: Source, secrets: list[str]) -> str:
    """Opening fails with a message of ours; neither it, its traceback nor the doctor tells them."""
    with pytest.raises(IngestError) as caught:
        list(OciLocation(source, retry=brief_retry()).reports())
    told = [*traceback.format_exception(caught.value), repr(caught.value)]
    told += [f"{finding.detail} {finding.remedy}" for finding in diagnose(source)]
    for secret in secrets:
        assert secret not in "\n".join(told)
    assert source.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "pass_phrase TOP-SECRET-WORD"),
        ("", "pass_phrase=TOP-SECRET-WORD\npass_phrase=TOP-SECRET-WORD"),
        ("", "key_content=TOP-SECRET-WORD"),
        ("", "log_requests=TOP-SECRET-WORD"),
        ("pass_phrase=TOP-SECRET-WORD\n", ""),
    ],
)
def test_a_broken_configuration_is_not_quoted(source: Source, before: str, after: str) -> None:
    source.config_file.write_text(f"{before}{source.config_file.read_text()}{after}\n")
    assert "cannot be read" in assert_fails_without(source, ["TOP-SECRET-WORD"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pem_of(new_key(), PASSPHRASE), "encrypted, and the profile has no pass_phrase"),
        (b"TOP-SECRET-WORD " * 5, "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nVE9QLVNFQ1JFVC1XT1JEVE9Q\n", "not a private key"),
        (elliptic_pem(), "not an RSA key"),
        (pem_of(new_key()), "401 NotAuthenticated"),
        (b"", "not a private key"),
    ],
)
def test_a_key_that_will_not_do_is_not_quoted(
    source: Source, tmp_path: Path, content: bytes, says: str
) -> None:
    key_file = tmp_path / "DEFAULT.pem"
    key_file.write_bytes(content)
    assert says in assert_fails_without(source, secrets_of(key_file, "TOP-SECRET-WORD"))


@pytest.mark.parametrize("passphrase", ["wrong-TOP-SECRET", "größer-TOP-SECRET"])
def test_a_wrong_passphrase_is_not_quoted(
    server: ObjectStorageServer, source: Source, tmp_path: Path, key: RSAPrivateKey, passphrase: str
) -> None:
    write_config(tmp_path, server, key=key, passphrase=PASSPHRASE, profile="L")
    text = source.config_file.read_text().replace(PASSPHRASE, passphrase)
    source.config_file.write_text(text)
    locked = source.model_copy(update={"profile": "L"})
    secrets = secrets_of(tmp_path / "L.pem", "TOP-SECRET", "größer")
    assert "pass_phrase is wrong" in assert_fails_without(locked, secrets)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(30, 1600), byte=st.integers(0, 255), cut=st.booleans())
def test_however_a_key_is_broken_it_is_not_quoted(
    source: Source, tmp_path: Path, key: RSAPrivateKey, at: int, byte: int, cut: bool
) -> None:
    whole = pem_of(key)
    broken = whole[:at] + bytes([byte]) + (b"" if cut else whole[at + 1 :])
    key_file = tmp_path / "DEFAULT.pem"
    key_file.write_bytes(broken)
    try:
        listed = names(source)
    except IngestError:
        assert_fails_without(source, secrets_of(key_file))
    else:
        assert listed == [NAME]  # The byte was in a place that does not matter.


def test_tokens_are_not_logged_whatever_the_profile_says(
    server: ObjectStorageServer,
    source: Source,
    key: RSAPrivateKey,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    token = token_for(key)
    (tmp_path / "token").write_text(token)
    extra = f"security_token_file={tmp_path / 'token'}\nlog_requests=true"
    write_config(tmp_path, server, key=key, profile="S", extra=extra)
    by_token = source.model_copy(update={"auth": "security_token", "profile": "S"})
    assert_fails_without(by_token, [token, *secrets_of(tmp_path / "S.pem")])
    out, err = capfd.readouterr()
    assert token not in caplog.text + out + err


@pytest.mark.parametrize("variable", ["RPST", "PRIVATE_PEM"])
def test_a_broken_resource_principal_is_not_quoted(
    resource_principal: Source, key: RSAPrivateKey, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"OCI_RESOURCE_PRINCIPAL_{variable}", "TOP-SECRET-WORD.TOP.SECRET")
    assert_fails_without(resource_principal, ["TOP-SECRET"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"profile": "NOBODY"}, "no such file or profile"),
        ({"config_file": Path("nowhere/config")}, "no such file or profile"),
        ({"auth": "security_token"}, "no readable security_token_file"),
    ],
)
def test_what_is_missing_is_named(source: Source, change: dict[str, object], says: str) -> None:
    assert says in assert_fails_without(source.model_copy(update=change), [])


@pytest.mark.parametrize(
    ("field", "says"), [("user", "user is missing"), ("key_file", "key_file is missing")]
)
def test_a_field_that_is_missing_is_named(source: Source, field: str, says: str) -> None:
    lines = source.config_file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(field)]
    source.config_file.write_text("\n".join(kept))
    assert says in assert_fails_without(source, [])
