"""The rows of a service's answers, which are kept as they came: JSON documents, one after another.

Each format of such answers has a function here that makes rows of one document, and a module of
its own for the fetching. The answers of a service are small beside a report, so their rows pass
through Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finops_pipeline.ingest.aws_cost_rows import cost_and_usage
from finops_pipeline.ingest.azure_answers import answer_rows
from finops_pipeline.ingest.rows import GZIP_ERRORS, CutOffError, named, open_text
from finops_pipeline.ingest.structured import BrokenFileError

Row = Mapping[str, str | None]

# The rows of one document by format. Numbers come as the text they were written with.
PAGES: dict[str, Callable[[Any], Iterator[Row]]] = {
    "aws_cost_explorer": cost_and_usage,
    "azure_cost_query": answer_rows,
}


def page_names(path: Path, format_name: str) -> list[str]:
    """The columns of all rows, in order of appearance. Raises BrokenFileError or CutOffError."""
    names: dict[str, None] = {}
    for row in _rows(path, format_name):
        names |= dict.fromkeys(row)
    return list(names)


def read_pages(
    path: Path, format_name: str, names: Sequence[str], columns: Mapping[str, int | None]
) -> Iterator[pa.Table]:
    """The rows as `rows.read_rows` gives them. Raises BrokenFileError or CutOffError."""
    rows = list(_rows(path, format_name))
    fields = {
        f"c{position}": pa.array([row.get(name) or None for row in rows], pa.string())
        for position, name in enumerate(names)
    }
    coded = {name: field.dictionary_encode() for name, field in fields.items()}
    yield named(pa.record_batch(coded), columns, pa.array(np.arange(len(rows)) + 1))


def _rows(path: Path, format_name: str) -> Iterator[Row]:
    for number, document in enumerate(_documents(path), 1):
        try:
            yield from PAGES[format_name](document)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BrokenFileError(
                f"document {number} is no answer of the service as {format_name} expects it: "
                f"{type(error).__name__}: {error}"
            ) from error


def _documents(path: Path) -> Iterator[Any]:
    """The JSON documents of a file: one, or one on each line."""
    try:
        with open_text(path) as file:
            text = file.read().decode("utf-8-sig")
    except GZIP_ERRORS as error:
        raise CutOffError(str(error)) from error
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"not UTF-8 at byte {error.start}") from error
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    position = 0
    while (rest := text[position : position + 1]) != "":
        if rest.isspace():
            position += 1
            continue
        try:
            document, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise BrokenFileError(f"no JSON: {error}") from error
        yield document
