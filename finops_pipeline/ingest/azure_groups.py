"""The management groups of a tenant and the subscriptions in them, from Azure Resource Manager.

What becomes of them is in `scopes.py`. Source of the rules: Microsoft, "Management Groups -
Get Descendants" (API 2020-05-01) and "Azure built-in roles" (Management Group Reader).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import jwt
from azure.core import PipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest
from jwt.exceptions import PyJWTError

from finops_pipeline.config import Source
from finops_pipeline.ingest.azure_access import (
    MANAGEMENT,
    TIMEOUTS,
    ServiceRetry,
    explained,
    is_loopback,
    token_credential,
)
from finops_pipeline.ingest.azure_blob import container_of, has_key
from finops_pipeline.ingest.location import AccessRefused, LocationUnavailable

_API = "2020-05-01"
_GROUPS = "/providers/Microsoft.Management/managementGroups/"


def list_groups(
    source: Source, *, retry: ServiceRetry | None = None
) -> list[tuple[str, str, str | None]]:
    """Identifier, name and parent of each management group and subscription, the root first.

    Subscriptions are called as reports call them, `/subscriptions/<id>`. Empty where the
    environment has a key or a signature for the container and so nobody is signed in. Raises
    AccessRefused with the role that is missing, and whatever else IngestError names.
    """
    if source.location.startswith("az:") and has_key(container_of(source)[0]):
        return []
    # An endpoint that is given is that of the storage account; on loopback one server is all.
    given = source.endpoint or ""
    tenant = _Tenant(source.name, given if is_loopback(given) else MANAGEMENT, retry)
    root = tenant.root()
    return [(root, "root", None), *tenant.below(root)]


class _Tenant:
    """Resource Manager, asked as whoever runs this."""

    def __init__(self, source_name: str, endpoint: str, retry: ServiceRetry | None) -> None:
        self._source_name = source_name
        self._endpoint = endpoint
        self._credential = token_credential()
        scope = f"{MANAGEMENT}/.default"
        self._client: PipelineClient[Any, Any] = PipelineClient(
            endpoint,
            policies=[
                UserAgentPolicy("finops-pipeline"),
                retry or ServiceRetry(),
                BearerTokenCredentialPolicy(self._credential, scope),
            ],
        )

    def root(self) -> str:
        """The root group, which is named by the tenant. Raises CredentialsError."""
        with self._explained("a token"):
            token = self._credential.get_token(f"{MANAGEMENT}/.default").token
        try:
            claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
            return f"{_GROUPS}{claims['tid']}"
        except (PyJWTError, KeyError):
            raise self._unlike("the token names no tenant") from None

    def below(self, root: str) -> Iterator[tuple[str, str, str | None]]:
        """Everything below the root, page after page."""
        url: str | None = f"{self._endpoint}{root}/descendants?api-version={_API}"
        seen: set[str] = set()
        while url:
            if url in seen or urlsplit(url)[:2] != urlsplit(self._endpoint)[:2]:
                raise self._unlike("its next page is another service's, or one already read")
            seen.add(url)
            page = self._page(url)
            try:
                yield from (_place(found) for found in page["value"])
            except (KeyError, TypeError):
                raise self._unlike("a group has no identifier, name or parent") from None
            url = page.get("nextLink") or page.get("@nextLink")

    def _page(self, url: str) -> dict[str, Any]:
        options = TIMEOUTS | ({"enforce_https": False} if is_loopback(self._endpoint) else {})
        try:
            with self._explained("listing management groups"):
                answer = self._client.send_request(HttpRequest("GET", url), **options)
                answer.raise_for_status()
            page: dict[str, Any] = answer.json()
        except AccessRefused as refusal:
            group = urlsplit(url).path.removesuffix("/descendants")
            raise AccessRefused(
                f"{refusal.answer} No path of a subscription is known until who runs this has the "
                "role: az role assignment create --assignee <object id> --role "
                f'"Management Group Reader" --scope {group}.',
                status=refusal.status,
                code=refusal.code,
                service_time=refusal.service_time,
            ) from None
        except ValueError:
            raise self._unlike("it is no JSON") from None
        return page

    def _explained(self, what: str) -> Any:
        return explained(self._source_name, "Azure Resource Manager", self._endpoint, what)

    def _unlike(self, how: str) -> LocationUnavailable:
        return LocationUnavailable(
            f"{self._source_name}: {self._endpoint} answers, but not as Azure Resource Manager "
            f"does: {how}. Check what a proxy puts in between."
        )


def _place(found: dict[str, Any]) -> tuple[str, str, str | None]:
    told = found["properties"]
    return str(found["id"]), str(told["displayName"]), str(told["parent"]["id"])
