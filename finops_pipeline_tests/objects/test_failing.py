"""A store that fails for a while, refuses, or is not there: tried again, or told clearly."""

from __future__ import annotations

import pytest

from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.objects.bucket import Bucket
from finops_pipeline_tests.servers.s3 import SECRET

RETRIES = "finops_pipeline.lake.bucket._RETRIES"


def test_a_run_through_a_store_that_stumbles(place: Place, bucket: Bucket) -> None:
    place.deliver("a", row("1.5"))
    bucket.server.fail(4)
    before = bucket.server.served().get("503", 0)
    assert place.finops("run").exit_code == 0
    bucket.server.fail(4, "PUT")
    place.deliver("b", row("2"))
    assert place.finops("run").exit_code == 0
    assert bucket.server.served()["503"] == before + 8
    assert "3.5" in place.finops("costs", "--format", "csv").output


def test_wrong_credentials_are_wrong_use(
    place: Place, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAANOTHER")
    for command in ("run", "costs", "rejected"):
        ran = place.finops(command)
        assert ran.exit_code == 2, ran.output
        assert f"error: {bucket.home}: the store refuses: InvalidAccessKeyId" in ran.output
        assert SECRET not in ran.output and "Traceback" not in ran.output
    looked = place.finops("doctor")
    assert looked.exit_code == 1 and f"FAIL pipeline: home: {bucket.home}" in looked.output


def test_a_missing_bucket_is_wrong_use(place: Place) -> None:
    place.configure(home="s3://bills-that-are-not-there/x")
    ran = place.finops("run")
    assert ran.exit_code == 2 and "NoSuchBucket" in ran.output and "does the bucket" in ran.output


def test_a_store_that_is_away_is_a_problem(
    place: Place, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RETRIES, {"max_retries": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ran = place.finops("costs")
    assert ran.exit_code == 1, ran.output
    assert "run again when it is reachable" in ran.output and "Traceback" not in ran.output


def test_a_store_that_goes_away_midway(
    place: Place, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RETRIES, {"max_retries": 1})
    place.deliver("a", row("1.5"))
    # The first write of all is the report's, into the archive.
    bucket.server.fail(1_000, "PUT")
    ran = place.finops("run")
    assert ran.exit_code == 1 and "Traceback" not in ran.output, ran.output
    assert "SlowDown 503 Service Unavailable" in ran.output, ran.output
    bucket.server.fail(0)
    assert place.finops("run").exit_code == 0
