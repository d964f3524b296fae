"""The home: where the lake, the raw archive and everything else of one pipeline lie.

A home is a folder, or a prefix of an object store beside a work folder on this machine. The work
folder has nothing that cannot be made again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from finops_pipeline.contracts.tables import tables
from finops_pipeline.lake.archive import Archive
from finops_pipeline.lake.delta import LakeTable
from finops_pipeline.lake.place import Folder, Place


@dataclass(frozen=True)
class Home:
    """A home. Nothing is made until something is written.

    `path` is the home folder; for a home in an object store, whose address is `url`, it is the
    work folder.
    """

    path: Path
    url: str | None = None
    _tables: dict[str, LakeTable] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def place(self) -> Place:
        """Where what lasts is kept. Raises StoreRefused."""
        if self.url is None:
            return Folder(self.path)
        try:
            from finops_pipeline.lake.bucket import Bucket
            from finops_pipeline.lake.objects import ObjectPlace
        except ImportError as error:
            from finops_pipeline.lake.place import StoreRefused

            raise StoreRefused(
                f"{self.url}: a home in an object store needs more packages ({error}): "
                "pip install 'finops-pipeline[objects]'"
            ) from None
        bucket = Bucket(self.url, self.spool)
        bucket.check()
        return ObjectPlace(bucket)

    @property
    def address(self) -> str:
        """The home as people know it."""
        return self.url or str(self.path)

    def table(self, name: str) -> LakeTable:
        """A table of the lake."""
        if name not in self._tables:
            self._tables[name] = LakeTable(self.place.below("lake"), tables()[name])
        return self._tables[name]

    @cached_property
    def archive(self) -> Archive:
        """The raw archive."""
        return Archive(self.place.below("archive"))

    @property
    def filesystem(self) -> Any:
        """What an engine reads the lake through; None where it reads files by itself."""
        return self.place.filesystem()

    @property
    def spool(self) -> Path:
        """Files in the making; none is needed once nothing runs."""
        return self.path / "spool"

    @property
    def staged(self) -> Path:
        """What each report was mapped to; may be deleted, then reports are mapped again."""
        return self.path / "staged"

    @property
    def compiled(self) -> Path:
        """What was made from expressions; may be deleted, then it is made again."""
        return self.path / "compiled"

    @property
    def warehouse(self) -> Path:
        """The DuckDB catalogue over the lake."""
        return self.path / "warehouse.duckdb"

    @property
    def warehouse_draft(self) -> Path:
        """The catalogue in the making, which takes the place of the other when it is whole."""
        return self.path / ".warehouse.draft.duckdb"

    @property
    def outbox(self) -> Place:
        """Events and what became of them. Never delete it: it remembers what was announced."""
        return self.place.below("outbox")

    def lock(self, name: str) -> Path:
        """The file that a lock of that name is taken on: it holds for this machine."""
        folder = self.path / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.lock"
