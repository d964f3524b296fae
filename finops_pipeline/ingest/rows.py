"""The rows of a well-formed CSV report as columns of text, a stretch of the file at a time.

What is not well-formed is refused and not guessed at: then `salvage.py` reads the report record by
record. Both number the rows alike, from 1 after the header, blank lines not counted.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
from isal import igzip, isal_zlib

LONGEST_LINE = 2 * 1024 * 1024  # bytes of a record; a longer one is rejected, see salvage.py
ROW = "report_row"
# Of what stands within a row and is a row of its own, the nth has the number of that row plus n
# times this: no report has as many rows.
WITHIN = 10**12

# A record that is longer may be refused, and above twice as much it always is.
_STRETCH = LONGEST_LINE // 2

_QUOTE, _RETURN, _FEED = b'"\r\n'
_BESIDE = np.zeros(256, bool)  # what may stand outside of a quote: the end of a field, or a quote
_BESIDE[[ord(c) for c in ',\r\n"']] = True
_ASTRAY = "a quote stands within a field, or something follows a closing one"
_MARK = b"\xef\xbb\xbf"  # a byte-order mark
_TEXT = pa.string()
_CODES = pa.dictionary(pa.int32(), _TEXT)


def row_text(number: int) -> str:
    """A row's number for people: `7`, or `7.2` for the second of what stands within row 7."""
    within, row = divmod(number, WITHIN)
    return f"{row}.{within}" if within else str(row)


class NotWellFormedError(Exception):
    """A report that is no well-formed CSV somewhere, or none that may be read in one go."""


class CutOffError(Exception):
    """A compressed report whose end is missing or damaged."""


def is_gzip(path: Path) -> bool:
    """Whether a file starts as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_text(path: Path) -> BinaryIO:
    """The report's text as bytes, decompressed. Reading it may raise an error of GZIP_ERRORS."""
    gunzip: Callable[[Path], BinaryIO] = igzip.open
    return gunzip(path) if is_gzip(path) else path.open("rb")


# Also where the bytes were changed: gzip keeps a check sum.
GZIP_ERRORS: tuple[type[Exception], ...] = (
    EOFError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    igzip.BadGzipFile,
)


def read_rows(
    path: Path,
    width: int,
    columns: Mapping[str, int | None],
    unlike: Collection[str] = (),
    clean: bool = False,
    null_words: Collection[str] = (),
) -> Iterator[pa.Table]:
    """The rows after the first line: `columns` by position as text, and `report_row`.

    Empty text and `null_words` are null, and so is a column without position. Columns come as
    dictionaries, but for those in `unlike`, whose values hardly repeat. A `clean` file is one that
    a salvage wrote, with each row's number in one more field. Raises NotWellFormedError or
    CutOffError, perhaps after some rows.
    """
    names = [f"c{i}" for i in range(width + clean)]
    plain = {f"c{columns[name]}" for name in unlike}
    wanted = {i for i in columns.values() if i is not None} | ({width} if clean else set())
    types = {n: _TEXT if n in plain else _CODES for n in names[:width]}
    with open_text(path) as source:
        stretches = _Stretches(source) if clean else _Checked(source)
        try:
            reader = pacsv.open_csv(
                cast(Any, stretches),
                read_options=pacsv.ReadOptions(
                    use_threads=False,
                    block_size=4 * LONGEST_LINE if clean else _STRETCH,
                    column_names=names,
                    skip_rows=1,
                ),
                parse_options=pacsv.ParseOptions(
                    newlines_in_values=True, invalid_row_handler=stretches.refuse
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=types | {f"c{width}": pa.int64()},
                    include_columns=[f"c{i}" for i in sorted(wanted)],
                    null_values=["", *null_words],
                    strings_can_be_null=True,
                ),
            )
            with _read_to_its_end(reader, stretches):
                before = 0
                for batch in reader:
                    count = batch.num_rows
                    if count and stretches.problem is None:
                        numbers = pa.array(np.arange(before, before + count) + 1)
                        row = batch.column(f"c{width}") if clean else numbers
                        yield named(batch, columns, row)
                    before += count
        except pa.ArrowInvalid as error:
            if stretches.problem is None and "Empty CSV file" not in str(error):  # only a header
                raise NotWellFormedError(str(error)) from error
        if (problem := stretches.problem) is not None:
            # No circle through the traceback: what was read would stay until garbage is looked for.
            stretches.problem = None
            try:
                raise problem
            finally:
                del problem


@contextmanager
def _read_to_its_end(reader: pacsv.CSVStreamingReader, stretches: _Stretches) -> Iterator[None]:
    """Let go of a reader only when it has come to its end, whoever reads on or not.

    Arrow reads ahead in a thread of its own. Let go while it does, that thread may come to be the
    last that holds the reader; then it waits for itself for ever, and the process at its exit.
    """
    with reader:
        try:
            yield
        finally:
            stretches.end()
            with suppress(pa.ArrowInvalid):
                for _ in reader:
                    pass


def named(batch: pa.RecordBatch, columns: Mapping[str, int | None], numbers: pa.Array) -> pa.Table:
    """A table of `columns` from a batch whose columns are named by position, and row numbers."""
    none = pa.DictionaryArray.from_arrays(pa.nulls(batch.num_rows, pa.int32()), pa.array([], _TEXT))
    found = {
        name: none if position is None else batch.column(f"c{position}")
        for name, position in columns.items()
    }
    return pa.table({**found, ROW: numbers})


class _Stretches(io.RawIOBase):
    """The bytes of a source, a stretch at a time: none ends between CR and LF or in a character.

    Arrow passes over a line feed that begins a stretch after a carriage return, in quotes too.

    What is wrong with the text is a `problem`, and the text ends there: nothing is raised where
    Arrow reads, nor by it, since its reader must come to an end (see `_read_to_its_end`).
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._held = b""
        self._ended = False
        self.problem: NotWellFormedError | CutOffError | None = None

    def end(self) -> None:
        """Let there be no more of it."""
        self._ended = True

    def refuse(self, row: pacsv.InvalidRow) -> str:
        """What is done with a row of the wrong width."""
        found = f"a row has {row.actual_columns} fields; the header has {row.expected_columns}"
        self.problem = self.problem or NotWellFormedError(found)
        self.end()
        return "skip"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Bytes of the source: as many as asked for or three fewer, but for its end."""
        if self._ended:
            return b""
        try:
            return self._read(size)
        except GZIP_ERRORS as error:
            self.problem = CutOffError(str(error))
        except NotWellFormedError as problem:
            self.problem = problem
        self.end()
        return b""

    def _read(self, size: int) -> bytes:
        data = self._held
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        held = (data.endswith(b"\r") or _cut_off(data)) if len(data) == size > 3 else 0
        self._held = data[len(data) - held :]
        return data[: len(data) - held]


class _Checked(_Stretches):
    """The same, up to where Arrow would read on regardless, or fail.

    Arrow takes a quote inside a field for text, and whatever follows a closing quote as well; it
    ends a line at a carriage return alone. Quotes open and close in turn (a doubled one closes
    and opens again), so a quote that opens must follow the end of a field or the quote before
    it, and one that closes must stand before such an end or the next quote.
    """

    def __init__(self, source: BinaryIO) -> None:
        super().__init__(source)
        self._before = ord("\n")
        self._open = False
        self._begun = False
        # Used again for every stretch: fresh memory costs more than what is done in it.
        self._scratch = np.empty((2, _STRETCH + 3), bool)

    def _read(self, size: int) -> bytes:
        data = super()._read(size)
        if data:
            is_open = self._open
            self._check(data)
            endless = b"\n" not in data or (is_open and b'"' not in data)
            if endless and self._begun and len(data) + 3 >= size:  # and the text may go on
                raise NotWellFormedError("a row is too long, or a quote is not closed")
            self._begun = True
        elif self._open:
            raise NotWellFormedError("a quote is not closed")
        return data

    def _check(self, data: bytes) -> None:
        if b"\0" in data:
            raise NotWellFormedError("there is a zero byte")
        text = np.frombuffer(data, np.uint8)  # counting in bytes is three times as slow
        alone = b"\r" in data and self._returns_alone(text)  # of which there may be none
        if alone or (self._before == _RETURN and text[0] != _FEED):
            raise NotWellFormedError("a carriage return stands alone")
        if b'"' in data or self._before == _QUOTE:
            self._check_quotes(data if self._begun else data.removeprefix(_MARK))
        self._before = data[-1]
        if not data.isascii():
            _check_utf_8(data)

    def _returns_alone(self, text: npt.NDArray[np.uint8]) -> bool:
        returns, alone = self._scratch[:, : len(text) - 1]
        np.equal(text[:-1], _RETURN, out=returns)
        np.not_equal(text[1:], _FEED, out=alone)
        return bool(np.logical_and(returns, alone, out=alone).any())

    def _check_quotes(self, data: bytes) -> None:
        text = np.frombuffer(data, np.uint8)
        if self._before == _QUOTE and not self._open and not _BESIDE[text[0]]:
            raise NotWellFormedError(_ASTRAY)
        quotes = np.flatnonzero(np.equal(text, _QUOTE, out=self._scratch[0, : len(text)]))
        if not len(quotes):
            return
        first = int(self._open)  # of the quotes every second one opens, beginning with this
        opening, closing = quotes[first::2], quotes[1 - first :: 2]
        if len(opening) and not opening[0]:
            opening = opening[1:]
            if not _BESIDE[self._before]:
                raise NotWellFormedError(_ASTRAY)
        before, after = text[opening - 1], text[closing[closing < len(text) - 1] + 1]
        if not (_BESIDE[before].all() and _BESIDE[after].all()):
            raise NotWellFormedError(_ASTRAY)
        self._open ^= len(quotes) % 2 == 1


def _check_utf_8(data: bytes) -> None:
    """Raise NotWellFormedError for anything else. By Arrow, five times as fast as Python."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    text = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)])
    try:
        text.cast(_TEXT)
    except pa.ArrowInvalid as error:
        raise NotWellFormedError("there are bytes that are not UTF-8") from error


def _cut_off(data: bytes) -> int:
    """How many bytes at the end begin a character of UTF-8 and do not end it."""
    for back, byte in enumerate(reversed(data[-3:]), 1):
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            return back if back < 2 + (byte >= 0xE0) + (byte >= 0xF0) else 0
    return 0
