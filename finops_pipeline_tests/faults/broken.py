"""The pipeline's own safeguards, each broken on purpose, and a process that dies in the gap.

Whoever breaks one gets a function to call between the two halves that belong together. A harness
that finds nothing then is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from finops_pipeline.actuate.outbox import Outbox
from finops_pipeline.actuate.run import Actuate
from finops_pipeline.ingest.ledger import Ledger
from finops_pipeline.lake.archive import Archive
from finops_pipeline.lake.delta import LakeFile, LakeTable
from finops_pipeline.lake.place import Folder
from finops_pipeline.normalize import run as normalize
from finops_pipeline.normalize.stage import Stager

Gap = Callable[[], None]


def commit_before_the_files(gap: Gap) -> None:
    """Charge files get their place only after the commit that names them."""
    replace = LakeTable.replace
    late: list[tuple[Path, Path]] = []

    def replaced(self: LakeTable, *arguments: Any, **options: Any) -> bool:
        done = replace(self, *arguments, **options)
        if self.table.name == "allocated_costs":
            gap()
            for aside, place in late:
                aside.rename(place)
        return done

    add = LakeTable._add

    def added(self: LakeTable, file: LakeFile, now: int) -> Any:
        action = add(self, file, now)
        if self.table.name == "allocated_costs":
            place = Path(self.location(file))
            aside = place.with_suffix(".late")
            place.rename(aside)
            late.append((aside, place))
        return action

    LakeTable._add, LakeTable.replace = added, replaced  # type: ignore[method-assign, assignment]


def note_before_the_files(gap: Gap) -> None:
    """A report counts as staged before its files lie there, and the note is believed."""
    write_note, publish = Stager._write_note, Folder.publish
    waiting: list[tuple[Folder, Mapping[str, Path]]] = []

    def published(self: Folder, finished: Mapping[str, Path], lasting: bool = False) -> None:
        if lasting:
            publish(self, finished, lasting)
        else:
            waiting.append((self, finished))

    def noted(self: Stager, *arguments: Any) -> None:
        write_note(self, *arguments)
        gap()
        while waiting:
            publish(*waiting.pop())

    Stager._write_note, Folder.publish = noted, published  # type: ignore[method-assign]
    LakeTable.holds = lambda *_: True  # type: ignore[method-assign]


def ledger_before_the_archive(gap: Gap) -> None:
    """Reports become known before their bytes are kept."""
    keep, record = Archive.keep, Ledger.record
    kept: list[tuple[Path, Path]] = []

    def late(self: Archive, fetched: Path, *names: str) -> str:
        place = keep(self, fetched, *names)
        with self.local(place) as path:
            kept.append((path, path.with_suffix(".late")))
        return place

    def recorded(self: Ledger, entries: Iterable[Any]) -> None:
        for path, aside in kept:
            path.rename(aside)
        record(self, entries)
        gap()
        for path, aside in kept:
            aside.rename(path)

    Archive.keep, Ledger.record = late, recorded  # type: ignore[method-assign]


def two_commits_for_one(gap: Gap) -> None:
    """New files are added in one commit, and the old ones removed in another."""
    commit = LakeTable._commit

    def halved(self: LakeTable, delta: Any, added: Any, removed: Any, *more: Any) -> None:
        commit(self, delta, added, [], *more)
        if added and removed:
            gap()
        if removed:
            commit(self, self._delta(), [], removed, *more)

    LakeTable._commit = halved  # type: ignore[method-assign]


def books_first(gap: Gap) -> None:
    """The books of a day are committed before its charges."""
    normalize._TABLES = tuple(sorted(normalize._TABLES))  # type: ignore[assignment]
    assert normalize._TABLES[0] == "conservation"
    replace = LakeTable.replace

    def replaced(self: LakeTable, *arguments: Any, **options: Any) -> bool:
        done = replace(self, *arguments, **options)
        if self.table.name == "conservation":
            gap()
        return done

    LakeTable.replace = replaced  # type: ignore[method-assign, assignment]


def status_before_the_events(gap: Gap) -> None:
    """Budgets count as worked out before their events are recorded."""
    record, commit = Outbox.record, Actuate._commit
    waiting: list[tuple[Outbox, list[Any]]] = []

    def recorded(self: Outbox, events: Iterable[Any]) -> int:
        waiting.append((self, list(events)))
        return 0

    def committed(self: Actuate, statuses: Any) -> None:
        commit(self, statuses)
        gap()
        for outbox, events in waiting:
            record(outbox, events)

    Outbox.record, Actuate._commit = recorded, committed  # type: ignore[method-assign]


def event_sent_twice(gap: Gap) -> None:
    """What was sent is not remembered, and the file's own memory is gone."""
    from finops_pipeline.actuate import sinks

    sinks._holds = lambda *_: False
    Folder.mark = lambda *_: gap()  # type: ignore[method-assign]


# Each with words of what must be noticed, by the reader at the kill or by the comparison later.
BROKEN: dict[Callable[[Gap], None], str] = {
    commit_before_the_files: "allocated_costs: ",
    note_before_the_files: "the run after the kill ended with 1",
    ledger_before_the_archive: "the run after the kill ended with 1",
    two_commits_for_one: "neither old nor new",
    books_first: "focus_costs: ",
    status_before_the_events: "outbox/",
    event_sent_twice: "events.jsonl: ",
}
