"""The reference of all tables as Markdown: `python -m finops_pipeline.contracts.reference`.

Made from the same description as the tables themselves; a test holds `docs/tables.md` against it.
"""

from __future__ import annotations

from finops_pipeline.contracts.tables import Column, Table, tables


def reference() -> str:
    """Every table, its partitions and its columns."""
    parts = [
        "# Tables",
        "",
        "Every table of the lake, as Delta below `lake/` and as a view in `warehouse.duckdb`.",
        "Made by `python -m finops_pipeline.contracts.reference`.",
    ]
    for table in tables().values():
        parts += ["", *_table(table)]
    return "\n".join(parts) + "\n"


def _table(table: Table) -> list[str]:
    return [
        f"## {table.name}",
        "",
        f"{table.description} Partitions: {', '.join(f'`{c}`' for c in table.partition_by)}.",
        "",
        "| column | type | null | meaning |",
        "|---|---|---|---|",
        *(_row(c) for c in table.columns),
    ]


def _row(column: Column) -> str:
    meaning = column.description.replace("|", "\\|")
    if column.allowed:
        meaning += " One of: " + ", ".join(column.allowed) + "."
    return f"| {column.name} | {column.type} | {'yes' if column.nullable else 'no'} | {meaning} |"


if __name__ == "__main__":
    print(reference(), end="")
