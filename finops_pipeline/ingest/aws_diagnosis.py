"""Why no costs come from AWS: what `finops doctor` looks at, down to the IAM statement to paste.

The checks use the same code as a real run (`s3.py`, `aws_cost_explorer.py`,
`aws_organizations.py`), so they cannot disagree with it.

Sources of the rules: AWS Service Authorization Reference (actions, resources, condition keys of S3,
Cost Explorer, Organizations, STS, KMS) and IAM User Guide, "Troubleshoot access denied error
messages" (the form of the message).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from finops_pipeline.config import Source
from finops_pipeline.ingest.aws import identity
from finops_pipeline.ingest.aws_cost_explorer import PRICE, CostExplorerLocation
from finops_pipeline.ingest.aws_organizations import ACTIONS, list_accounts
from finops_pipeline.ingest.finding import Finding
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    RemoteReport,
    open_location,
)
from finops_pipeline.ingest.s3 import S3Location, bucket_of

FRESH = timedelta(hours=48)  # an export is refreshed at least daily
_ATTEMPTS = 3
# `... is not authorized to perform: s3:GetObject on resource: arn:... because ...`
_DENIED = re.compile(
    r"not authorized to perform: ([\w-]+:\w+)(?: on resource: \"?(arn:[^\s\",]+))?"
)


def diagnose_aws(source: Source, now: Callable[[], datetime]) -> Iterator[Finding]:
    """What is looked at for a source in S3 or Cost Explorer, in the order to mend it."""
    try:
        yield Finding("sign-in", True, f"as {identity(source, _ATTEMPTS)}")
    except AccessRefused as refusal:
        yield Finding("sign-in", False, refusal.answer, _cure(source, refusal, "sts:AssumeRole"))
        return
    except CredentialsError as error:
        yield Finding("sign-in", False, str(error), _SIGN_IN)
        return
    except IngestError as error:
        yield Finding("sign-in", False, str(error), _REACH)
        return
    checks = _bucket if source.location.startswith("s3:") else _cost_explorer
    try:
        yield from checks(source, now())
    except AccessRefused as refusal:  # told by the check that met it
        yield Finding("reports", False, refusal.answer, _cure(source, refusal, ""))
    except IngestError as error:
        yield Finding("reports", False, str(error), "Mend what is named, then ask again.")
    yield _inventory(source)


def _bucket(source: Source, now: datetime) -> Iterator[Finding]:
    place = S3Location(source, attempts=_ATTEMPTS)
    try:
        files = list(place.reports())
        yield Finding("bucket", True, f"{source.location} can be listed")
    except AccessRefused as refusal:
        remedy = _cure(source, refusal, "s3:ListBucket")
        yield Finding("bucket", False, refusal.answer, remedy)
        return
    if not files:
        yield Finding("reports", False, f"no file of {source.format} there", _NO_REPORTS)
        return
    newest = max(files, key=lambda f: (f.delivered_at, f.name))
    try:
        place.first_byte(newest)
        yield Finding("reading", True, f"{newest.name} can be read")
    except AccessRefused as refusal:
        yield Finding("reading", False, refusal.answer, _cure(source, refusal, "s3:GetObject"))
        return
    yield _freshness(list(open_location(source).reports()), newest, now)


def _freshness(reports: list[RemoteReport], newest: RemoteReport, now: datetime) -> Finding:
    ok = newest.delivered_at >= now - FRESH
    said = f"{len(reports)} reports; the newest is of {newest.delivered_at:%Y-%m-%d %H:%M} UTC"
    return Finding("reports", ok, said, "" if ok else _STALE)


def _cost_explorer(source: Source, now: datetime) -> Iterator[Finding]:
    place = CostExplorerLocation(source, now=lambda: now, attempts=_ATTEMPTS)
    newest = list(place.reports())[-1]
    try:
        with place.stream(newest) as pages:
            next(iter(pages))
    except AccessRefused as refusal:
        remedy = _cure(source, refusal, "ce:GetCostAndUsage")
        yield Finding("cost explorer", False, refusal.answer, remedy)
        return
    said = f"the costs of {newest.name.removesuffix('.jsonl')} can be asked for"
    yield Finding("cost explorer", True, f"{said} (one request, {PRICE} USD)")


def _inventory(source: Source) -> Finding:
    """The right to list the accounts: a right apart from the one to read reports."""
    try:
        known = list_accounts(source, attempts=_ATTEMPTS)
    except AccessRefused as refusal:
        said = f"the accounts may not be listed: {refusal.status} {refusal.code}"
        remedy = f"{_NO_PATHS}\n{_statement(list(ACTIONS), '*')}"
        return Finding("inventory", False, said, remedy)
    except IngestError as error:
        return Finding("inventory", False, str(error), _REACH)
    if not known:
        said = "the account belongs to no organization: no paths, and rules by path match nothing"
        return Finding("inventory", True, said)
    return Finding("inventory", True, f"{len(known)} accounts and units can be listed")


def _cure(source: Source, refusal: AccessRefused, action: str) -> str:
    """What a person must do when AWS refuses: the statement that is missing, if one is."""
    if refusal.code == "NoSuchBucket":
        return f"There is no bucket {bucket_of(source)[0]!r}. Set `location` to s3://BUCKET/PREFIX."
    denied = _DENIED.search(refusal.answer)
    if refusal.status not in (401, 403) and denied is None:
        return "Look up the code in the documentation of the service."
    action = denied[1] if denied else action
    statement = missing_statement(source, action, denied[2] if denied else None)
    said = [f"A policy of the identity above must hold:\n{statement}"]
    if "explicit deny" in refusal.answer:
        said.insert(0, "An explicit deny forbids it, which no statement overrules: take it away.")
    if action.startswith("s3:"):
        said.append("In another account the bucket's own policy must allow the same.")
    if action == "sts:AssumeRole":
        said.append("The role's trust policy must name that identity as its principal.")
    return "\n".join(said)


def missing_statement(source: Source, action: str, resource: str | None = None) -> str:
    """The statement that grants an action to the source, and no more than it needs."""
    partition = _partition(source)
    if action == "sts:AssumeRole":
        return _statement([action], source.role or resource or "*")
    if action == "kms:Decrypt":
        return _statement([action], resource or "*")
    if action.startswith("ce:"):
        return _statement(["ce:GetCostAndUsage", "ce:GetCostForecast"], "*")
    if not source.location.startswith("s3:"):
        return _statement([action], resource or "*")
    bucket, prefix = bucket_of(source)
    if action == "s3:ListBucket":
        return _statement([action], f"arn:{partition}:s3:::{bucket}", prefix)
    return _statement([action], f"arn:{partition}:s3:::{bucket}/{prefix}*")


def _statement(actions: list[str], resource: str, prefix: str = "") -> str:
    statement: dict[str, object] = {
        "Effect": "Allow",
        "Action": actions[0] if len(actions) == 1 else actions,
        "Resource": resource,
    }
    if prefix:
        statement["Condition"] = {"StringLike": {"s3:prefix": f"{prefix}*"}}
    return json.dumps(statement, indent=2)


def _partition(source: Source) -> str:
    region = source.region or ""
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(
        "us-gov" if region.startswith("us-gov-") else region.partition("-")[0], "aws"
    )


_SIGN_IN = (
    "Mend what is named, then ask again. `aws sts get-caller-identity` with the same profile shows "
    "the same."
)
_REACH = "Look at region, `endpoint`, DNS, proxy (HTTPS_PROXY) and firewall."
_NO_REPORTS = (
    "Look at bucket and prefix: below the prefix lie the export's folders `data` and `metadata`. "
    "The first delivery of a new export takes up to 24 hours."
)
_STALE = (
    "That is more than 48 hours ago; an export is refreshed at least once a day. Look at its "
    "status under Billing and Cost Management, Data Exports, and at the bucket's policy, which "
    "must let AWS write."
)
_NO_PATHS = (
    "Without it no path of an account is known, and rules by path match nothing; reports are read "
    "all the same. Only the management account of the organization, or a member that it delegates "
    "to, may ask. A policy of the identity above must hold:"
)
