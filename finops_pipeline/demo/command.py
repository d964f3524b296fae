"""`finops demo`: a made company below the home folder, made once.

The company itself is made in `company.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from finops_pipeline.demo.company import make_company

_MADE_WITH = "demo.json"

# A long demo begins earlier instead of running into the future, where no charge can be. By fixed
# days and not by the clock: the same command makes the same demo on any day.
_FIRST_DAY = date(2026, 8, 1)
_END = date(2026, 10, 31)


class DemoError(Exception):
    """The demo cannot be made there; the message says why and what to do."""


def make_demo(
    home: Path, *, days: int, rows: int, progress: Callable[[int, int], None]
) -> tuple[Path, bool]:
    """Make the demo company below `home`; returns its finops.yaml, and whether it was made now.

    Made beside and renamed, so that a demo that was stopped half-way is made again. Raises
    DemoError when one of another size is there, or something else, or nothing can be written.
    """
    folder = home / "demo"
    wanted = {"days": days, "rows": rows}
    if folder.exists():
        _require_same(folder, wanted)
        return folder / "finops.yaml", False
    partial = home / "demo.part"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise DemoError(
            f"{home} cannot be written to ({error.strerror}); put the demo elsewhere with --home"
        ) from None
    make_company(
        partial,
        days=days,
        rows=rows,
        first_day=min(_FIRST_DAY, _END - timedelta(days=days)),
        progress=progress,
        home="..",
    )
    (partial / _MADE_WITH).write_text(json.dumps(wanted), encoding="utf-8")
    partial.rename(folder)
    return folder / "finops.yaml", True


def _require_same(folder: Path, wanted: dict[str, int]) -> None:
    cure = f"remove {folder.parent}, or put this one elsewhere with --home"
    try:
        made_with = json.loads((folder / _MADE_WITH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DemoError(
            f"{folder} is not a demo that was made here; move it away, or put this one elsewhere "
            "with --home"
        ) from None
    if made_with != wanted:
        raise DemoError(
            f"{folder} holds a demo of {made_with['days']} days and {made_with['rows']:,} "
            f"rows; {cure}"
        )
