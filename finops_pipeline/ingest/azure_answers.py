"""The rows of an answer of Cost Management's Query, whichever columns were asked for.

An answer has `columns` with names and `rows` with values in their order, below `properties` as the
service sends it, or bare as the Azure CLI prints it. Its fetching is in `azure_cost_query.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_DAY = re.compile(r"^(\d{4})(\d{2})(\d{2})$")
_DATES = ("usagedate",)


def answer_rows(document: Mapping[str, Any]) -> Iterator[Mapping[str, str | None]]:
    """The rows by column name. A day that is a number, 20250131, becomes a date.

    Raises KeyError, TypeError or ValueError for what is no answer.
    """
    told = document.get("properties", document)
    names = [str(column["name"]) for column in told["columns"]]
    for values in told["rows"]:
        yield {name: _text(name, value) for name, value in zip(names, values, strict=True)}


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _DAY.sub(r"\1-\2-\3", text) if name.lower() in _DATES else text
