"""Reports in a directory that holds what the provider's bucket would, in its layout.

The way in for whoever copies reports by other means, and for the demo. The bucket itself is in
`oci.py`; the rules that both share are in `location.py`.

A file system does not say what a bucket says, so two things are made up here:

* `etag` is size and modification time. It changes when the content does, and listing thousands of
  files reads none of them. Touching a file or copying it again without its times changes the etag
  too, so it is a hint to look, not a proof: whoever sees a new etag fetches the file and compares
  its SHA-256, and the same content is then no new version.
* `delivered_at` is the start of the UTC day of the modification time. Within a day the times say
  in which order files were copied, not in which order the provider delivered them; the sequence
  names order the reports of a day. A time before 2010 (archives made reproducible carry 1970 or
  1980) or more than a day ahead of now says nothing, and counts as today. A day ahead is still
  believed: clocks of two machines differ, and one may be set back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.ingest.location import (
    IngestError,
    LocationUnavailable,
    RemoteReport,
    ReportChanged,
    is_report,
)
from finops_pipeline.ingest.reading import UnreadableReport, names_in

_PIECE = 1 << 20
_FIRST_TRUSTED_TIME = datetime(2010, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)
# The folder names that tell a format even where the layout above them is not the bucket's.
# `usage-csv` is Oracle's discontinued usage report: of no format that is read here.
_TELLING_FOLDERS: dict[str, str | None] = {
    "cost-csv": "oci_cost_csv",
    "FOCUS Reports": "oci_focus",
    "usage-csv": None,
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class DirectoryLocation:
    """The directory that a `file:` location names."""

    def __init__(
        self,
        source: Source,
        *,
        now: Callable[[], datetime] = _utc_now,
        passed: datetime | None = None,
    ) -> None:
        self.source_name = source.name
        self.root = Path(source.location.removeprefix("file:"))
        self._format = formats()[source.format]
        self._now = now
        self._passed = passed

    def reports(self) -> Iterator[RemoteReport]:
        """All files of the format, in name order, without opening any.

        Where the directory has the bucket's folders, those of the format are read. Where it has
        none of them, every report file below counts, except in a folder named for another format.
        """
        if not self.root.is_dir():
            raise LocationUnavailable(
                f"{self.source_name}: {self.root} is not a directory. Give the folder that holds "
                "what the bucket would, as `location: file:<directory>`."
            )
        found = (report for folder in self._folders() for report in self._reports_below(folder))
        yield from sorted(found, key=lambda report: report.name)

    def has_layout(self) -> bool:
        """Whether any of the bucket's own folders is there, of whichever format."""
        return any((self.root / p).is_dir() for form in formats().values() for p in form.folders)

    def content_of(self, report: RemoteReport) -> str:
        """The format that the file's columns tell, or in words why they tell none."""
        try:
            header = " ".join(names_in(self.root / report.name))
        except (OSError, UnreadableReport) as error:
            return f"cannot be read: {type(error).__name__}"
        words = ((f.name, f.header_word) for f in formats().values() if f.header_word)
        return next((name for name, word in words if word in header), "unknown columns")

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The file's bytes. Raises ReportChanged if it is changed before or while it is read."""
        try:
            descriptor = os.open(self.root / report.name, os.O_RDONLY)
        except FileNotFoundError:
            raise self._changed(report, "is gone") from None
        except OSError as error:
            raise self._unreadable(self.root / report.name, error) from error
        try:
            yield self._pieces(descriptor, report)
        finally:
            os.close(descriptor)

    def _folders(self) -> list[Path]:
        if not self._format.folders or not self.has_layout():
            return [self.root]
        own = [self.root / prefix for prefix in self._format.folders]
        return [folder for folder in own if folder.is_dir()]

    def _reports_below(self, folder: Path) -> Iterator[RemoteReport]:
        flat = folder == self.root
        # os.walk passes over a folder that it cannot list unless it is given an onerror; links to
        # folders are not followed, because they may lead in circles. Links to files are.
        for here, folders, files in os.walk(folder, onerror=self._cannot_list):
            folders[:] = [f for f in folders if _is_visible(f) and not (flat and self._foreign(f))]
            for file in files:
                if _is_visible(file) and is_report(self._format, file):
                    yield from self._report(Path(here) / file)

    def _foreign(self, folder: str) -> bool:
        return _TELLING_FOLDERS.get(folder, self._format.name) != self._format.name

    def _report(self, path: Path) -> Iterator[RemoteReport]:
        try:
            found = path.stat()
        except FileNotFoundError as error:
            if path.is_symlink():
                raise self._unreadable(path, error) from error
            return  # Removed since the folder was listed: then it is not there, and that is all.
        except OSError as error:
            raise self._unreadable(path, error) from error
        if stat.S_ISREG(found.st_mode):
            yield RemoteReport(
                name=self._name(path),
                etag=_etag(found),
                size=found.st_size,
                md5=None,
                delivered_at=self._delivery_day(found.st_mtime),
            )

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix()
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise IngestError(
                f"{self.source_name}: the file name {name!a} below {self.root} is not UTF-8. "
                "Rename the file."
            ) from None
        return name

    def _delivery_day(self, modified: float) -> datetime:
        now = self._now() if self._passed is None else max(self._now(), self._passed)
        if not _FIRST_TRUSTED_TIME.timestamp() <= modified <= (now + _AHEAD).timestamp():
            modified = now.timestamp()
        moment = datetime.fromtimestamp(modified, UTC)
        return moment.replace(hour=0, minute=0, second=0, microsecond=0)

    def _pieces(self, descriptor: int, report: RemoteReport) -> Iterator[bytes]:
        self._require_unchanged(descriptor, report)
        try:
            while piece := os.read(descriptor, _PIECE):
                yield piece
        except OSError as error:
            raise self._unreadable(self.root / report.name, error) from error
        # Again, because whoever copies files in may write into one that is being read.
        self._require_unchanged(descriptor, report)

    def _require_unchanged(self, descriptor: int, report: RemoteReport) -> None:
        if _etag(os.fstat(descriptor)) != report.etag:
            raise self._changed(report, "was written to")

    def _changed(self, report: RemoteReport, what: str) -> ReportChanged:
        return ReportChanged(
            f"{self.source_name}: {report.name} {what} since it was listed (expected size-mtime "
            f"{report.etag}). Run again when the copying into {self.root} is done."
        )

    def _cannot_list(self, error: OSError) -> None:
        raise self._unreadable(Path(error.filename), error) from error

    def _unreadable(self, path: Path, error: OSError) -> LocationUnavailable:
        return LocationUnavailable(
            f"{self.source_name}: {path} cannot be read: {error.strerror}. Every report must be "
            "readable, or its cost would be missing: mend it or take it away."
        )


def _etag(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _is_visible(name: str) -> bool:
    # `.part` and `.tmp` need no rule of their own: only names that end in .csv or .csv.gz count.
    return not name.startswith(".")
