"""A lake whose files are not what its log says: told in one way, and made again where that can be.

A disk that failed, a restore of half a backup, a hand that was too quick. Tables that are made from
the raw archive and the ledger can be made again: `mend` takes out of the log what is damaged, and
what it was part of then counts as not made. The ledger itself and the rules' history cannot.
"""

from __future__ import annotations

import re
from pathlib import Path

from finops_pipeline.lake.home import Home
from finops_pipeline.lake.place import LakeDamaged

# What tells that a day, or a month, of a table was made: the tables whose files say so.
_MADE: dict[str, tuple[str, ...]] = {
    "focus_costs": ("conservation",),
    "rejected_rows": ("conservation",),
    "superseded_rows": ("conservation",),
    "conservation": ("conservation",),
    "ownership": ("allocated_costs",),
    "shares": ("allocated_costs",),
    "allocated_costs": ("allocated_costs",),
    "daily_totals": ("daily_totals",),
    "monthly_costs": ("monthly_costs",),
    "daily_costs": ("daily_costs",),
    "budget_status": ("budget_status",),
}
# The partition columns that a table and the table above have in common.
_COMMON = ("source", "x_Source", "charge_day", "x_ChargeDay", "x_ChargeMonth")
_SHOWN = 300  # characters of what was said
_WORDS = re.compile(
    r"magic bytes|No files found|too small to be a Parquet|Failed to open local file"
    r"|No such file or directory|Invalid Parquet|TProtocolException|Couldn't deserialize thrift"
)
_FILE = re.compile(r"[^'\"\s]*/lake/(\w+)/[^'\"]*?\.parquet")
_AGAIN = (
    "`finops run --full` makes it again from the raw archive; what was known of it at earlier "
    "times may be lost"
)
_RESTORE = "It cannot be made again: restore it from a backup of the home"


def damage(said: str) -> LakeDamaged | None:
    """The error to tell if these are an engine's words of a file of the lake that is damaged."""
    file = _FILE.search(said)
    if file is None or not _WORDS.search(said):
        return None
    return damaged_file(file[0], file[1], said)


def damaged_file(file: str, table: str, said: str) -> LakeDamaged:
    """The error to tell of a file of a table that cannot be read."""
    cure = _AGAIN if table in _MADE else _RESTORE
    words = " ".join(said.split())[:_SHOWN]
    return LakeDamaged(f"{file}: this file of the lake is damaged or gone. {cure}. ({words})")


def damaged_log(root: str, said: str) -> LakeDamaged:
    """The error to tell of a table whose log cannot be read."""
    cure = "Restore the table's folder from a backup of the home"
    if Path(root).name in _MADE:
        cure += (
            ", or move it away and run `finops run --full`, which makes the table again without "
            "what was known of it at earlier times"
        )
    words = " ".join(said.split())[:_SHOWN]
    return LakeDamaged(f"{root}: the log of this table of the lake is damaged. {cure}. ({words})")


def mend(home: Home) -> list[str]:
    """Take what is damaged out of the tables that can be made again; returns what it was.

    The caller holds off runs meanwhile, and makes again what is then not made.
    """
    said = []
    for name, made_by in _MADE.items():
        table = home.table(name)
        gone = not table.exists()
        broken = table.broken()
        said += [f"{table.location(file)} is damaged or gone, and is made again" for file in broken]
        common = [i for i, column in enumerate(table.table.partition_by) if column in _COMMON]
        keys = [{file.partition[i] for i in common} for file in broken]
        for marker in (home.table(m) for m in made_by):
            files = marker.files()
            marker.forget(f for f in files if gone or any(k <= set(f.partition) for k in keys))
        table.forget(broken)
        for file in broken:
            table.remove(file)
    return said
