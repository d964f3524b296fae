"""Reading `rules.yaml` and the tables of weights that it names."""

from __future__ import annotations

import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pydantic import ValidationError

from finops_pipeline.allocate.pools import WeightRow
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.config import ConfigError, explain_validation, reading
from finops_pipeline.exact_yaml import read_yaml

_HEADER = ["date", "owner", "weight"]


def load_rules(path: Path | None) -> Rules:
    """Read and check `rules.yaml`; None means no rules. Raises ConfigError for a wrong file."""
    if path is None:
        return Rules()
    cure = "Write it (see docs/allocation.md), or correct or remove `rules` in finops.yaml."
    with reading(path, cure):
        given = read_yaml(path.read_text(encoding="utf-8-sig"))
        return Rules.model_validate(_with_tables({} if given is None else given, path))


def _with_tables(given: object, path: Path) -> object:
    """The rules with the rows of each weights file in place of its name."""
    if not isinstance(given, dict) or not isinstance(given.get("weights"), dict):
        return given
    tables = {
        name: _table(path.parent / table) if isinstance(table, str) else table
        for name, table in given["weights"].items()
    }
    return {**given, "weights": tables}


def _table(path: Path) -> list[dict[str, object]]:
    """The rows of a weights file: date, owner, weight. Raises ConfigError naming the line."""
    with reading(path, "Write it (date,owner,weight), or correct `weights` in the rules."):
        text = path.read_text(encoding="utf-8-sig")  # Excel begins a CSV file with a mark
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        if (header := next(lines, [])) != _HEADER:
            raise ConfigError(f"{path}: line 1: expected {','.join(_HEADER)}, not {header}")
        return [_row(path, lines.line_num, cells) for cells in lines if cells]
    except csv.Error as error:
        raise ConfigError(f"{path}: line {lines.line_num}: no CSV: {error}") from None


def _row(path: Path, line: int, cells: list[str]) -> dict[str, object]:
    if len(cells) != len(_HEADER):
        raise ConfigError(f"{path}: line {line}: expected {len(_HEADER)} cells, not {cells}")
    day, owner, weight = (cell.strip() for cell in cells)
    try:
        row = {"date": day, "owner": owner, "weight": Decimal(weight)}
        WeightRow.model_validate(row)
    except InvalidOperation:
        raise ConfigError(f"{path}: line {line}: weight is no number: {weight!r}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: line {line}: {explain_validation(error)}") from None
    return row
