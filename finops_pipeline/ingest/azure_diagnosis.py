"""Why no costs come from Azure: what `finops doctor` looks at, down to the role to assign.

The checks use the same code as a real run (`azure_blob.py`, `azure_export.py`,
`azure_cost_query.py`), so they cannot disagree with it.

Sources of the rules: Microsoft, "Azure built-in roles" (Storage Blob Data Reader, Cost Management
Reader), "Understand and work with scopes" (who may see which costs), "Assign Enterprise Agreement
roles to service principals".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.azure_access import MANAGEMENT, ServiceRetry, explained
from finops_pipeline.ingest.azure_blob import AzureBlobLocation, BlobRetry
from finops_pipeline.ingest.azure_cost_query import CostQueryLocation
from finops_pipeline.ingest.azure_export import EXPORT_MONTH
from finops_pipeline.ingest.azure_groups import list_groups
from finops_pipeline.ingest.finding import Finding
from finops_pipeline.ingest.location import (
    AccessRefused,
    CredentialsError,
    IngestError,
    RemoteReport,
)
from finops_pipeline.ingest.manifests import ManifestLocation

FRESH = timedelta(hours=48)  # an export runs once a day
_ATTEMPTS = 3
_STORAGE = "https://storage.azure.com/.default"
_SHOWN = 5  # names in one finding


def diagnose_azure(source: Source, now: Callable[[], datetime]) -> Iterator[Finding]:
    """What is looked at for a source in Blob Storage or Query, in the order to mend it."""
    checks = _container if source.location.startswith("az:") else _query
    try:
        yield from checks(source, now())
    except CredentialsError as error:
        yield Finding("sign-in", False, str(error), _SIGN_IN)
    except IngestError as error:
        yield Finding("service", False, str(error), _REACH)


def _container(source: Source, now: datetime) -> Iterator[Finding]:
    place = AzureBlobLocation(source, retry=BlobRetry(_ATTEMPTS))
    if hasattr(place.credential, "get_token"):
        with explained(source.name, "Azure Storage", place.endpoint, "a token"):
            who = _who(place.credential, _STORAGE)
        yield Finding("sign-in", True, f"as {who}")
    else:
        who = None
        yield Finding("sign-in", True, "by the key or signature of the environment")
    try:
        place.first_page()
        yield Finding("container", True, f"{source.location} can be listed")
        reports = list(_laid_out(place, source))
        yield _fresh(source, reports, now)
        yield from _exports(reports)
        if reports:
            newest = max(reports, key=lambda report: (report.delivered_at, report.name))
            parts = [part for part in newest.members or (newest,) if part.content is None]
            for part in parts[:1]:
                place.first_byte(part)
                yield Finding("reading", True, f"{part.name} can be read")
    except AccessRefused as refusal:
        yield Finding(
            "container", False, refusal.answer, "\n".join(_blob_cure(place, refusal, who))
        )
    yield _inventory(source)


def _laid_out(place: AzureBlobLocation, source: Source) -> Iterable[RemoteReport]:
    layout = formats()[source.format].layout
    return (place if layout == "reports" else ManifestLocation(place, layout)).reports()


def _fresh(source: Source, reports: list[RemoteReport], now: datetime) -> Finding:
    if not reports:
        said = f"no report of format {source.format} below {source.location}"
        return Finding("reports", False, said, _NO_REPORTS)
    newest = max(report.delivered_at for report in reports)
    said = f"{len(reports)} reports; the newest is of {newest:%Y-%m-%d %H:%M} UTC"
    ok = newest >= now - FRESH
    return Finding("reports", ok, said, "" if ok else _STALE)


def _exports(reports: Iterable[RemoteReport]) -> Iterator[Finding]:
    """Whether one month of one scope comes by two exports: then it would be counted twice."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for report in reports:
        if told := EXPORT_MONTH.match(report.delivery_scope or ""):
            found[told["scope"], told["month"]].add(told["export"])
    twice = sorted((key, names) for key, names in found.items() if len(names) > 1)
    if found and not twice:
        yield Finding("exports", True, f"{len(found)} months of a scope, each by one export")
    for (scope, month), names in twice[:_SHOWN]:
        said = f"{scope} comes by {len(names)} exports for {month}: {', '.join(sorted(names))}"
        yield Finding("exports", False, said, _TWICE)


def _query(source: Source, now: datetime) -> Iterator[Finding]:
    place = CostQueryLocation(source, retry=ServiceRetry(_ATTEMPTS), now=lambda: now)
    with explained(source.name, "Cost Management", place.endpoint, "a token"):
        who = _who(place.credential, f"{MANAGEMENT}/.default")
    yield Finding("sign-in", True, f"as {who}")
    try:
        place.first_page()
        yield Finding("query", True, f"costs of {place.scope} can be asked for")
    except AccessRefused as refusal:
        yield Finding("query", False, refusal.answer, "\n".join(_query_cure(place, refusal, who)))
    yield _inventory(source)


def _inventory(source: Source) -> Finding:
    """The right to list management groups: a right apart from the one to read costs."""
    try:
        known = list_groups(source, retry=ServiceRetry(_ATTEMPTS))
    except AccessRefused as refusal:
        return Finding("inventory", False, refusal.answer, _NO_PATHS)
    except IngestError as error:
        return Finding("inventory", False, str(error), _REACH)
    if not known:
        said = "nobody is signed in: no management groups; paths begin with the subscription"
        return Finding("inventory", True, said)
    return Finding("inventory", True, f"{len(known)} groups and subscriptions can be listed")


def _who(credential: Any, scope: str) -> str:
    """The object in Entra ID that a token is for; `<object id>` if the token does not say."""
    token = credential.get_token(scope).token
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
        return str(claims["oid"])
    except (PyJWTError, KeyError):
        return "<object id>"


def _blob_cure(place: AzureBlobLocation, refusal: AccessRefused, who: str | None) -> Iterator[str]:
    if refusal.status == 404:
        yield f"There is no container {place.container!r} in {place.account!r}: look at `location`."
    elif who is None:
        yield from _sas_cure(place)
    elif refusal.status == 401:
        yield _SIGN_IN
    else:
        yield f"The identity {who} may not list and read blobs there. Assign it the role:"
        yield f"   {blob_role(place.account, place.container, who)}"
        yield "A new assignment works after some minutes. If it is there already, the firewall of"
        yield "the storage account (Networking) may keep this address out."


def _sas_cure(place: AzureBlobLocation) -> Iterator[str]:
    yield "The key or signature of the environment is not accepted. It may have run out, or may"
    yield "not list and read (rights `rl`). Another one, for a day:"
    yield (
        f"   az storage container generate-sas --account-name {place.account} "
        f"--name {place.container} --permissions rl --expiry $(date -u -d tomorrow +%FT%TZ) "
        "--auth-mode login --as-user"
    )
    yield "Or unset AZURE_STORAGE_*, and the identity of this machine or of `az login` is asked,"
    yield "which needs this role:"
    yield f"   {blob_role(place.account, place.container, '<object id>')}"


def blob_role(account: str, container: str, who: str) -> str:
    """The command that lets somebody list and read a container."""
    return (
        f'az role assignment create --assignee {who} --role "Storage Blob Data Reader" --scope '
        f'"$(az storage account show --name {account} --query id --output tsv)'
        f'/blobServices/default/containers/{container}"'
    )


def _query_cure(place: CostQueryLocation, refusal: AccessRefused, who: str) -> Iterator[str]:
    if refusal.status == 404:
        yield f"There is no scope {place.scope!r}, or this identity sees nothing of it."
    elif refusal.status == 400:
        yield "Cost Management does not know this scope, or not for this kind of agreement."
    elif refusal.status == 401:
        yield _SIGN_IN
        return
    yield f"The identity {who} needs this role:"
    yield f"   {cost_role(place.scope, who)}"


def cost_role(scope: str, who: str) -> str:
    """The command that lets somebody see the costs of a scope.

    Billing accounts have roles of their own, apart from those of Azure.
    """
    if scope.lower().startswith("providers/microsoft.billing/"):
        return (
            f"in the portal: Cost Management + Billing, /{scope}, Access control (IAM), add {who} "
            "as Billing account reader (or as reader of the billing profile or invoice section); "
            "for an Enterprise Agreement assign EnrollmentReader by its role assignment API"
        )
    return (
        f'az role assignment create --assignee {who} --role "Cost Management Reader" '
        f"--scope /{scope}"
    )


_SIGN_IN = (
    "Sign in: `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of an "
    "application, or give this machine a managed identity. `az account get-access-token` tells "
    "whether it works."
)
_NO_PATHS = (
    "Paths begin with the subscription then, and rules by management group match nothing; costs "
    "are read all the same."
)
_REACH = "Look at `location` and `endpoint`, then at DNS, proxy (HTTPS_PROXY) and firewall."
_NO_REPORTS = (
    "Look at the container and prefix of `location`, and in the portal (Cost Management, Exports) "
    "whether an export of the kind 'Cost and usage details (FOCUS)' writes there and has run."
)
_STALE = (
    "That is more than 48 hours ago; a daily export runs once a day. Its run history in the portal "
    "(Cost Management, Exports) tells why it stopped; it ends by itself on its end date."
)
_TWICE = (
    "The same charges would be counted twice. Give each export a prefix and a source of its own, "
    "and keep one of them."
)
