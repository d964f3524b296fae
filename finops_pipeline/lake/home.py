"""The home folder: where the lake, the raw archive and everything else of one pipeline lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from finops_pipeline.contracts.tables import tables
from finops_pipeline.lake.archive import Archive
from finops_pipeline.lake.delta import LakeTable
from finops_pipeline.lake.place import Folder


@dataclass(frozen=True)
class Home:
    """A home folder. Nothing is made until something is written."""

    path: Path

    def table(self, name: str) -> LakeTable:
        """A table of the lake."""
        return LakeTable(self.path / "lake", tables()[name])

    @cached_property
    def archive(self) -> Archive:
        """The raw archive."""
        return Archive(Folder(self.path / "archive"))

    @property
    def spool(self) -> Path:
        """Files in the making; none is needed once nothing runs."""
        return self.path / "spool"

    @property
    def staged(self) -> Path:
        """What each report was mapped to; may be deleted, then reports are mapped again."""
        return self.path / "staged"

    @property
    def warehouse(self) -> Path:
        """The DuckDB catalogue over the lake."""
        return self.path / "warehouse.duckdb"

    @property
    def warehouse_draft(self) -> Path:
        """The catalogue in the making, which takes the place of the other when it is whole."""
        return self.path / ".warehouse.draft.duckdb"

    @property
    def outbox(self) -> Path:
        """Events and what became of them. Never delete it: it remembers what was announced."""
        return self.path / "outbox"

    def lock(self, name: str) -> Path:
        """The file that a lock of that name is taken on."""
        folder = self.path / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.lock"
