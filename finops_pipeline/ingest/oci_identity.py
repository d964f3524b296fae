"""A tenancy's Identity service: its compartments, and the policy that a source's rights rest on.

It is asked in the same way as the bucket (`oci_credentials.py`). What becomes of the compartments
is in `scopes.py`; here too is what a refusal means, for `diagnosis.py`.

Sources of the rules: Oracle, "Cost Reports" (bucket, home region, statements), "API Errors" (what
401 and 404 stand for), "Deleting a Compartment" (names).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import oci

from finops_pipeline.config import Source
from finops_pipeline.ingest.location import AccessRefused, LocationUnavailable
from finops_pipeline.ingest.oci import bucket_of
from finops_pipeline.ingest.oci_credentials import DEFAULT_TIMEOUT, OciService, is_loopback

ORACLES_NAMESPACE = "bling"
USAGE_REPORT_TENANCY = (
    "ocid1.tenancy.oc1..aaaaaaaaned4fkpkisbwjlr56u7cj63lf3wffbilvqknstgtvzub7vhqkggq"
)
_TENANCY = "ocid1.tenancy."
# OCI renames what it deletes, so that the name can be used again: `web` becomes `web.qR5hP2BD`.
_MARK_OF_DELETION = re.compile(r"\.[A-Za-z0-9]{8}$")


def list_compartments(
    source: Source,
    *,
    retry: Any = oci.retry.DEFAULT_RETRY_STRATEGY,
    timeout: tuple[float, float] = DEFAULT_TIMEOUT,
) -> list[tuple[str, str, str | None]]:
    """Identifier, name and parent of every compartment of the tenancy, the root first.

    Deleted compartments are included, under the name they had: what they cost is still told by
    it. Empty for a bucket that is not named by a tenancy, such as one that copies are kept in.

    Raises AccessRefused with the statement that is missing, and whatever else IngestError names.
    """
    tenancy = bucket_of(source)[1]
    if not tenancy.startswith(_TENANCY):
        return []
    service = OciService(
        source,
        oci.identity.IdentityClient,
        f"the Identity service, for {tenancy},",
        # An endpoint given for Object Storage (a private endpoint, say) cannot serve Identity, so
        # that is asked where the SDK finds it for the region. On loopback one server plays both.
        endpoint=source.endpoint if is_loopback(source.endpoint) else None,
        retry=retry,
        timeout=timeout,
    )
    try:
        # Not `get_tenancy`: that would need a second statement (inspect tenancies).
        root = service.call("root compartment", service.client.get_compartment, tenancy).data
        name = _text(service, getattr(root, "name", None))
        below = {found[0]: found for found in _below_root(service, tenancy)}
    except AccessRefused as refusal:
        if refusal.status not in (403, 404):
            raise
        raise AccessRefused(
            f"{refusal.answer} No path of a compartment is known until a policy in the tenancy's "
            f"root compartment holds `{inventory_statement(source)}`.",
            status=refusal.status,
            code=refusal.code,
            service_time=refusal.service_time,
        ) from refusal
    return [(tenancy, name, None), *below.values()]


def _below_root(service: OciService, tenancy: str) -> Iterator[tuple[str, str, str | None]]:
    pages: set[str] = set()
    page: str | None = None
    while True:
        # Without `lifecycle_state`: compartments in every state.
        response = service.call(
            "listing compartments",
            service.client.list_compartments,
            tenancy,
            compartment_id_in_subtree=True,
            access_level="ANY",
            limit=1000,
            **({"page": page} if page else {}),
        )
        yield from (_compartment(service, found) for found in response.data)
        page = response.headers.get("opc-next-page")
        if not page:
            return
        if page in pages:
            raise LocationUnavailable(
                f"{service.source_name}: {service.place} lists compartments in circles: page "
                f"{page!r} comes again. Look at what answers at {service.endpoint}."
            )
        pages.add(page)


def _compartment(service: OciService, found: Any) -> tuple[str, str, str | None]:
    name = _text(service, found.name)
    if found.lifecycle_state == "DELETED":
        name = _MARK_OF_DELETION.sub("", name)
    return _text(service, found.id), name, _text(service, found.compartment_id)


def _text(service: OciService, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise LocationUnavailable(
            f"{service.source_name}: {service.endpoint} answers, but not as the Identity service "
            "does: a compartment has no identifier, name or parent. Check what a proxy puts in "
            "between."
        )
    return value


def policy_statements(source: Source) -> tuple[str, ...]:
    """The IAM statements that let the source's principal read its reports.

    For Oracle's own bucket they belong into a policy in the root compartment of the home region.
    """
    namespace, bucket = bucket_of(source)
    who = _principal(source)
    if namespace != ORACLES_NAMESPACE:
        return (f"allow {who} to read objects in tenancy where target.bucket.name = '{bucket}'",)
    return (
        f"define tenancy usage-report as {USAGE_REPORT_TENANCY}",
        f"endorse {who} to read objects in tenancy usage-report",
    )


def inventory_statement(source: Source) -> str:
    """The IAM statement that lets the source's principal list the tenancy's compartments."""
    return f"Allow {_principal(source)} to inspect compartments in tenancy"


def _principal(source: Source) -> str:
    is_person = source.auth in ("config_file", "security_token")
    return "group <group>" if is_person else "dynamic-group <dynamic-group>"


def cure(source: Source, endpoint: str, error: AccessRefused) -> str:
    """What a person must do when OCI refuses the source its bucket."""
    namespace = bucket_of(source)[0]
    if error.status == 401:
        return (
            "The service does not accept the signature. In this order: the clock above; the "
            "fingerprint above; user and tenancy in the profile; whether the key is (still) "
            "uploaded under My profile, API keys; whether a session token has run out."
        )
    if error.code == "NamespaceNotFound":
        return (
            f"There is no namespace {namespace!r}. Oracle delivers to "
            f"oci://{ORACLES_NAMESPACE}/<OCID of the tenancy>; set `location` to that."
        )
    if error.status in (403, 404):
        return "\n".join(_missing_or_forbidden(source, endpoint))
    return "Look up the code in Oracle's 'API Errors', or give the opc-request-id to Oracle."


def _missing_or_forbidden(source: Source, endpoint: str) -> Iterator[str]:
    namespace, bucket = bucket_of(source)
    yield "OCI answers the same whether the bucket is not there or may not be read. So, in order:"
    if namespace == ORACLES_NAMESPACE:
        yield f"1. The bucket must be the OCID of the reports' tenancy; it is {bucket!r}."
        yield f"2. The region must be the tenancy's home region; asked was {endpoint}."
        yield "3. A policy in the tenancy's root compartment must hold:"
    else:
        yield f"1. The bucket {bucket!r} must be in the region of {endpoint}."
        yield "2. A policy in the bucket's tenancy must hold:"
    yield from (f"   {statement}" for statement in policy_statements(source))
