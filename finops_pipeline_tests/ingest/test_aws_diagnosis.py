"""`finops doctor` for AWS: every fault ends in what to do, a denied right in the statement."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.aws_organizations import list_accounts
from finops_pipeline.ingest.diagnosis import Finding, diagnose
from finops_pipeline.ingest.location import AccessRefused, IngestError, open_location
from finops_pipeline.ingest.scopes import Scope, paths, read_scopes
from finops_pipeline_tests.servers.aws import ACCOUNT, USER, Aws, aws_server

ROLE = "arn:aws:iam::999999999999:role/finops-reader"


@pytest.fixture(scope="module")
def running() -> Iterator[Aws]:
    with aws_server() as server:
        yield server


@pytest.fixture
def server(running: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    running.forget()
    return running


def _exported(server: Aws, prefix: str = "fin/acme") -> Source:
    bucket = server.bucket()
    key = f"{prefix}/data/BILLING_PERIOD=2026-09/acme-00001.csv.gz"
    meta = f"{prefix}/metadata/BILLING_PERIOD=2026-09/acme-Manifest.json"
    server.put(bucket, {key: b"x", meta: json.dumps({"dataFiles": [key]}).encode()})
    return Source(
        name="acme-aws", format="aws_focus", location=f"s3://{bucket}/fin", endpoint=server.endpoint
    )


def _costs(server: Aws, **more: str) -> Source:
    return Source(
        name="acme-ce", format="aws_cost_explorer", location=f"costexplorer://{ACCOUNT}",
        endpoint=server.endpoint, **more,
    )  # fmt: skip


def _found(source: Source) -> dict[str, Finding]:
    return {f.name: f for f in diagnose(source, now=lambda: datetime.now(UTC))}


def _statements(remedy: str) -> list[Any]:
    """Every JSON object in a text."""
    found, at = [], 0
    while (at := remedy.find("{", at)) != -1:
        statement, length = json.JSONDecoder().raw_decode(remedy[at:])
        found.append(statement)
        at += length
    return found


def test_all_is_well(server: Aws) -> None:
    found = _found(_exported(server))
    assert {f.name: f.ok for f in found.values()} == dict.fromkeys(
        ("sign-in", "bucket", "reading", "reports", "inventory"), True
    )
    assert found["sign-in"].detail == f"as arn:aws:sts::{ACCOUNT}:user/moto"
    assert found["reports"].detail.startswith("1 reports; the newest is of ")


def test_a_listing_that_is_denied(server: Aws) -> None:
    source = _exported(server)
    bucket = source.location.split("/")[2]
    server.deny("ListObjectsV2", "s3:ListBucket", f"arn:aws:s3:::{bucket}")
    found = _found(source)
    assert not found["bucket"].ok
    assert _statements(found["bucket"].remedy) == [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{bucket}",
            "Condition": {"StringLike": {"s3:prefix": "fin/*"}},
        }
    ]


def test_reading_that_is_denied(server: Aws) -> None:
    source = _exported(server)
    bucket = source.location.split("/")[2]
    server.deny("GetObject", "s3:GetObject", f"arn:aws:s3:::{bucket}/fin/acme/x")
    reading = _found(source)["reading"]
    assert not reading.ok
    assert _statements(reading.remedy) == [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/fin/*"}
    ]
    assert "the bucket's own policy" in reading.remedy


def test_a_denial_without_words_names_the_right_all_the_same(server: Aws) -> None:
    """S3 said no more than `Access Denied` until 2024, and other makers still do."""
    source = _exported(server)
    server.fail("GetObject", 99, "403 Forbidden", "AccessDenied", "Access Denied")
    (statement,) = _statements(_found(source)["reading"].remedy)
    assert statement["Action"] == "s3:GetObject"


def test_a_key_that_may_not_be_used(server: Aws) -> None:
    source = _exported(server)
    key = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234"
    server.deny("GetObject", "kms:Decrypt", key)
    assert _statements(_found(source)["reading"].remedy) == [
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}
    ]


def test_an_explicit_deny_is_told_as_one(server: Aws) -> None:
    source = _exported(server)
    message = (
        f"User: {USER} is not authorized to perform: s3:ListBucket on resource: "
        '"arn:aws:s3:::bills" with an explicit deny in a service control policy'
    )
    server.fail("ListObjectsV2", 99, "403 Forbidden", "AccessDenied", message)
    assert "take it away" in _found(source)["bucket"].remedy


def test_a_bucket_that_is_not_there(server: Aws) -> None:
    source = _exported(server).model_copy(update={"location": "s3://bills-of-nobody/fin"})
    assert _found(source)["bucket"].remedy.startswith("There is no bucket 'bills-of-nobody'")


def test_a_prefix_without_reports(server: Aws) -> None:
    source = _exported(server)
    empty = source.model_copy(update={"location": f"{source.location}/other"})
    assert not _found(empty)["reports"].ok


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId"])
def test_credentials_that_have_run_out(server: Aws, code: str) -> None:
    server.fail("GetCallerIdentity", 99, "403 Forbidden", code, "The security token is expired")
    found = _found(_exported(server))
    assert list(found) == ["sign-in"]
    assert code in found["sign-in"].detail
    assert "aws sts get-caller-identity" in found["sign-in"].remedy


def test_a_role_that_may_not_be_taken_on(server: Aws) -> None:
    server.deny("AssumeRole", "sts:AssumeRole", ROLE)
    source = _exported(server).model_copy(update={"role": ROLE})
    found = _found(source)
    assert list(found) == ["sign-in"]
    assert _statements(found["sign-in"].remedy) == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ROLE}
    ]


def test_cost_explorer_is_asked_once(server: Aws) -> None:
    found = _found(_costs(server))
    assert found["cost explorer"].ok
    assert "one request, 0.01 USD" in found["cost explorer"].detail
    assert len(server.asked("GetCostAndUsage")) == 1


def test_cost_explorer_that_is_denied(server: Aws) -> None:
    server.deny(
        "GetCostAndUsage", "ce:GetCostAndUsage",
        f"arn:aws:ce:us-east-1:{ACCOUNT}:/GetCostAndUsage",
    )  # fmt: skip
    remedy = _found(_costs(server))["cost explorer"].remedy
    assert _statements(remedy) == [
        {
            "Effect": "Allow",
            "Action": ["ce:GetCostAndUsage", "ce:GetCostForecast"],
            "Resource": "*",
        }
    ]


def test_accounts_that_may_not_be_listed(server: Aws) -> None:
    server.deny("ListRoots", "organizations:ListRoots", "*")
    found = _found(_costs(server))
    assert found["cost explorer"].ok
    assert _statements(found["inventory"].remedy) == [
        {
            "Effect": "Allow",
            "Action": [
                "organizations:ListRoots",
                "organizations:ListOrganizationalUnitsForParent",
                "organizations:ListAccountsForParent",
            ],
            "Resource": "*",
        }
    ]
    with pytest.raises(AccessRefused, match="organizations:ListRoots"):
        read_scopes(_costs(server))


def test_the_tree_of_an_organization(server: Aws) -> None:
    source = _costs(server)
    assert list_accounts(source) == []  # belongs to none yet
    client = server.client("organizations")
    client.create_organization(FeatureSet="ALL")
    root = client.list_roots()["Roots"][0]["Id"]
    unit = client.create_organizational_unit(ParentId=root, Name="Shops")
    unit = unit["OrganizationalUnit"]["Id"]
    inner = client.create_organizational_unit(ParentId=unit, Name="Europe")
    inner = inner["OrganizationalUnit"]["Id"]
    told = {root: "root", unit: "root/Shops", inner: "root/Shops/Europe"}
    for i in range(25):  # more than a page holds
        made = client.create_account(AccountName=f"shop-{i}", Email=f"shop{i}@example.com")
        account = made["CreateAccountStatus"]["AccountId"]
        client.move_account(AccountId=account, SourceParentId=root, DestinationParentId=inner)
        told[account] = f"root/Shops/Europe/shop-{i}"
    server.fail("ListAccountsForParent", 2, "429 Too Many", "TooManyRequestsException")
    scopes = read_scopes(source)
    found = paths(scopes)
    assert {s.name for s in scopes if s.parent_id == root} == {"Shops", "master"}
    master = next(s for s in scopes if s.name == "master")
    assert found == told | {master.id: "root/master"}
    assert Scope(unit, "Shops", root) in scopes


def test_without_the_library_everything_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    for name in [n for n in sys.modules if n.startswith("finops_pipeline.ingest.")]:
        if name.rpartition(".")[2] in ("s3", "aws", "aws_organizations", "aws_diagnosis"):
            monkeypatch.delitem(sys.modules, name)
    source = Source(name="acme", format="aws_focus", location="s3://bills/fin")
    with pytest.raises(IngestError, match=r"pip install 'finops-pipeline\[aws\]'"):
        open_location(source)
    with pytest.raises(IngestError, match=r"\(boto3\): pip install 'finops-pipeline\[aws\]'"):
        read_scopes(source)
    (finding,) = diagnose(source)
    assert not finding.ok
    assert "(boto3): pip install" in finding.detail
