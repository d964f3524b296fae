"""One table of the lake: which files are in it, and replacing whole partitions in one commit.

The engine writes Parquet files into a partition's folder; nothing sees them until `replace`
commits their names to the Delta log. A file's name is the fingerprint of what made it, so the
log also says what each partition was made from, and making the same thing again changes nothing.
Writing the Parquet files is elsewhere (`engine/`), and so is what goes into them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import Table
from finops_pipeline.lake.place import Folder, Place

T = TypeVar("T")
Partition = tuple[str, ...]

_COMMIT_ATTEMPTS = 20


@dataclass(frozen=True, order=True)
class LakeFile:
    """A Parquet file of a table: its full partition values and its name without `.parquet`."""

    partition: Partition
    fingerprint: str


class LakeTable:
    """A Delta table in the lake: a folder, or a place in an object store."""

    def __init__(self, lake: Path | Place, table: Table) -> None:
        self.table = table
        self._place = (Folder(lake) if isinstance(lake, Path) else lake).below(table.name)

    @property
    def root(self) -> str:
        """Where the table lies: a local path or a URI."""
        return self._place.location()

    def location(self, file: LakeFile) -> str:
        """Where an engine reads the file, or would: a local path or a URI."""
        return self._place.location(self._name(file))

    def holds(self, file: LakeFile) -> bool:
        """Whether the file lies at its place, in the table or not."""
        return self._place.holds(self._name(file))

    def place(self, finished: Path, file: LakeFile) -> None:
        """Lay a finished local Parquet file where the file belongs."""
        self._place.publish(finished, self._name(file))

    def make(self, file: LakeFile, write: Callable[[Path], T]) -> T:
        """Let `write` make the Parquet file at a local path that it is given, and lay it there."""
        return self._place.make(self._name(file), write)

    def write(self, file: LakeFile, rows: pa.Table) -> LakeFile:
        """Lay a small table where the file belongs; it is not in the lake before a commit."""
        content = pa.BufferOutputStream()
        pq.write_table(rows.cast(arrow_schema(self.table)), content, compression="zstd")
        self._place.write(self._name(file), content.getvalue().to_pybytes())
        return file

    def rows(self, file: LakeFile) -> int:
        """How many rows the file holds, from its footer."""
        with self._place.open(self._name(file)) as opened:
            return int(pq.read_metadata(opened).num_rows)

    def read(self, file: LakeFile) -> pa.Table:
        """All that the file holds: for small tables."""
        with self._place.open(self._name(file)) as opened:
            return pq.read_table(opened, partitioning=None)

    def exists(self) -> bool:
        """Whether the table was ever written."""
        return bool(DeltaTable.is_deltatable(self.root, self._place.delta_options()))

    def version(self) -> int:
        """The newest version; -1 when the table was never written."""
        return int(self._delta().version()) if self.exists() else -1

    def files(
        self, *prefix: str, as_of: datetime | int | None = None, **where: Iterable[str]
    ) -> list[LakeFile]:
        """The files in the table, in order: below a partition prefix, with the given values only.

        `as_of` reads an earlier state: a time, or a version.
        """
        if not self.exists():
            return []
        delta = self._delta()
        if as_of is not None:
            if isinstance(as_of, datetime) and _before_first_version(delta, as_of):
                return []
            delta.load_as_version(as_of)
        return self._files(delta, prefix, {k: set(v) for k, v in where.items()})

    def _files(
        self, delta: DeltaTable, prefix: Partition, where: Mapping[str, set[str]]
    ) -> list[LakeFile]:
        actions = pa.table(delta.get_add_actions(flatten=True))
        columns = [
            actions.column(f"partition.{name}").cast(pa.string()).to_pylist()
            for name in self.table.partition_by
        ]
        wanted = [(self.table.partition_by.index(k), v) for k, v in where.items()]
        found = []
        for path, *values in zip(actions.column("path").to_pylist(), *columns, strict=True):
            partition = tuple(values)
            if partition[: len(prefix)] == prefix and all(partition[i] in v for i, v in wanted):
                found.append(LakeFile(partition, PurePosixPath(path).stem))
        return sorted(found)

    def replace(
        self,
        prefixes: Iterable[Partition],
        files: Iterable[LakeFile],
        note: Mapping[str, str] | None = None,
    ) -> bool:
        """Make `files` all that the partitions below `prefixes` hold, in one commit.

        Files that are in the table already stay untouched; when nothing differs there is no
        commit. Returns whether there was one. A commit that another writer overtook is tried
        again on the newer state: the two wrote different partitions, or the same bytes.
        """
        wanted = set(files)
        scopes = set(prefixes)
        for attempt in range(_COMMIT_ATTEMPTS):
            delta = self._open()
            present = set(self._files(delta, (), {}))
            replaced = {f for f in present if _within(f.partition, scopes)}
            added, removed = sorted(wanted - present), sorted(replaced - wanted)
            if not added and not removed:
                return False
            try:
                self._commit(delta, added, removed, note or {}, scopes)
            except CommitFailedError:
                if attempt == _COMMIT_ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * (attempt + 1))
            else:
                return True
        raise AssertionError("unreachable")

    def append(self, files: Iterable[LakeFile], note: Mapping[str, str] | None = None) -> bool:
        """Add files beside what the table holds. Returns whether any was new."""
        return self.replace([], files, note)

    def _open(self) -> DeltaTable:
        if not self.exists():
            DeltaTable.create(
                self.root,
                schema=arrow_schema(self.table),
                mode="ignore",
                partition_by=list(self.table.partition_by),
                name=self.table.name,
                description=self.table.description,
                storage_options=self._place.delta_options(),
            )
        return self._delta()

    def _delta(self) -> DeltaTable:
        return DeltaTable(self.root, storage_options=self._place.delta_options())

    def _commit(
        self,
        delta: DeltaTable,
        added: list[LakeFile],
        removed: list[LakeFile],
        note: Mapping[str, str],
        scopes: set[Partition],
    ) -> None:
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [self._add(f, now) for f in added]
        actions += [
            RemoveAction(
                self._name(f),
                data_change=True,
                deletion_timestamp=now,
                partition_values=self._values(f),
            )
            for f in removed
        ]
        delta.create_write_transaction(
            actions,
            mode="append",
            schema=arrow_schema(self.table),
            partition_by=list(self.table.partition_by),
            commit_properties=CommitProperties(
                custom_metadata=dict(note), app_transactions=_marks(scopes, delta.version())
            ),
        )

    def _add(self, file: LakeFile, now: int) -> AddAction:
        return AddAction(
            path=self._name(file),
            size=self._place.size(self._name(file)),
            partition_values=self._values(file),
            modification_time=now,
            data_change=True,
            stats=json.dumps({"numRecords": self.rows(file)}),
        )

    def _name(self, file: LakeFile) -> str:
        """The file's name below the table, its partition in Hive's layout."""
        folders = (
            f"{name}={quote(value, safe='')}"
            for name, value in zip(self.table.partition_by, file.partition, strict=True)
        )
        return "/".join((*folders, f"{file.fingerprint}.parquet"))

    def _values(self, file: LakeFile) -> dict[str, str | None]:
        return dict(zip(self.table.partition_by, file.partition, strict=True))


def _within(partition: Partition, scopes: set[Partition]) -> bool:
    return any(partition[:n] in scopes for n in range(len(partition) + 1))


def _marks(scopes: set[Partition], version: int) -> list[Transaction]:
    """What makes two replacements below one outermost partition conflict, so that one is redone.

    Delta sees a conflict where both remove a file, but not where both write a partition first:
    then both would stay.
    """
    outermost = sorted({partition[0] if partition else "" for partition in scopes})
    return [Transaction(f"replace {name}", version) for name in outermost]


def _before_first_version(delta: DeltaTable, moment: datetime) -> bool:
    first: int = min(entry["timestamp"] for entry in delta.history())
    return moment.timestamp() * 1000 < first
