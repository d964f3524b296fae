"""Reading a report that is not well-formed CSV everywhere: the good rows, and each bad one.

Only a report that the engine refuses comes here. Its records are read one by one; a record that
is too long, not UTF-8 or of the wrong width is set aside with its reason, all others are written
to a clean file with their original row numbers. So one broken row costs one row, not a report: a
quote that is never closed does not swallow the rows after it.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from finops_pipeline.ingest.rows import GZIP_ERRORS, LONGEST_LINE, CutOffError, open_text

_SHOWN = 200  # characters of a bad value that are kept
_LINE_END = "\r\n"
_MARK = b"\xef\xbb\xbf"  # a byte-order mark
_CLOSING_QUOTE = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_FIELD = rf'(?:{_QUOTED.pattern}|[^",\r\n]*+)'
_WHOLE = re.compile(rf"{_FIELD}(?:,{_FIELD})*+")  # a record without a stray quote


@dataclass(frozen=True)
class BadRow:
    """A record that is no row: its number (1 is the first after the header) and what is wrong.

    `fields` are its fields where they can be told apart, for the control totals; else empty.
    """

    row: int
    column: str
    value: str
    reason: str
    fields: tuple[str, ...]


def salvage(path: Path, width: int, clean: Path) -> list[BadRow]:
    """Write the good records of a report to `clean`, each with its row number; return the bad.

    The header is written as it is with one more field. Raises CutOffError.
    """
    bad = []
    with clean.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow([f"c{i}" for i in range(width + 1)])
        for row, record in enumerate(records(path, width), 1):
            parsed = _parse(row, record, width)
            if isinstance(parsed, BadRow):
                bad.append(parsed)
            else:
                writer.writerow([*parsed, row])
    return bad


def records(path: Path, width: int) -> Iterator[bytes]:
    """The report's records after the header, as they stand. Raises CutOffError."""
    with open_text(path) as source:
        lines = _Lines(source)
        _header(lines)
        yield from _records(lines, width)


def read_names(path: Path) -> tuple[list[str], bool]:
    """The report's column names: its first record; empty when it has none. Raises CutOffError.

    Beside them, whether they stand where the engine looks for them: on the first line, alone. It
    passes over a line by its quotes, so with a misplaced one it would pass over all rows.
    """
    with open_text(path) as source:
        header, plain = _header(_Lines(source))
    text = header.decode("utf-8", errors="replace")
    return (_fields(text) or [[]])[0], plain and _is_well_quoted(text)


class _Lines:
    """A report's lines, whichever line ends it has; a line that was read can be put back.

    Bytes are given as characters of the same number, so that lines end where they end in text. A
    line longer than the longest line is cut at that length.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._text = io.TextIOWrapper(source, encoding="latin-1", newline="")
        self._back: deque[str] = deque()

    def put_back(self, lines: list[str]) -> None:
        """Let these lines come next, again."""
        self._back.extendleft(reversed(lines))

    def next(self) -> str:
        """The next line with its end; empty when there is none. Raises CutOffError."""
        if self._back:
            return self._back.popleft()
        try:
            line = self._text.readline(LONGEST_LINE + 1)
            piece = line
            while len(piece) > LONGEST_LINE and not piece.endswith(("\r", "\n")):
                piece = self._text.readline(LONGEST_LINE + 1)
        except GZIP_ERRORS as error:
            raise CutOffError(str(error)) from error
        return line


def _header(lines: _Lines) -> tuple[bytes, bool]:
    """The first record, and whether it is the first line and no more."""
    plain = True
    while line := lines.next():
        if not (text := line.removeprefix(_MARK.decode("latin-1"))).strip(_LINE_END):
            plain = False
            continue
        if text != line and (name := _QUOTED.match(text)) and "," in name.group():
            plain = False  # after a byte-order mark the engine does not see the quote
        size = len(text)
        record = [text]
        is_open = _is_open(text, False)
        while is_open and size <= LONGEST_LINE and (line := lines.next()):
            plain = False
            size += len(line)
            record.append(line)
            is_open = _is_open(line, True)
        return "".join(record).rstrip(_LINE_END).encode("latin-1"), plain
    return b"", plain


def _records(lines: _Lines, width: int) -> Iterator[bytes]:
    """The records after the header as bytes; a line break inside quotes does not end one.

    Blank lines are none. A record of several lines with a mistake in its quotes ends where a line
    follows that has as many commas as a row: so a quote that is not closed costs its own row only.
    Without a mistake it is one record, whatever its width: cut in two, the quotes of its second
    half would be taken for the opening ones of the rows after it. A record longer than the longest
    line is given cut near that length.
    """
    while line := lines.next():
        if not line.strip(_LINE_END):
            continue
        record = [line]
        if len(line) <= LONGEST_LINE and _is_open(line, False):
            record += _continued(lines, line, width)
        yield "".join(record).rstrip(_LINE_END).encode("latin-1")


def _continued(lines: _Lines, first: str, width: int) -> list[str]:
    """The further lines of a record that ends inside quotes on its first line."""
    further: list[str] = []
    size = len(first)
    while line := lines.next():
        size += len(line)
        if size > LONGEST_LINE:
            lines.put_back([line])
            break
        further.append(line)
        if not _is_open(line, True):
            record = "".join([first, *further]).rstrip(_LINE_END)
            if _WHOLE.fullmatch(record) or _is_row(record, width):
                return further
            break
    for i, line in enumerate(further):
        if line.count(",") >= width - 1:
            lines.put_back(further[i:])
            return further[:i]
    if size > LONGEST_LINE:
        further.append(_skip(lines, width))
    return further


def _skip(lines: _Lines, width: int) -> str:
    """Pass over the rest of a record that is too long; what is given makes it too long."""
    while line := lines.next():
        if line.count(",") >= width - 1:
            lines.put_back([line])
            break
        if not _is_open(line, True):
            break
    return " " * LONGEST_LINE


def _is_open(line: str, is_open: bool) -> bool:
    """Whether a line ends inside quotes, when it begins inside (or outside) of them.

    As the csv module reads: a quote opens at the start of a field only.
    """
    position = 0
    while True:
        if is_open:
            closing = _CLOSING_QUOTE.match(line, position)
            if closing is None:
                return True
            is_open, position = False, closing.end()
        elif position == 0 and line.startswith('"'):
            is_open, position = True, 1
        else:
            position = line.find(',"', position) + 2
            if position == 1:
                return False
            is_open = True


def _is_well_quoted(text: str) -> bool:
    """Whether every quote of a record is closed, and nothing follows a closing one."""
    try:
        _fields(text, strict=True)
    except csv.Error:
        return False
    return True


def _is_row(text: str, width: int) -> bool:
    """Whether lines are one row; a quote may stand within a field."""
    if not _is_well_quoted(text):
        return False
    found = _fields(text)
    return len(found) == 1 and len(_without_surplus(found[0], width)) == width


def _without_surplus(fields: list[str], width: int) -> list[str]:
    """Fields without the empty ones after the last column, which the engine passes over too."""
    while len(fields) > width and not fields[-1]:
        fields = fields[:-1]
    return fields


def _parse(row: int, record: bytes, width: int) -> list[str] | BadRow:
    shown = record[:_SHOWN].decode("utf-8", errors="replace")
    if len(record) > LONGEST_LINE:
        reason = f"the row is longer than {LONGEST_LINE:,} bytes"
        return BadRow(row, "(whole row)", shown, reason, ())
    if _is_open(record.decode("latin-1"), False):
        reason = "a quote is opened and not closed"
        return BadRow(row, "(whole row)", shown, reason, ())
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        found = [_without_surplus(f, width) for f in _fields(record.decode(errors="replace"))]
        broken = record[max(0, error.start - 20) : error.end + 20]
        return BadRow(
            row,
            "(whole row)",
            broken.decode("utf-8", errors="backslashreplace"),
            f"byte {error.start + 1} of the row is not UTF-8",
            tuple(found[0]) if len(found) == 1 and len(found[0]) == width else (),
        )
    found = _fields(text)
    fields = found[0] if len(found) == 1 else [field for part in found for field in part]
    fields = _without_surplus(fields, width)
    if len(fields) != width or len(found) != 1:
        reason = f"the row has {len(fields)} fields; the header has {width}"
        return BadRow(row, "(whole row)", shown, reason, ())
    return fields


def _fields(text: str, strict: bool = False) -> list[list[str]]:
    """A record's fields; more than one list when it is more than one record after all."""
    csv.field_size_limit(LONGEST_LINE * 4)
    return list(csv.reader(io.StringIO(text, newline=""), strict=strict))
