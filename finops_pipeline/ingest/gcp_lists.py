"""What the lists in GCP's exports say: labels and tags as one object, ancestors as a path.

A text is worked out once, however many rows have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_KEPT = 100_000


@lru_cache(_KEPT)
def all_tags(
    labels: str | None, system_labels: str | None, tags: str | None, project_labels: str | None
) -> str:
    """Labels and tags of a row as FOCUS 1.2 has Tags: a flat JSON object, sorted by key.

    A resource's own label goes before its system's, these before Resource Manager tags and before
    what the project has. A tag is called by its namespace and key, as Google names it. What is no
    list of keys and values stays as it is, under the name of what it was.
    """
    found: dict[str, str | None] = {}
    for name, text in (
        ("project.labels", project_labels),
        ("tags", tags),
        ("system_labels", system_labels),
        ("labels", labels),
    ):
        found |= dict(_pairs(name, text))
    return _text(found)


@lru_cache(_KEPT)
def scope_path(ancestors: str | None, name: str | None, identifier: str | None) -> str | None:
    """Names from the organization to the project joined by a slash; the project's if no more is
    known, null for a row without a project."""
    listed = _loaded(ancestors)
    known = [_members(a) for a in listed if isinstance(a, dict)] if isinstance(listed, list) else []
    names = [(str(a.get("resourcename") or ""), a.get("displayname")) for a in known]
    if names and names[0][0].startswith("projects/"):
        names.reverse()
    path = [str(display or resource) for resource, display in names if display or resource]
    return "/".join(path) or name or identifier


@lru_cache(_KEPT)
def canonical_list(text: str | None) -> str | None:
    """A list as one text, whatever the order and spelling of it; null for an empty one."""
    listed = _loaded(text)
    if isinstance(listed, list):
        items = sorted(_text(_members(i) if isinstance(i, dict) else i) for i in listed)
        return "[" + ",".join(items) + "]" if items else None
    return text if listed is None else _text(listed)


def _pairs(name: str, text: str | None) -> Iterator[tuple[str, str | None]]:
    listed = _loaded(text)
    if isinstance(listed, dict):
        yield from ((key, _value(value)) for key, value in listed.items())
    elif not isinstance(listed, list):
        if text:
            yield name, text
    else:
        for item in listed:
            member = _members(item) if isinstance(item, dict) else {}
            if member.get("key") is None:
                yield name, text
                continue
            space = member.get("namespace")
            key = f"{space}/{member['key']}" if space else str(member["key"])
            yield key, _value(member.get("value"))


def _value(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _text(value)


def _members(item: dict[str, Any]) -> dict[str, Any]:
    """The members by their names without case and underscores: `Key`, `resource_name`."""
    return {key.lower().replace("_", ""): value for key, value in item.items() if value is not None}


def _loaded(text: str | None) -> Any:
    """What a JSON text says, numbers as they are written; None for nothing and for no JSON."""
    try:
        return None if text is None else json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
