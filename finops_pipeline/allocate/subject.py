"""What a decision rests on: the facts of a charge that rules may look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from finops_pipeline.allocate.entries import COLUMNS, TAG
from finops_pipeline.allocate.terms import fold


@dataclass(frozen=True, slots=True)
class Subject:
    """The facts of a charge. `tags` is the text of a JSON object, as billed."""

    provider: str
    billing_account_id: str | None
    sub_account_id: str | None
    service: str
    charge_category: str | None
    resource_id: str | None
    commitment_discount_id: str | None
    scope_path: str | None
    tags: str | None

    def value(self, column: str) -> str | None:
        """The value of a column as rules name it, as written."""
        found: str | None = getattr(self, _FIELDS[column])
        return found


_FIELDS = dict(
    zip(
        COLUMNS,
        (
            "provider", "billing_account_id", "sub_account_id", "service", "charge_category",
            "resource_id", "commitment_discount_id", "scope_path",
        ),
        strict=True,
    )
)  # fmt: skip


def read_tags(text: str | None) -> dict[str, str]:
    """The tags; none if the text is no JSON object. Numbers keep the digits they came with."""
    if not text:
        return {}
    try:
        tags = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(tags, dict):
        return {}
    return {key: str(value) for key, value in tags.items() if value is not None}


def in_any_case(provider: str) -> bool:
    """Whether the provider takes no notice of case in the names of scopes.

    Resource groups of Azure are written otherwise from one charge to the next.
    Source: Azure Resource Manager, naming rules (names are case-insensitive, case is not kept).
    """
    return fold(provider) == "microsoft"


def any_case(path: str) -> str:
    """A path as it is compared where case says nothing; never the same as any path as written."""
    return f"\0{fold(path)}"


def paths(path: str | None) -> Iterator[str]:
    """The path, then each path above it, longest first."""
    rest = (path or "").strip().strip("/")
    while rest:
        yield rest
        rest = rest.rpartition("/")[0]


def position(path: str | None, above: str) -> str:
    """Where a scope is, beside one that rules name."""
    given = (path or "").strip().strip("/")
    same = given == above or any_case(given) == any_case(above)
    return f"the scope is {given}" if same else f"{given} is below {above}"


def quoted(value: str | None) -> str:
    """A value as evidence shows it."""
    return json.dumps(value, ensure_ascii=False)


def facts(
    subject: Subject, tags: Mapping[str, str], columns: frozenset[str]
) -> dict[str, list[str]]:
    """For each of the columns, the values that a condition may list to match the subject."""
    found = {}
    for column in columns:
        if column == "scope":
            above = paths(subject.scope_path)
            found[column] = [*(map(any_case, above) if in_any_case(subject.provider) else above)]
            continue
        value = (
            tags.get(column.removeprefix(TAG)) if column.startswith(TAG) else subject.value(column)
        )
        found[column] = [] if value is None else [fold(value)]
    return found
