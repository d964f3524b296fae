"""Why no reports come: what `finops doctor` looks at for one source, and the cure for each fault.

A fault comes with what a person must do, down to the policy statement to paste (those are in
`oci_identity.py`). The checks use the same code as a real run (`oci.py`, `directory.py`,
`scopes.py`), so they cannot disagree with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import oci
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.directory import DirectoryLocation
from finops_pipeline.ingest.finding import Finding
from finops_pipeline.ingest.location import (
    INVENTORIES,
    AccessRefused,
    IngestError,
    RemoteReport,
    missing_library,
    named_in_ingest,
    scheme_of,
)
from finops_pipeline.ingest.oci import OciLocation
from finops_pipeline.ingest.oci_credentials import (
    fingerprint,
    private_key,
    profile,
    session_end,
    session_token,
)
from finops_pipeline.ingest.oci_identity import cure, inventory_statement, list_compartments
from finops_pipeline.ingest.scopes import read_scopes

FRESH = timedelta(hours=48)  # Reports come every six hours; FOCUS has been seen two days late.
CLOCK_TOLERANCE = timedelta(minutes=5)  # Beyond it OCI answers 401, however right the key is.

_QUICK_RETRY = oci.retry.RetryStrategyBuilder(
    max_attempts=3, total_elapsed_time_seconds=20, retry_max_wait_between_calls_seconds=3
).get_retry_strategy()
_FILES_LOOKED_INTO = 20


def _utc_now() -> datetime:
    return datetime.now(UTC)


def diagnose(source: Source, *, now: Callable[[], datetime] = _utc_now) -> list[Finding]:
    """Everything that keeps the source's reports from coming, in the order to mend it.

    Nothing raises: what goes wrong is a finding. A check is left out when an earlier fault makes
    it pointless.
    """
    try:
        return list(named_in_ingest(scheme_of(source).doctor)(source, now))
    except ModuleNotFoundError as error:
        said = str(missing_library(source, error))
        return [Finding("library", False, said, "Install it, then ask again.")]


def diagnose_oci(source: Source, now: Callable[[], datetime]) -> Iterator[Finding]:
    """What keeps the reports of a bucket of OCI from coming."""
    yield from _files(source, now)
    try:
        location = OciLocation(source, retry=_QUICK_RETRY)
    except IngestError as error:
        yield Finding("sign-in", False, str(error), "Mend what is named, then ask again.")
        return
    try:
        service_time = location.service_time()
    except AccessRefused as error:
        if error.service_time is not None:
            yield _clock(error.service_time, now())
        yield Finding("bucket", False, error.answer, cure(source, location.endpoint, error))
        if error.status != 401:
            yield _inventory(source)
        return
    except IngestError as error:
        yield Finding("service", False, str(error), _REACH.format(endpoint=location.endpoint))
        return
    if service_time is not None:
        yield _clock(service_time, now())
    yield Finding("bucket", True, f"{source.location} can be listed at {location.endpoint}")
    yield from _listing_and_reading(source, location, now())
    yield _inventory(source)


def _inventory(source: Source) -> Finding:
    """The right to list the compartments: a right apart from the one to read reports."""
    try:
        known = list_compartments(source, retry=_QUICK_RETRY)
    except AccessRefused as error:
        said = f"the compartments may not be listed: {error.status} {error.code}"
        return Finding("inventory", False, said, _NO_PATHS.format(inventory_statement(source)))
    except IngestError as error:
        return Finding("inventory", False, str(error), _NO_IDENTITY)
    if not known:
        said = "the bucket is not named by a tenancy: no paths, and rules by path match nothing"
        return Finding("inventory", True, said)
    return Finding("inventory", True, f"{len(known)} compartments can be listed")


_NO_PATHS = (
    "Without it no path of a compartment is known, and rules by path match nothing; reports are "
    "read all the same. A policy in the tenancy's root compartment must hold:\n   {}"
)
_NO_IDENTITY = (
    "Compartments come from the region's Identity service, at another address than the reports: "
    "let https://identity.<region>.oci.<realm's domain> through proxy and firewall."
)


def _files(source: Source, now: Callable[[], datetime]) -> Iterator[Finding]:
    if source.auth not in ("config_file", "security_token"):
        return
    try:
        config = profile(source)
        yield Finding("configuration file", True, f"{source.config_file}, {source.profile}")
        key = private_key(source, config)
        yield _key_permissions(Path(config["key_file"]).expanduser())
        if source.auth == "config_file":
            yield _fingerprint(config, key)
        else:
            yield _session(source, session_token(source, config), now())
    except IngestError:
        return  # The sign-in that follows stumbles over the same fault and tells it.


def _key_permissions(path: Path) -> Finding:
    mode = path.stat().st_mode & 0o777
    return Finding(
        "private key",
        not mode & 0o077,
        f"{path} is a private key, permissions {mode:o}",
        f"Others may read it: chmod 600 {path}" if mode & 0o077 else "",
    )


def _fingerprint(config: dict[str, Any], key: RSAPrivateKey) -> Finding:
    actual, given = fingerprint(key), config.get("fingerprint")
    if actual == given:
        return Finding("fingerprint", True, f"{actual} belongs to the key")
    return Finding(
        "fingerprint",
        False,
        f"the profile says {given}, the key's own is {actual}",
        "Set fingerprint to the key's own, or key_file to the key uploaded (My profile, API keys).",
    )


def _session(source: Source, token: str, now: datetime) -> Finding:
    renew = f"Renew it: oci session authenticate --profile-name {source.profile}"
    ends = session_end(token)
    if ends is None:
        return Finding("session token", False, "the file holds no session token", renew)
    said = f"valid until {ends:%Y-%m-%d %H:%M} UTC"
    return Finding("session token", now < ends, said, "" if now < ends else renew)


def _clock(service_time: datetime, here: datetime) -> Finding:
    skew = here - service_time
    ok = abs(skew) <= CLOCK_TOLERANCE
    return Finding(
        "clock",
        ok,
        f"{abs(skew).total_seconds():.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} "
        "the service",
        "" if ok else "OCI refuses what is signed more than 5 minutes off. Set the clock (NTP).",
    )


_REACH = (
    "Is {endpoint} the right place? Set `region` to the tenancy's home region, or `endpoint` to a "
    "private endpoint; then look at DNS, proxy (HTTPS_PROXY) and firewall."
)


def _listing(
    source: Source, reports: Iterable[RemoteReport], fresh_after: datetime
) -> tuple[Finding, RemoteReport | None]:
    count, newest = 0, None
    for report in reports:
        count += 1
        if newest is None or newest.delivered_at <= report.delivered_at:
            newest = report
    if newest is None:
        prefixes = " or ".join(formats()[source.format].folders)
        said = f"no report below {prefixes}" if prefixes else "no report"
        remedy = _NO_REPORTS if prefixes else _NO_FILES
        return Finding("reports", False, said, remedy), None
    ok = newest.delivered_at >= fresh_after
    said = f"{count} reports; the newest is of {newest.delivered_at:%Y-%m-%d %H:%M} UTC"
    return Finding("reports", ok, said, "" if ok else _STALE), newest


_NO_FILES = "Look at the folder, and whether the source's `format` is the one delivered."
_NO_REPORTS = (
    "Look whether the source's `format` is the one delivered. FOCUS reports are written in the "
    "commercial realm only, and none are written for tenancies that are not metered."
)
_STALE = (
    "That is more than 48 hours ago; a report is due every six hours. If the console (Billing, "
    "Cost reports) shows newer ones, the region or bucket is another; if not, ask Oracle support."
)
_COPY_STALE = "The newest file is more than 48 hours old. Look at what copies reports into here."


def _listing_and_reading(source: Source, location: OciLocation, now: datetime) -> Iterator[Finding]:
    try:
        finding, newest = _listing(source, location.reports(), now - FRESH)
        yield finding
        if newest is not None:
            location.first_byte(newest)
            yield Finding("reading", True, f"{newest.name} can be read")
    except AccessRefused as error:
        yield Finding("reading", False, error.answer, cure(source, location.endpoint, error))
    except IngestError as error:
        yield Finding("reading", False, str(error), "Ask again; if it stays, wait.")


def diagnose_directory(source: Source, now: Callable[[], datetime]) -> Iterator[Finding]:
    """What keeps the reports of a directory from coming."""
    location = DirectoryLocation(source, now=now)
    # A file counts as delivered at the start of its day, so it may be a day younger than it says.
    fresh_after = now() - FRESH - timedelta(days=1)
    try:
        reports = list(location.reports())
        yield Finding("directory", True, f"{location.root} can be listed")
        finding, newest = _listing(source, reports, fresh_after)
        yield replace(finding, remedy=_COPY_STALE) if newest and not finding.ok else finding
        yield from _other_formats(source, location)
        if newest and formats()[source.format].content == "rows":
            yield _contents(source, location, reports)
        yield _inventory_file(source)
    except IngestError as error:
        yield Finding("directory", False, str(error), "Mend what is named, then ask again.")


def _inventory_file(source: Source) -> Finding:
    try:
        known = read_scopes(source)
    except IngestError as error:
        return Finding("inventory", False, str(error), "Mend the file, or take it away.")
    inventory = " or ".join(INVENTORIES)
    if known:
        return Finding("inventory", True, f"{len(known)} places in {inventory}")
    said = f"no {inventory}: no paths, and rules by path match nothing"
    return Finding("inventory", True, said)


def _other_formats(source: Source, location: DirectoryLocation) -> Iterator[Finding]:
    if not location.has_layout():
        return  # Names do not tell formats apart here; what the files hold does.
    for other in formats().values():
        if other.folders and other.name != source.format:
            there = DirectoryLocation(source.model_copy(update={"format": other.name}))
            count = sum(1 for _ in there.reports())
            if count:
                said = (
                    f"{count} reports of format {other.name} are there too; this source leaves them"
                )
                yield Finding("other formats", True, said)


def _contents(source: Source, location: DirectoryLocation, reports: list[RemoteReport]) -> Finding:
    """The newest files' first lines: readable, and of the source's format?"""
    rows = (r for r in reports if not r.name.endswith(".json"))  # a manifest has none
    newest = sorted(rows, key=lambda report: (report.delivered_at, report.name))
    wrong: dict[str, str] = {}
    for report in newest[-_FILES_LOOKED_INTO:]:
        found = location.content_of(report)
        if found != source.format:
            wrong[report.name] = found
    if not wrong:
        return Finding("contents", True, f"the newest files are of format {source.format}")
    listed = ", ".join(f"{name} ({found})" for name, found in itertools.islice(wrong.items(), 5))
    return Finding(
        "contents",
        False,
        f"{len(wrong)} of the newest files are not of format {source.format}: {listed}",
        "Give each format a directory and a source of its own; make files readable, and copy "
        "broken ones again.",
    )
