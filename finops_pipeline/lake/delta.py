"""One table of the lake: which files are in it, and replacing whole partitions in one commit.

The engine writes Parquet files into a partition's folder; nothing sees them until `replace`
commits their names to the Delta log. A file's name is the fingerprint of what made it, so the
log also says what each partition was made from, and making the same thing again changes nothing.
Writing the Parquet files is elsewhere (`engine/`), and so is what goes into them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from finops_pipeline.contracts.forms import arrow_schema
from finops_pipeline.contracts.tables import Table
from finops_pipeline.lake.damage import damaged_file
from finops_pipeline.lake.log import Log
from finops_pipeline.lake.place import Folder, Place

T = TypeVar("T")
Partition = tuple[str, ...]

_COMMIT_ATTEMPTS = 20
_FEW = 20  # files that are looked for one by one


class Overtaken(Exception):
    """Another run changed the same partitions since this one looked; run again to see both."""


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
        self._rows: dict[LakeFile, int] = {}
        self._most: dict[LakeFile, dict[str, int]] = {}
        self._log = Log(self._place)
        self._listing: tuple[DeltaTable, int, list[LakeFile]] | None = None  # of what is kept

    @property
    def root(self) -> str:
        """Where the table lies: a local path or a URI."""
        return self._place.location()

    @property
    def storage(self) -> Place:
        """Where the table's files lie, those of its log among them."""
        return self._place

    def location(self, file: LakeFile) -> str:
        """Where an engine reads the file, or would: a local path or a URI."""
        return self._place.location(self._name(file))

    def holds(self, file: LakeFile) -> bool:
        """Whether the file lies at its place, in the table or not."""
        return self._place.holds(self._name(file))

    def place(self, finished: Mapping[LakeFile, tuple[Path, int]]) -> None:
        """Lay finished local Parquet files where they belong; they are not in the lake yet.

        Each is given with the number of its rows.
        """
        self._rows |= {file: rows for file, (_, rows) in finished.items()}
        self._place.publish({self._name(f): path for f, (path, _) in finished.items()})

    def make(self, file: LakeFile, write: Callable[[Path], T]) -> T:
        """Let `write` make the Parquet file at a local path that it is given, and lay it there."""
        return self._place.make(self._name(file), write)

    def write(self, file: LakeFile, rows: pa.Table) -> LakeFile:
        """Lay a small table where the file belongs; it is not in the lake before a commit."""
        content = pa.BufferOutputStream()
        pq.write_table(rows.cast(arrow_schema(self.table)), content, compression="zstd")
        self._place.write(self._name(file), content.getvalue().to_pybytes())
        self._rows[file] = rows.num_rows
        self._most[file] = _most(rows)
        return file

    def rows(self, file: LakeFile) -> int:
        """How many rows the file holds, from the log or its footer."""
        if file not in self._rows:
            with self._telling(file):
                self._rows[file] = int(pq.read_metadata(self.source(file)).num_rows)
        return self._rows[file]

    def read(self, file: LakeFile) -> pa.Table:
        """All that the file holds: for small tables."""
        with self._telling(file):
            # As one file: what Arrow has for many takes a quarter of a second to import.
            shared = self._place.shared
            place = pa.BufferReader(self.content(file)) if shared else self.location(file)
            # Without Arrow's threads: one that lets go of Python's bytes as Python ends aborts it.
            return pq.ParquetFile(place, pre_buffer=False).read(use_threads=False)

    @contextmanager
    def _telling(self, file: LakeFile) -> Iterator[None]:
        """Tell of a file that cannot be read, as LakeDamaged."""
        try:
            yield
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            raise damaged_file(self.location(file), self.table.name, str(error)) from error

    def source(self, file: LakeFile) -> Any:
        """What PyArrow reads the file from, at any position."""
        return self._place.source(self._name(file))

    def content(self, file: LakeFile) -> bytes:
        """The file's bytes: for small tables."""
        return self._place.read(self._name(file))

    def exists(self) -> bool:
        """Whether the table was ever written."""
        return self._log.exists()

    def version(self) -> int:
        """The newest version; -1 when the table was never written."""
        delta = self._log.newest()
        return -1 if delta is None else int(delta.version())

    def files(
        self, *prefix: str, as_of: datetime | int | None = None, **where: Iterable[str]
    ) -> list[LakeFile]:
        """The files in the table, in order: below a partition prefix, with the given values only.

        `as_of` reads an earlier state: a time, or a version.
        """
        delta = self.at(as_of)
        if delta is None:
            return []
        return self._files(delta, prefix, {k: set(v) for k, v in where.items()})

    def committed(self, as_of: datetime | None = None) -> dict[LakeFile, datetime]:
        """The files in the table, each with the moment at which it was put there.

        What the rows of a file were made from is what other tables held at that moment.
        """
        delta = self.at(as_of)
        if delta is None:
            return {}
        actions = _actions(delta)
        times = actions.column("modification_time").cast("int64").to_pylist()
        moments = [datetime.fromtimestamp(t / 1000, UTC) for t in times]
        return dict(zip(self._listed(actions), moments, strict=True))

    def above_zero(self, columns: Sequence[str], *prefix: str) -> list[LakeFile]:
        """The files below a partition prefix that may hold more than zero in one of these columns.

        By what the log says of small files; one that it says nothing of is among them.
        """
        delta = self.at()
        if delta is None:
            return []
        actions = _actions(delta)
        told = [f"max.{c}" for c in columns]
        if not set(told) <= set(actions.column_names):
            return self._files(delta, prefix, {})
        most = zip(*(actions.column(name).to_pylist() for name in told), strict=True)
        return sorted(
            file
            for file, values in zip(self._listed(actions), most, strict=True)
            if file.partition[: len(prefix)] == prefix and any(v is None or v > 0 for v in values)
        )

    def gone(self, files: Iterable[LakeFile]) -> LakeFile | None:
        """The first of these files that lies at its place no more, whatever the log says of it."""
        if not self._place.shared:
            return next((f for f in sorted(files) if not self.holds(f)), None)
        earlier = sorted(set(files) - set(self.files()))
        if len(earlier) <= _FEW:
            return next((f for f in earlier if not self.holds(f)), None)
        there = set(self._place.names())  # costs less than as many looks
        return next((f for f in earlier if self._name(f) not in there), None)

    def broken(self) -> list[LakeFile]:
        """The files in the table that lie at their place no more, or are not as long as they were.

        What a bit changed is not seen, nor does it cost the reading of a year.
        """
        delta = self._log.newest()
        if delta is None:
            return []
        actions = _actions(delta)
        there = {found.name: found.size for found in self._place.found()}
        sizes = actions.column("size_bytes").to_pylist()
        return sorted(
            file
            for file, size in zip(self._listed(actions), sizes, strict=True)
            if there.get(self._name(file)) != size
        )

    def forget(self, files: Iterable[LakeFile]) -> bool:
        """Take these files out of the table, and no others. Returns whether there were any."""
        gone = set(files)
        partitions = {f.partition for f in gone}
        kept = [f for f in self.files() if f.partition in partitions and f not in gone]
        return bool(gone) and self.replace(partitions, kept)

    def remove(self, file: LakeFile) -> None:
        """Remove the file from its place, if it is there; it must not be in the table."""
        self._place.remove(self._name(file))
        self._rows.pop(file, None)

    def at(self, as_of: datetime | int | None = None) -> DeltaTable | None:
        """The table as it was then; None when it was not there yet. Raises ForgottenError."""
        return self._log.newest() if as_of is None else self._log.at(as_of)

    def _files(
        self, delta: DeltaTable, prefix: Partition, where: Mapping[str, set[str]]
    ) -> list[LakeFile]:
        wanted = [(self.table.partition_by.index(k), v) for k, v in where.items()]
        return [
            file
            for file in self.listed(delta)
            if file.partition[: len(prefix)] == prefix
            and all(file.partition[i] in v for i, v in wanted)
        ]

    def listed(self, delta: DeltaTable) -> list[LakeFile]:
        """Every file of a state of the table, in order."""
        known, version = self._listing, delta.version()
        if known is not None and known[0] is delta and known[1] == version:
            return known[2]
        found = sorted(self._listed(_actions(delta)))
        if self._log.keeps(delta):
            self._listing = delta, version, found
        return found

    def _listed(self, actions: pa.Table) -> list[LakeFile]:
        columns = [
            actions.column(f"partition.{name}").cast(pa.string()).to_pylist()
            for name in self.table.partition_by
        ]
        paths, counts = (actions.column(n).to_pylist() for n in ("path", "num_records"))
        found = [
            LakeFile(tuple(values), PurePosixPath(path).stem)
            for path, *values in zip(paths, *columns, strict=True)
        ]
        if self._place.shared:
            self._rows |= {f: n for f, n in zip(found, counts, strict=True) if n is not None}
        return found

    def seen(self) -> int | None:
        """The state that a run starts from, for `replace`; None where a lock lets in one run only.

        A folder has one machine's runs, and they take a lock for each source. A store may have
        several machines', and each finds out when it commits.
        """
        return self.version() if self._place.shared else None

    def replace(
        self,
        prefixes: Iterable[Partition],
        files: Iterable[LakeFile],
        note: Mapping[str, str] | None = None,
        seen: int | None = None,
    ) -> bool:
        """Make `files` all that the partitions below `prefixes` hold, in one commit.

        Files that are in the table already stay untouched; when nothing differs there is no
        commit. Returns whether there was one. A commit that another writer overtook is tried
        again on the newer state: the two wrote different partitions, or the same bytes. Raises
        Overtaken when these partitions are not what they were in the state `seen`.
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
            if seen is not None and replaced != self._at(seen, scopes):
                raise Overtaken(
                    f"{self.table.name}: another run rebuilt the same days meanwhile; its figures "
                    "stand, and the next run looks at both"
                )
            try:
                self._commit(delta, added, removed, note or {}, scopes)
            except CommitFailedError:
                if attempt == _COMMIT_ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * (attempt + 1))
            else:
                return True
        raise AssertionError("unreachable")

    def _at(self, version: int, scopes: set[Partition]) -> set[LakeFile]:
        """What the partitions held in a state that was seen."""
        known = self.files(as_of=version) if version >= 0 else []
        return {f for f in known if _within(f.partition, scopes)}

    def append(self, files: Iterable[LakeFile], note: Mapping[str, str] | None = None) -> bool:
        """Add files beside what the table holds. Returns whether any was new."""
        return self.replace([], files, note)

    def _open(self) -> DeltaTable:
        """The newest state, opened now, of a table that is made where there is none."""
        if not self.exists():
            # Who is overtaken by another maker takes its table: tried again, Delta would commit a
            # second making on top of it.
            with suppress(CommitFailedError), self._place.teaching():
                DeltaTable.create(
                    self.root,
                    schema=arrow_schema(self.table),
                    mode="ignore",
                    partition_by=list(self.table.partition_by),
                    name=self.table.name,
                    description=self.table.description,
                    storage_options=self._place.delta_options(),
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
        return self._log.open()

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
        with self._place.teaching():
            delta.create_write_transaction(
                actions,
                mode="append",
                schema=arrow_schema(self.table),
                partition_by=list(self.table.partition_by),
                commit_properties=CommitProperties(
                    custom_metadata=dict(note), app_transactions=_marks(scopes, delta.version())
                ),
                # Left to itself, Delta forgets what is 30 days old: that is `maintain`'s to do.
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )

    def _add(self, file: LakeFile, now: int) -> AddAction:
        return AddAction(
            path=self._name(file),
            size=self._place.size(self._name(file)),
            partition_values=self._values(file),
            modification_time=now,
            data_change=True,
            stats=json.dumps(
                {"numRecords": self.rows(file), "maxValues": self._most.get(file, {})}
            ),
        )

    def _name(self, file: LakeFile) -> str:
        """The file's name below the table, its partition in Hive's layout."""
        folders = (
            f"{name}={quote(value, safe='')}"
            for name, value in zip(self.table.partition_by, file.partition, strict=True)
        )
        return "/".join((*folders, f"{file.fingerprint}.parquet"))

    def named(self, name: str) -> LakeFile | None:
        """The file that has this name below the table; None where it cannot be one of its files."""
        *folders, last = name.split("/")
        keys = [folder.partition("=")[0] for folder in folders]
        if keys != list(self.table.partition_by) or not last.endswith(".parquet"):
            return None
        values = (unquote(folder.partition("=")[2]) for folder in folders)
        return LakeFile(tuple(values), last.removesuffix(".parquet"))

    def _values(self, file: LakeFile) -> dict[str, str | None]:
        return dict(zip(self.table.partition_by, file.partition, strict=True))


def _actions(delta: DeltaTable) -> pa.Table:
    """The files of the table, each with what the log says of it."""
    # Not pa.table, which would import pandas first to see whether it is given one of its frames.
    return pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=True)).read_all()


def _most(rows: pa.Table) -> dict[str, int]:
    """The largest value of each column of counts."""
    counts = (
        name for name in rows.column_names if pa.types.is_integer(rows.schema.field(name).type)
    )
    found = {name: [v for v in rows.column(name).to_pylist() if v is not None] for name in counts}
    return {name: max(values) for name, values in found.items() if values}


def _within(partition: Partition, scopes: set[Partition]) -> bool:
    return any(partition[:n] in scopes for n in range(len(partition) + 1))


def _marks(scopes: set[Partition], version: int) -> list[Transaction]:
    """What makes two replacements below one outermost partition conflict, so that one is redone.

    Delta sees a conflict where both remove a file, but not where both write a partition first:
    then both would stay.
    """
    outermost = sorted({partition[0] if partition else "" for partition in scopes})
    return [Transaction(f"replace {name}", version) for name in outermost]
