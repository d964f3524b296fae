"""Why no reports come from Google Cloud, and the cure: down to the missing permission's command.

The checks use the same code as a real run (`gcs.py`, `bigquery.py`), so they cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from finops_pipeline.config import Source
from finops_pipeline.ingest.bigquery import BigQueryLocation
from finops_pipeline.ingest.finding import Finding
from finops_pipeline.ingest.gcp_service import RENEW, Waits, member_of
from finops_pipeline.ingest.gcs import GcsLocation
from finops_pipeline.ingest.location import AccessRefused, CredentialsError, IngestError

FRESH = timedelta(hours=48)  # Google exports several times a day, a first export takes five days
QUICK = Waits(0.5, 3.0, 20.0)
_PERMISSION = re.compile(r"\b(?:storage|bigquery)\.[a-zA-Z]+\.[a-zA-Z]+\b")
_BUCKET = (
    "gcloud storage buckets add-iam-policy-binding gs://{bucket} --member={member} "
    "--role=roles/storage.objectViewer"
)
_JOBS = (
    "gcloud projects add-iam-policy-binding {project} --member={member} "
    "--role=roles/bigquery.jobUser"
)
_DATA = (
    "bq query --use_legacy_sql=false --project_id={project} 'GRANT `roles/bigquery.dataViewer` "
    'ON SCHEMA `{project}`.{dataset} TO "{member}"\''
)
_STALE = (
    "That is more than 48 hours ago. Look whether the export is still on (Billing, Billing export) "
    "and, for files, what copies it into the bucket."
)
_NONE = (
    "Look whether the source's `format` and the prefix of its `location` are those of the export; "
    "a new export takes up to five days to hold its first rows."
)


def diagnose_gcp(source: Source, now: Callable[[], datetime]) -> Iterator[Finding]:
    """What keeps the source's reports from coming, in the order to mend it. Nothing raises."""
    try:
        bucket = source.location.startswith("gs://")
        location = (
            GcsLocation(source, waits=QUICK) if bucket else BigQueryLocation(source, waits=QUICK)
        )
    except IngestError as error:
        yield Finding("sign-in", False, str(error), RENEW)
        return
    member = member_of(location.credentials)
    yield Finding("sign-in", True, f"as {member}")
    try:
        reports = list(location.reports())
        yield _listed([r.delivered_at for r in reports], now())
        if reports:
            newest = max(reports, key=lambda r: (r.delivered_at, r.name))
            location.first_byte(newest)
            yield Finding("reading", True, f"{newest.name} can be read")
    except CredentialsError as error:
        yield Finding("credentials", False, str(error), RENEW)
    except AccessRefused as error:
        yield Finding("access", False, error.answer, cure(source, member, error.answer))
    except IngestError as error:
        yield Finding("service", False, str(error), "Mend what is named, then ask again.")


def cure(source: Source, member: str, answer: str) -> str:
    """The role that holds the missing permission, and the command that grants it."""
    found = _PERMISSION.search(answer)
    permission = found[0] if found else ""
    place = source.location.partition("://")[2].split("/")
    if source.location.startswith("gs://"):
        command = _BUCKET.format(bucket=place[0], member=member)
        needed = permission or "storage.objects.list and storage.objects.get"
    elif permission == "bigquery.jobs.create":
        command, needed = _JOBS.format(project=place[0], member=member), permission
    else:
        command = _DATA.format(project=place[0], dataset=place[1], member=member)
        needed = permission or "bigquery.tables.getData"
    return (
        f"{member} needs the permission {needed}. Whoever administers the project runs:\n"
        f"   {command}\nA wrong `location` is answered in the same way: look at it too."
    )


def _listed(times: list[datetime], now: datetime) -> Finding:
    if not times:
        return Finding("reports", False, "no report is there", _NONE)
    newest = max(times)
    said = f"{len(times)} reports; the newest is of {newest:%Y-%m-%d %H:%M} UTC"
    fresh = newest >= now - FRESH
    return Finding("reports", fresh, said, "" if fresh else _STALE)
