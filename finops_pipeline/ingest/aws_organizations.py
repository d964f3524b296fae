"""AWS Organizations: the accounts of a company and the organizational units that hold them.

What becomes of them is in `scopes.py`; which rights asking takes is told in `aws_diagnosis.py`.
Only the management account, or a member that it delegates to, may ask.

Source of the rules: AWS Organizations API Reference, "ListRoots",
"ListOrganizationalUnitsForParent", "ListAccountsForParent".
"""

from __future__ import annotations

from collections.abc import Iterator

from finops_pipeline.config import Source
from finops_pipeline.ingest.aws import ATTEMPTS, AwsService, beside, home_region
from finops_pipeline.ingest.location import AccessRefused

ACTIONS = (
    "organizations:ListRoots",
    "organizations:ListOrganizationalUnitsForParent",
    "organizations:ListAccountsForParent",
)
_NONE = "AWSOrganizationsNotInUseException"


def list_accounts(source: Source, *, attempts: int = ATTEMPTS) -> list[tuple[str, str, str | None]]:
    """Identifier, name and parent of the root, of every organizational unit and account.

    Accounts in every state are read. Empty for an account that belongs to no organization. Raises
    AccessRefused, and whatever else IngestError names.
    """
    service = AwsService(
        source,
        "organizations",
        region=home_region(source),
        endpoint=beside(source),
        attempts=attempts,
    )
    try:
        roots = _pages(service, "list_roots", "Roots")
        return [
            found
            for root in roots
            for found in ((root[0], root[1], None), *_below(service, root[0]))
        ]
    except AccessRefused as refusal:
        if refusal.code == _NONE:
            return []
        raise


def _below(service: AwsService, parent: str) -> Iterator[tuple[str, str, str | None]]:
    for account in _pages(service, "list_accounts_for_parent", "Accounts", ParentId=parent):
        yield (*account, parent)
    units = "list_organizational_units_for_parent"
    for unit in _pages(service, units, "OrganizationalUnits", ParentId=parent):
        yield (*unit, parent)
        yield from _below(service, unit[0])


def _pages(service: AwsService, operation: str, what: str, **options: str) -> list[tuple[str, str]]:
    """Identifier and name of all that an operation lists."""
    paginator = service.client.get_paginator(operation)
    pages = service.call(operation, lambda: list(paginator.paginate(**options)))
    return [(item["Id"], item["Name"]) for page in pages for item in page[what]]
