"""The rows of a well-formed CSV report as columns of text, a stretch of the file at a time.

What is not well-formed is refused and not guessed at: then `salvage.py` reads the report record by
record. Both number the rows alike, from 1 after the header, blank lines not counted.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from isal import igzip, isal_zlib

LONGEST_LINE = 2 * 1024 * 1024  # bytes of a record; a longer one is rejected, see salvage.py
ROW = "report_row"

# A record that is longer may be refused, and above twice as much it always is.
_STRETCH = LONGEST_LINE // 2

_QUOTE, _RETURN, _FEED = b'"\r\n'
_BESIDE = np.zeros(256, bool)  # what may stand outside of a quote: the end of a field, or a quote
_BESIDE[[ord(c) for c in ',\r\n"']] = True
_ASTRAY = "a quote stands within a field, or something follows a closing one"
_MARK = b"\xef\xbb\xbf"  # a byte-order mark
_TEXT = pa.string()
_CODES = pa.dictionary(pa.int32(), _TEXT)


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
        try:
            reader = pacsv.open_csv(
                cast(Any, _Stretches(source) if clean else _Checked(source)),
                read_options=pacsv.ReadOptions(
                    use_threads=False,
                    block_size=4 * LONGEST_LINE if clean else _STRETCH,
                    column_names=names,
                    skip_rows=1,
                ),
                parse_options=pacsv.ParseOptions(newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    column_types=types | {f"c{width}": pa.int64()},
                    include_columns=[f"c{i}" for i in sorted(wanted)],
                    null_values=["", *null_words],
                    strings_can_be_null=True,
                ),
            )
            # Closed also when nobody reads on: Arrow reads ahead, in a thread of its own.
            with reader:
                before = 0
                for batch in reader:
                    count = batch.num_rows
                    if count:
                        numbers = pa.array(np.arange(before, before + count) + 1)
                        row = batch.column(f"c{width}") if clean else numbers
                        yield named(batch, columns, row)
                    before += count
        except pa.ArrowInvalid as error:
            if "Empty CSV file" not in str(error):  # a header and no row
                raise NotWellFormedError(str(error)) from error
        except GZIP_ERRORS as error:
            raise CutOffError(str(error)) from error


def named(batch: pa.RecordBatch, columns: Mapping[str, int | None], numbers: pa.Array) -> pa.Table:
    """A table of `columns` from a batch whose columns are named by position, and row numbers."""
    none = pa.DictionaryArray.from_arrays(pa.nulls(batch.num_rows, pa.int32()), pa.array([], _TEXT))
    found = {
        name: none if position is None else batch.column(f"c{position}")
        for name, position in columns.items()
    }
    return pa.table({**found, ROW: numbers})


class _Stretches(io.RawIOBase):
    """The bytes of a source, a stretch at a time, of which none ends between CR and LF.

    Arrow passes over a line feed that begins a stretch after a carriage return, in quotes too.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Bytes of the source: as many as asked for or one fewer, but for its end."""
        data = self._held
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        self._held = data[-1:] if len(data) == size > 1 and data.endswith(b"\r") else b""
        return data.removesuffix(self._held)


class _Checked(_Stretches):
    """The same; raises NotWellFormedError where Arrow would read on regardless.

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

    def read(self, size: int = -1) -> bytes:
        """As above, checked."""
        data = super().read(size)
        if data:
            self._check(data)
        elif self._open:
            raise NotWellFormedError("a quote is not closed")
        return data

    def _check(self, data: bytes) -> None:
        if b"\0" in data:
            raise NotWellFormedError("there is a zero byte")
        text = np.frombuffer(data, np.uint8)  # counting in bytes is three times as slow
        alone = (text[:-1] == _RETURN) & (text[1:] != _FEED)
        if alone.any() or (self._before == _RETURN and text[0] != _FEED):
            raise NotWellFormedError("a carriage return stands alone")
        if b'"' in data or self._before == _QUOTE:
            self._check_quotes(data if self._begun else data.removeprefix(_MARK))
        self._before, self._begun = data[-1], True

    def _check_quotes(self, data: bytes) -> None:
        text = np.frombuffer(data, np.uint8)
        if self._before == _QUOTE and not self._open and not _BESIDE[text[0]]:
            raise NotWellFormedError(_ASTRAY)
        quotes = np.flatnonzero(text == _QUOTE)
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
