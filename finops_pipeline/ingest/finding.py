"""What a look at one thing found: what every diagnosis is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what it is, whether it is well, what was seen, and what to do if not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
