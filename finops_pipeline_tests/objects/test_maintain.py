"""Maintenance of a home in an object store: what is needed stays, the rest goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from finops_pipeline.config import load_settings
from finops_pipeline.lake.maintain import maintain
from finops_pipeline.lake.place import Folder
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline_tests.cli.place import Place, row
from finops_pipeline_tests.objects.bucket import Bucket

STRAY = (
    "lake/allocated_costs/x_Source=acme-oci/ProviderName=a/x_ChargeDay=b/x_BusinessUnit=c/0.parquet"
)
RULES = "owners: ['süd 100% x']\ntags: [{key: team}]\n"


def data(bucket: Bucket) -> set[str]:
    return {n for n in bucket.objects("lake/") if n.endswith(".parquet") and "_delta_log" not in n}


def stands(bucket: Bucket) -> set[str]:
    return {f"lake/{t}/{path}" for t, files in bucket.tables().items() for path in files}


def test_versions_and_leftovers_go_and_nothing_else(place: Place, bucket: Bucket) -> None:
    (place.folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    place.configure(home=bucket.home, work="work", rules="rules.yaml")
    place.deliver("a", row("1.5", team="süd 100% x"), row("2.25", day="2025-01-03"))
    ran = place.finops("run")
    assert ran.exit_code == 0, ran.stderr
    then = datetime.now(UTC)
    place.deliver("b", row("4", team="süd 100% x"))
    assert place.finops("run").exit_code == 0
    bucket.put(STRAY, b"12")
    before = data(bucket)
    assert before - stands(bucket) - {STRAY}, "files of earlier versions"
    asked = place.finops("costs", "--by", "owner", "--format", "json").stdout
    assert "süd 100% x" in asked

    pipeline = Pipeline(load_settings(place.folder / "finops.yaml"))
    source = pipeline.settings.sources[0]
    with pipeline.engine() as engine:
        stager = pipeline.normalize(source, engine).stager
        live = {stager.fingerprint(e) for e in pipeline.ledger(source).live()}
    now, month = datetime.now(UTC), timedelta(days=30)

    # Young files and versions within the retention stay; an attempt only tells.
    done = maintain(pipeline.home, now, month, lambda _: live)
    assert (done.files, data(bucket)) == (0, before)
    later = now + 2 * month
    said = maintain(pipeline.home, later, month, lambda _: live, dry_run=True)
    assert data(bucket) == before

    others = {n: t for n, t in bucket.objects().items() if not n.startswith("lake/")}
    done = maintain(pipeline.home, later, month, lambda _: live)
    assert data(bucket) == stands(bucket)
    assert {n for n, p in done.places.items() if p.files} == {"allocated_costs", "log"} | {
        n for n, p in said.places.items() if p.files
    }
    assert {n: t for n, t in bucket.objects().items() if not n.startswith("lake/")} == others
    assert maintain(pipeline.home, later, month, lambda _: live).files == 0

    # Another process asks, and runs, as ever.
    assert place.finops("costs", "--by", "owner", "--format", "json").stdout == asked
    forgotten = place.finops("costs", "--as-of", then.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    assert forgotten.exit_code == 2 and "is no longer kept" in forgotten.stderr
    again = place.finops("run")
    assert again.exit_code == 0 and "nothing new" in again.stderr
    assert data(bucket) == stands(bucket)
    assert Folder(pipeline.home.staged).names()


def test_the_command_works_on_a_store(place: Place, bucket: Bucket) -> None:
    place.deliver("a", row("1.5"))
    assert place.finops("run").exit_code == 0
    before = data(bucket)
    done = place.finops("maintain")
    assert done.exit_code == 0, done.output
    assert "removed 0 files, 0 bytes" in done.stdout and data(bucket) == before
