"""Report files: gzip of CRLF lines, split at a number of rows, dated by their delivery.

Bytes depend on the lines alone: no file name or time stands in the gzip header.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from finops_pipeline.demo.truth import FileTruth

Format = Literal["cost", "focus"]

_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_FIRST_SEQUENCE = 1_000_001_234_567


class Names:
    """Where the next report of a format goes; sequence numbers rise, with gaps."""

    def __init__(self, format_: Format) -> None:
        self._format = format_
        self._sequence = _FIRST_SEQUENCE

    def next(self, day: date) -> str:
        """The path, without part and suffix, for rows of a charge day (FOCUS) or any (cost)."""
        sequence, self._sequence = self._sequence, self._sequence + 1 + self._sequence % 37
        if self._format == "focus":
            return f"FOCUS Reports/{day:%Y/%m/%d}/{sequence:016d}"
        return f"reports/cost-csv/{sequence:016d}"


class Report:
    """One report, in as many parts as its rows need. Parts are written one after the other."""

    def __init__(
        self,
        folder: Path,
        name: str,
        format_: Format,
        delivered_at: datetime,
        header: bytes,
        split_rows: int,
    ) -> None:
        self._folder = folder
        self._name = name
        self._format: Format = format_
        self._delivered_at = delivered_at
        self._header = header
        self._split_rows = split_rows
        self._part: _Part | None = None
        self.files: list[FileTruth] = []

    def write(self, pieces: list[bytes], rows: int) -> None:
        """Append rows, given as equally many pieces each."""
        width = len(pieces) // rows if rows else 0
        done = 0
        while done < rows:
            part = self._open()
            take = min(rows - done, self._split_rows - part.rows)
            part.write(b"".join(pieces[done * width : (done + take) * width]), take)
            done += take
            if part.rows == self._split_rows:
                self.close()

    def close(self) -> None:
        """End the part that is being written."""
        if self._part is None:
            return
        part, self._part = self._part, None
        part.close(self._delivered_at)
        self.files.append(
            FileTruth(
                path=part.path.relative_to(self._folder).as_posix(),
                format=self._format,
                rows=part.rows,
                delivered_at=self._delivered_at,
            )
        )

    def _open(self) -> _Part:
        if self._part is None:
            number = len(self.files) + 1
            path = self._folder / f"{self._name}-{number:05d}.csv.gz"
            self._part = _Part(path, self._header)
        return self._part


class _Part:
    """One gzip file."""

    def __init__(self, path: Path, header: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows = 0
        self._file: BinaryIO = path.open("wb")
        self._gzip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self.write(header, 0)

    def write(self, text: bytes, rows: int) -> None:
        self._file.write(self._gzip.compress(text))
        self.rows += rows

    def close(self, delivered_at: datetime) -> None:
        self._file.write(self._gzip.flush())
        self._file.close()
        stamp = int(delivered_at.timestamp())
        os.utime(self.path, (stamp, stamp))


class Delivered:
    """The reports of one format in one delivery: one in all (cost) or one a charge day (FOCUS)."""

    def __init__(self, format_: Format, open_report: Callable[[date], Report]) -> None:
        self._by_day = format_ == "focus"
        self._open_report = open_report
        self._reports: dict[date | None, Report] = {}

    def report(self, day: date) -> Report:
        """The report that rows of a charge day go to."""
        key = day if self._by_day else None
        if key not in self._reports:
            self._reports[key] = self._open_report(day)
        return self._reports[key]

    def files(self) -> Iterator[FileTruth]:
        """Every file written, in the order of the reports."""
        for report in self._reports.values():
            yield from report.files

    def __enter__(self) -> Delivered:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for report in self._reports.values():
            report.close()
