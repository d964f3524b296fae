"""Takes what is damaged out of the lake, so that it is made again where that can be.

Tables that are made from the raw archive and the ledger lose their damaged files, and what those
were part of then counts as not made. How damage is told, and of which tables, is in `damage.py`.
"""

from __future__ import annotations

from finops_pipeline.lake.damage import MADE
from finops_pipeline.lake.home import Home

# The partition columns that a table and the one that tells whether it was made have in common.
_COMMON = ("source", "x_Source", "charge_day", "x_ChargeDay", "x_ChargeMonth")


def mend(home: Home) -> list[str]:
    """Take what is damaged out of the tables that can be made again; returns what it was.

    The caller holds off runs meanwhile, and makes again what is then not made.
    """
    said = []
    for name, made_by in MADE.items():
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
