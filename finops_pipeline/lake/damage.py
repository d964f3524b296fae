"""A lake whose files are not what its log says, told in one way, with what can be done.

A disk that failed, a restore of half a backup, a hand that was too quick. Tables that are made from
the raw archive and the ledger can be made again (`mend.py`). The ledger itself and the rules'
history cannot.
"""

from __future__ import annotations

import re
from pathlib import Path

from finops_pipeline.lake.place import LakeDamaged

# What tells that a day, or a month, of a table was made: the tables whose files say so.
MADE: dict[str, tuple[str, ...]] = {
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
    cure = _AGAIN if table in MADE else _RESTORE
    words = " ".join(said.split())[:_SHOWN]
    return LakeDamaged(f"{file}: this file of the lake is damaged or gone. {cure}. ({words})")


def damaged_log(root: str, said: str) -> LakeDamaged:
    """The error to tell of a table whose log cannot be read."""
    cure = "Restore the table's folder from a backup of the home"
    if Path(root).name in MADE:
        cure += (
            ", or move it away and run `finops run --full`, which makes the table again without "
            "what was known of it at earlier times"
        )
    words = " ".join(said.split())[:_SHOWN]
    return LakeDamaged(f"{root}: the log of this table of the lake is damaged. {cure}. ({words})")
