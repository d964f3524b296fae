"""`finops doctor` on Google Cloud: each fault with the permission, the role and the command."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from finops_pipeline.config import Source
from finops_pipeline.ingest.diagnosis import diagnose
from finops_pipeline.ingest.finding import Finding
from finops_pipeline_tests.normalize.gcp_rows import row
from finops_pipeline_tests.servers.google_bigquery import BigQueryServer
from finops_pipeline_tests.servers.google_storage import StorageServer

NOW = datetime(2026, 9, 10, 12, tzinfo=UTC)
WHO = "serviceAccount:finops-reader@acme-billing.iam.gserviceaccount.com"
TABLE = "gcp_billing_export_resource_v1_1"


def found(source: Source, now: datetime = NOW) -> dict[str, Finding]:
    return {f.name: f for f in diagnose(source, now=lambda: now)}


def bucket(server: StorageServer, folder: Path) -> Source:
    return Source(
        name="acme-gcp",
        format="gcp_detailed",
        location="gs://acme-billing-export/detailed",
        endpoint=server.endpoint,
        credentials_file=server.key_file(folder),
    )


def dataset(server: BigQueryServer, folder: Path) -> Source:
    return bucket(StorageServer(), folder).model_copy(
        update={
            "location": "bigquery://acme-billing/billing",
            "endpoint": server.endpoint,
            "credentials_file": server.key_file(folder),
        }
    )


def test_all_is_well(tmp_path: Path) -> None:
    with StorageServer() as server:
        server.put("detailed/a.csv", b"x")
        findings = found(bucket(server, tmp_path))
    assert all(f.ok for f in findings.values()) and list(findings) == [
        "sign-in", "reports", "reading",
    ]  # fmt: skip
    assert WHO in findings["sign-in"].detail
    with BigQueryServer() as tables:
        tables.tables = {TABLE: [row()]}
        findings = found(dataset(tables, tmp_path))
    assert all(f.ok for f in findings.values()) and "1 reports" in findings["reports"].detail


@pytest.mark.parametrize("permission", ["storage.objects.list", "storage.objects.get"])
def test_what_a_bucket_needs(tmp_path: Path, permission: str) -> None:
    with StorageServer() as server:
        server.put("detailed/a.csv", b"x")
        server.denied.add(permission)
        finding = found(bucket(server, tmp_path))["access"]
    assert not finding.ok
    assert f"needs the permission {permission}." in finding.remedy
    assert (
        "gcloud storage buckets add-iam-policy-binding gs://acme-billing-export "
        f"--member={WHO} --role=roles/storage.objectViewer\n"
    ) in finding.remedy


@pytest.mark.parametrize(
    ("permission", "command"),
    [
        (
            "bigquery.jobs.create",
            "gcloud projects add-iam-policy-binding acme-billing "
            f"--member={WHO} --role=roles/bigquery.jobUser\n",
        ),
        (
            "bigquery.tables.getData",
            "bq query --use_legacy_sql=false --project_id=acme-billing 'GRANT "
            f'`roles/bigquery.dataViewer` ON SCHEMA `acme-billing`.billing TO "{WHO}"\'\n',
        ),
    ],
)
def test_what_a_dataset_needs(tmp_path: Path, permission: str, command: str) -> None:
    with BigQueryServer() as server:
        server.tables = {TABLE: [row()]}
        server.denied.add(permission)
        finding = found(dataset(server, tmp_path))["access"]
    assert permission in finding.remedy and command in finding.remedy


def test_expired_credentials_and_a_stale_export(tmp_path: Path) -> None:
    with StorageServer() as server:
        source = bucket(server, tmp_path)
        assert not found(source)["reports"].ok
        server.put("detailed/a.csv", b"x")
        late = found(source, datetime(2026, 9, 20, tzinfo=UTC))["reports"]
        assert not late.ok and "48 hours" in late.remedy
        server.expire()
        finding = found(source)["credentials"]
    assert not finding.ok and "gcloud auth application-default login" in finding.remedy


def test_no_credentials(tmp_path: Path) -> None:
    source = bucket(StorageServer(), tmp_path)
    gone = source.model_copy(update={"credentials_file": tmp_path / "gone.json"})
    (finding,) = diagnose(gone, now=lambda: NOW)
    assert not finding.ok and "no credentials" in finding.detail
