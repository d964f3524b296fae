"""What OCI's Identity service knows of a tenancy's compartments, as answers to requests.

No server of its own: `oci_object_storage.py` gives it the requests that are signed as they must
be, so that one address serves both APIs. It knows nothing of the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BASE_PATH = "20160918"


@dataclass(frozen=True)
class StoredCompartment:
    id: str
    name: str
    parent_id: str | None
    state: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "compartmentId": self.parent_id,
            "name": self.name,
            "description": "",
            "timeCreated": "2024-01-01T00:00:00.000Z",
            "lifecycleState": self.state,
            "freeformTags": {},
            "definedTags": {},
        }


@dataclass(frozen=True)
class Answer:
    """The status, what the body holds, and the token of the next page."""

    status: int
    content: Any
    next_page: str | None = None


def refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"code": code, "message": message})


_NOT_FOUND = refusal(
    404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found"
)


class Identity:
    """The compartments of one tenancy; the tenancy itself is the root."""

    def __init__(self, tenancy: str, name: str = "acme") -> None:
        self.tenancy = tenancy
        self.page_size = 1000
        self.pages_in_circles = False
        self._known = {tenancy: StoredCompartment(tenancy, name, None, "ACTIVE")}

    def add(self, name: str, parent_id: str | None = None, *, state: str = "ACTIVE") -> str:
        """A new compartment, below the root unless said; its identifier."""
        id_ = f"ocid1.compartment.oc1..{len(self._known):06}"
        self._known[id_] = StoredCompartment(id_, name, parent_id or self.tenancy, state)
        return id_

    def get(self, id_: str) -> Answer:
        """GetCompartment, which takes a tenancy's OCID as well."""
        found = self._known.get(id_)
        return Answer(200, found.as_json()) if found else _NOT_FOUND

    def list(self, query: dict[str, str]) -> Answer:
        """ListCompartments: never the compartment asked for itself, only what is below it."""
        parent = query.get("compartmentId", "")
        subtree = query.get("compartmentIdInSubtree", "").lower() == "true"
        if parent not in self._known:
            return _NOT_FOUND
        if subtree and parent != self.tenancy:
            return refusal(400, "InvalidParameter", "compartmentIdInSubtree is for the root only")
        limit = int(query.get("limit", 100))
        if not 1 <= limit <= 1000:
            return refusal(400, "InvalidParameter", "limit must be between 1 and 1000")
        found = [
            c
            for c in self._known.values()
            if c.parent_id is not None
            and (subtree or c.parent_id == parent)
            and query.get("lifecycleState", c.state) == c.state
        ]
        start = int(query.get("page", "page-0").removeprefix("page-"))
        end = start + min(limit, self.page_size)
        more = f"page-{start if self.pages_in_circles else end}" if end < len(found) else None
        return Answer(200, [c.as_json() for c in found[start:end]], more)
