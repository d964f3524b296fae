"""The catalogue: `warehouse.duckdb`, a view for each table of the lake, a comment for each column.

Any SQL client that speaks DuckDB opens it. A view names the Parquet files that are in the table
now, so a file that was written and never committed is not seen; it is made anew after each run.
Where the home is in an object store, the views of the daily totals and the books name copies beside
the catalogue; the others name the objects, which a client reads with DuckDB's httpfs extension.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import duckdb

from finops_pipeline.contracts.tables import Table, tables
from finops_pipeline.durable import make_folder, publish, write_whole
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

_COPIED = ("budget_status", "conservation", "daily_totals")
_LEAST = 1 << 20  # bytes that a catalogue takes at least
_KEPT_FOR = 7 * 86_400  # seconds: a client may have an older catalogue open
_FILE = re.compile(r"'(?:[^']|'')*\.parquet'")  # a path in a view's text


def refresh_catalogue(home: Home, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Point every view at the files that its table holds now; returns the files by table."""
    found = {}
    if home.filesystem is not None:
        connection.register_filesystem(home.filesystem)
        _copy(home)
    connection.execute("BEGIN")
    for name, table in tables().items():
        paths = _paths(home, name)
        if paths:
            connection.execute(_view(table, paths))
            for comment in _comments(table):
                connection.execute(comment)
        else:
            connection.execute(f"DROP VIEW IF EXISTS {name}")
        found[name] = len(paths)
    connection.execute("COMMIT")
    return found


def begin_catalogue(home: Home) -> None:
    """Make room for a new catalogue: what a run that died left of one is removed.

    Raises OSError where the disk is full: whoever opens a database there would try for minutes.
    """
    make_folder(home.warehouse_draft.parent)
    try:
        home.warehouse_draft.write_bytes(bytes(_LEAST))
    finally:
        for left in (home.warehouse_draft, home.warehouse_draft.with_suffix(".duckdb.wal")):
            left.unlink(missing_ok=True)


def publish_catalogue(home: Home) -> None:
    """Put the new catalogue in the place of the old.

    DuckDB locks a file that a client has open, so the old one cannot be written to; a client that
    has it open keeps what it sees until it opens it again.
    """
    publish(home.warehouse_draft, home.warehouse)


def catalogue_is_current(home: Home) -> bool:
    """Whether the views name the files that their tables hold now. Opens no file of the lake."""
    wanted = {name: {_text(p) for p in paths} for name in tables() if (paths := _paths(home, name))}
    if not home.warehouse.exists():
        return not wanted
    try:
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            views = connection.execute("SELECT view_name, sql FROM duckdb_views()").fetchall()
    except duckdb.Error:  # held by another program, or damaged: making it anew will tell
        return False
    shown = {name: set(_FILE.findall(sql)) for name, sql in views if name in tables()}
    return shown == wanted


def _paths(home: Home, name: str) -> list[str]:
    table = home.table(name)
    if home.url is not None and name in _COPIED:
        return [str(_copied(home, name, f)) for f in table.files()]
    return [table.location(f) for f in table.files()]


def _copied(home: Home, name: str, file: LakeFile) -> Path:
    partition = hashlib.sha256(repr(file.partition).encode()).hexdigest()[:8]
    return home.path / "catalogue" / name / f"{partition}-{file.fingerprint}.parquet"


def _copy(home: Home) -> None:
    """Bring the small tables beside the catalogue; remove copies that long nobody needs."""
    for name in _COPIED:
        table = home.table(name)
        wanted = {_copied(home, name, f): f for f in table.files()}
        folder = home.path / "catalogue" / name
        make_folder(folder)
        for path, file in wanted.items():
            if not path.exists():
                write_whole(path, table.content(file))
        for path in set(folder.glob("*.parquet")) - wanted.keys():
            if time.time() - path.stat().st_mtime > _KEPT_FOR:
                path.unlink()


def _view(table: Table, paths: list[str]) -> str:
    files = ", ".join(_text(p) for p in paths)
    columns = ", ".join(f'"{c}"' for c in table.names)
    return (
        f"CREATE OR REPLACE VIEW {table.name} AS SELECT {columns} "
        f"FROM read_parquet([{files}], hive_partitioning = false)"
    )


def _comments(table: Table) -> list[str]:
    return [
        f"COMMENT ON VIEW {table.name} IS {_text(table.description)}",
        *(
            f'COMMENT ON COLUMN {table.name}."{c.name}" IS {_text(c.description)}'
            for c in table.columns
        ),
    ]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
