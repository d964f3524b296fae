"""What the doctor sees, and whether what it prescribes is the cure."""

from __future__ import annotations

import gzip
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from finops_pipeline.config import Source
from finops_pipeline.ingest import diagnosis
from finops_pipeline.ingest.diagnosis import Finding, diagnose
from finops_pipeline.ingest.oci_identity import policy_statements
from finops_pipeline_tests.ingest.conftest import brief_retry
from finops_pipeline_tests.servers.oci_object_storage import (
    ObjectStorageServer,
    fingerprint_of,
    new_key,
    write_config,
)

DEFINE = (
    "define tenancy usage-report as "
    "ocid1.tenancy.oc1..aaaaaaaaned4fkpkisbwjlr56u7cj63lf3wffbilvqknstgtvzub7vhqkggq"
)
ENDORSE = "endorse group <group> to read objects in tenancy usage-report"
NAME = "reports/cost-csv/0001.csv.gz"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_QUICK_RETRY", brief_retry())


def findings(source: Source) -> dict[str, Finding]:
    found = diagnose(source)
    assert all(finding.ok or finding.remedy for finding in found)
    return {finding.name: finding for finding in found}


def faults(source: Source) -> list[str]:
    return [finding.name for finding in diagnose(source) if not finding.ok]


def test_all_is_well(server: ObjectStorageServer, source: Source) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    found = findings(source)
    assert [finding.name for finding in found.values() if not finding.ok] == []
    assert list(found) == [
        *("configuration file", "private key", "fingerprint", "clock", "bucket"),
        *("reports", "reading", "inventory"),
    ]


def test_missing_permission_gives_the_exact_statements(
    server: ObjectStorageServer, source: Source
) -> None:
    server.fail(404, "BucketNotFound", times=1)
    remedy = findings(source)["bucket"].remedy
    assert [line.strip() for line in remedy.splitlines()[-2:]] == [DEFINE, ENDORSE]
    assert "home region" in remedy and server.endpoint in remedy
    server.fail(404, "NotAuthorizedOrNotFound", times=1)
    assert findings(source)["bucket"].remedy == remedy


def test_statements_name_the_principal_that_asks(source: Source) -> None:
    machine = policy_statements(source.model_copy(update={"auth": "instance_principal"}))
    assert machine == (
        DEFINE,
        "endorse dynamic-group <dynamic-group> to read objects in tenancy usage-report",
    )
    own = policy_statements(source.model_copy(update={"location": "oci://acme/copy"}))
    assert own == (
        "allow group <group> to read objects in tenancy where target.bucket.name = 'copy'",
    )


def test_a_wrong_namespace_is_not_taken_for_a_missing_permission(source: Source) -> None:
    wrong = source.model_copy(update={"location": "oci://blong/ocid1.tenancy.oc1..x"})
    remedy = findings(wrong)["bucket"].remedy
    assert "no namespace 'blong'" in remedy
    assert ENDORSE not in remedy


def test_a_wrong_bucket_is_named_before_the_policy(source: Source) -> None:
    wrong = source.model_copy(update={"location": "oci://bling/ocid1.tenancy.oc1..other"})
    remedy = findings(wrong)["bucket"].remedy
    assert remedy.index("'ocid1.tenancy.oc1..other'") < remedy.index(ENDORSE)


def test_the_right_to_list_without_the_right_to_read(
    server: ObjectStorageServer, source: Source
) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    server.fail(404, "NotAuthorizedOrNotFound", operation="get")
    found = findings(source)
    assert found["bucket"].ok
    assert ENDORSE in found["reading"].remedy


def test_a_wrong_fingerprint_is_seen(source: Source, key: RSAPrivateKey) -> None:
    other = fingerprint_of(new_key())
    text = source.config_file.read_text().replace(fingerprint_of(key), other)
    source.config_file.write_text(text)
    found = findings(source)
    assert faults(source) == ["fingerprint", "bucket"]
    assert (
        other in found["fingerprint"].detail and fingerprint_of(key) in found["fingerprint"].detail
    )
    assert "does not accept the signature" in found["bucket"].remedy


def test_a_signature_by_another_key_is_seen(
    server: ObjectStorageServer, source: Source, key: RSAPrivateKey
) -> None:
    server._keys = {key_id: new_key().public_key() for key_id in server._keys}
    found = findings(source)
    assert found["fingerprint"].ok and found["clock"].ok
    assert "401 NotAuthenticated" in found["bucket"].detail
    assert "uploaded" in found["bucket"].remedy


@pytest.mark.parametrize("minutes", [-7, 7])
def test_a_wrong_clock_is_told_from_a_wrong_key(
    server: ObjectStorageServer, source: Source, minutes: int
) -> None:
    server.clock_offset = timedelta(minutes=minutes)
    assert faults(source) == ["clock", "bucket"]
    clock = findings(source)["clock"]
    assert ("behind" if minutes > 0 else "ahead of") in clock.detail
    assert "NTP" in clock.remedy


def test_a_key_that_others_may_read(server: ObjectStorageServer, source: Source) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    (source.config_file.parent / "DEFAULT.pem").chmod(0o644)
    assert faults(source) == ["private key"]
    assert "chmod 600" in findings(source)["private key"].remedy


def test_a_missing_configuration_stops_the_rest(source: Source) -> None:
    gone = source.model_copy(update={"config_file": Path("nowhere/config")})
    assert list(findings(gone)) == ["sign-in"]
    assert "nowhere/config" in findings(gone)["sign-in"].detail


def test_old_reports_are_a_fault(server: ObjectStorageServer, source: Source) -> None:
    newest = server.now - timedelta(hours=49)
    server.put(NAME, b"x", delivered_at=newest)
    # The greatest time counts, whatever its name: late files come under old names.
    server.put("reports/cost-csv/0000.csv.gz", b"x", delivered_at=server.now - timedelta(days=9))
    assert faults(source) == ["reports"]
    assert f"the newest is of {newest:%Y-%m-%d %H:%M}" in findings(source)["reports"].detail
    server.put("reports/cost-csv/0000.csv.gz", b"x", delivered_at=server.now - timedelta(hours=47))
    assert faults(source) == []


def test_an_empty_bucket_is_a_fault(source: Source) -> None:
    assert faults(source) == ["reports"]
    assert "format" in findings(source)["reports"].remedy


def test_nobody_at_the_endpoint(source: Source) -> None:
    gone = source.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    assert faults(gone) == ["service"]
    assert "home region" in findings(gone)["service"].remedy


@pytest.mark.parametrize("seconds", [-60, 3600])
def test_a_session_that_has_ended(
    server: ObjectStorageServer, source: Source, key: RSAPrivateKey, tmp_path: Path, seconds: int
) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    token = jwt.encode({"exp": time.time() + seconds}, key, algorithm="RS256")
    (tmp_path / "token").write_text(token)
    extra = f"security_token_file={tmp_path / 'token'}"
    write_config(tmp_path, server, key=key, profile="S", extra=extra)
    if seconds > 0:
        server.trust(f"ST${token}", key.public_key())
    by_token = source.model_copy(update={"auth": "security_token", "profile": "S"})
    assert faults(by_token) == ([] if seconds > 0 else ["session token", "bucket"])


INSPECT = "Allow group <group> to inspect compartments in tenancy"


@pytest.mark.parametrize("operation", ["compartment", "compartments"])
def test_a_missing_right_to_the_inventory_gives_the_exact_statement(
    server: ObjectStorageServer, source: Source, operation: str
) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    server.fail(404, "NotAuthorizedOrNotFound", operation=operation)
    assert faults(source) == ["inventory"]
    inventory = findings(source)["inventory"]
    assert inventory.detail.endswith("404 NotAuthorizedOrNotFound")
    assert inventory.remedy.splitlines()[-1].strip() == INSPECT
    assert "reports are read all the same" in inventory.remedy


def test_both_missing_rights_are_told_at_once(server: ObjectStorageServer, source: Source) -> None:
    server.fail(404, "NotAuthorizedOrNotFound")
    assert faults(source) == ["bucket", "inventory"]


def test_an_inventory_that_can_be_had(server: ObjectStorageServer, source: Source) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    server.identity.add("web")
    assert findings(source)["inventory"].detail == "2 compartments can be listed"


def test_an_identity_service_that_is_down_is_a_fault_of_its_own(
    server: ObjectStorageServer, source: Source
) -> None:
    server.put(NAME, b"x", delivered_at=server.now)
    server.fail(503, "ServiceUnavailable", operation="compartments")
    assert faults(source) == ["inventory"]
    assert "firewall" in findings(source)["inventory"].remedy


def test_a_bucket_of_copies_has_no_inventory_and_needs_none(source: Source) -> None:
    server = ObjectStorageServer("acme", "copies")
    with server:
        copies = source.model_copy(
            update={
                "location": "oci://acme/copies",
                "endpoint": server.endpoint,
                "config_file": write_config(source.config_file.parent, server, profile="COPIES"),
                "profile": "COPIES",
            }
        )
        server.put(NAME, b"x", delivered_at=server.now)
        assert faults(copies) == []
        assert "not named by a tenancy" in findings(copies)["inventory"].detail


def directory(root: Path, **more: object) -> Source:
    return Source.model_validate(
        {"name": "acme", "format": "oci_cost_csv", "location": f"file:{root}", **more}
    )


def put(root: Path, name: str, header: bytes, age: timedelta = timedelta(0)) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + b"\r\n") if name.endswith(".gz") else header)
    moment = (datetime.now(UTC) - age).timestamp()
    os.utime(path, (moment, moment))
    return path


COST = b"lineItem/referenceNo,lineItem/tenantId"
FOCUS = b"BilledCost,ChargePeriodStart"


def test_a_directory_that_is_well(tmp_path: Path) -> None:
    put(tmp_path, NAME, COST)
    put(tmp_path, "FOCUS Reports/2026/03/04/a.csv.gz", FOCUS)
    assert faults(directory(tmp_path)) == []
    assert "1 reports of format oci_focus" in findings(directory(tmp_path))["other formats"].detail


def test_a_directory_of_another_format(tmp_path: Path) -> None:
    put(tmp_path, "FOCUS Reports/2026/03/04/a.csv.gz", FOCUS)
    assert faults(directory(tmp_path)) == ["reports"]
    assert "1 reports of format oci_focus" in findings(directory(tmp_path))["other formats"].detail


def test_a_flat_directory_with_foreign_and_broken_files(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", COST)
    put(tmp_path, "b.csv.gz", FOCUS)
    put(tmp_path, "c.csv.gz", COST).write_bytes(b"\x1f\x8b broken")
    put(tmp_path, "d.csv", b"what,ever")
    detail = findings(directory(tmp_path))["contents"].detail
    assert "3 of the newest" in detail
    for part in ("b.csv.gz (focus)", "c.csv.gz (cannot be read", "d.csv (unknown columns)"):
        assert part in detail


def test_an_empty_directory(tmp_path: Path) -> None:
    assert faults(directory(tmp_path)) == ["reports"]
    assert "contents" not in findings(directory(tmp_path))


def test_a_directory_that_is_missing_or_stale(tmp_path: Path) -> None:
    assert faults(directory(tmp_path / "nowhere")) == ["directory"]
    put(tmp_path, NAME, COST, age=timedelta(days=4))
    assert faults(directory(tmp_path)) == ["reports"]
    assert "copies" in findings(directory(tmp_path))["reports"].remedy


def test_a_directory_tells_its_newest_delivery_and_whether_it_has_an_inventory(
    tmp_path: Path,
) -> None:
    put(tmp_path, NAME, COST)
    today = datetime.now(UTC)
    found = findings(directory(tmp_path))
    assert f"the newest is of {today:%Y-%m-%d}" in found["reports"].detail
    assert found["inventory"].ok and "no compartments.csv" in found["inventory"].detail
    (tmp_path / "compartments.csv").write_text("id,name,parent_id\nr,acme,\nw,web,r\n")
    assert faults(directory(tmp_path)) == []
    assert findings(directory(tmp_path))["inventory"].detail.startswith(
        "2 places in compartments.csv"
    )


def test_an_inventory_in_a_directory_that_will_not_do(tmp_path: Path) -> None:
    put(tmp_path, NAME, COST)
    (tmp_path / "compartments.csv").write_text("id,name\nr,acme\n")
    assert faults(directory(tmp_path)) == ["inventory"]
    assert "column 'parent_id' is missing" in findings(directory(tmp_path))["inventory"].detail
