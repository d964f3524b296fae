"""Hypothesis strategies for whole OCI reports: every shape that a file may come in.

A made report is its bytes and what its maker knows of it: the rows in which nothing is wrong, and
whether its envelope (compression, header) is whole. What of it becomes a charge is the tests'
matter.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from finops_pipeline.contracts.raw import raw_format
from finops_pipeline_tests.normalize.pipeline import NAMES, TEMPLATES

MARK = b"\xef\xbb\xbf"
ENDS = ("\r\n", "\n", "\r")
ODD = ("start", "end", "cost", "currency", "text")  # what may be wrong with a row
AWKWARD = st.text(
    st.sampled_from(["a", "b", ",", '"', "\r", "\n", " ", "é", "🎉", "\0", "\\", "'", "\u2028"]),
    max_size=8,
)
LONG = st.sampled_from(["x" * 3_000, '"' * 500, "é\n" * 700])
TEXTS = st.one_of(AWKWARD, AWKWARD, st.text(max_size=12).filter(lambda t: t.isprintable()), LONG)

PLAIN_COSTS = st.one_of(
    st.decimals(-(10**6), 10**6, places=12).map(lambda d: format(d, "f")),
    st.decimals(-(10**11), 10**11, places=18).map(str),
    st.sampled_from(["0", "-0", "0.05", "3.5E-4", "1e3", "007", "+5", ".5", "5.", " 7.25 "]),
)
ODD_COSTS = st.one_of(
    st.sampled_from(
        ["", " ", "much", "1,5", "1_000", "NaN", "inf", "-Infinity", "0x10", "--1", "1e", "e5", "٣",
         "1e400", "1e-400", "-1e-19", "5e-19", "1e99999999999999999999", "-0.0E-0", "1" * 40,
         "0" * 60 + "1", "0." + "9" * 40, "1." + "0" * 40 + "e2", "9" * 20, "1e12", "-1e14",
         "100000000000000.0000000000000000001", "12345678901234567890123e-10"]
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.from_regex(r"\A[+-]?[0-9]{0,25}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,3})?\Z"),
)  # fmt: skip
DAYS = st.integers(1, 12).map(lambda n: f"2026-09-{n:02}")
ODD_TIMES = st.one_of(
    st.sampled_from(
        ["", " ", "now", "2026-02-30T10:00Z", "2026-13-01T00:00Z", "2026-09-09T25:00Z",
         "2026-09-09T24:00Z", "2026-09-09T10:60Z", "2026-09-09T23:59:60Z", "9999-12-31T23:59Z",
         "0000-01-01T00:00Z", "0001-01-01T00:00Z", "2019-12-31T23:59Z", "2026-09-22", "20260909",
         "2026-9-9", "2026-09-09T10:00", "2026-09-09 10:00:00", "2026-09-09 10:00", "1757412000",
         " 2026-09-09T10:00Z", "2026-09-09T10:00Z ", "2026-09-09T10:00z", "2026-09-09t10:00Z",
         "2026-09-09T10:00:00.123Z", "2026-09-09T10:00:00.123456Z", "2026-09-09T10:00:00.1Z",
         "2026-09-09T10:00:00.123456789Z", "2026-09-09T00:30:00+02:00", "2026-09-09T23:30:00-05:00",
         "2026-09-09T10:00:00+99:00", "2026-09-09T10:00:00+0200", "2026-09-09T10:00:00 UTC",
         "-2026-09-09T10:00Z", "12026-09-09T10:00Z", "2026-09-09T10:00ZZ", "infinity", "-infinity",
         "epoch", "2026-09-09 (BC)", "2026-09-09T10:00Z\0", "290000-01-01"]
    ),
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
)  # fmt: skip
CURRENCIES = st.sampled_from(["", " USD ", "usd", "EUR", "ZZZ", "US$", "\0", "JPY", "USD\n"])
TAGS = st.lists(
    st.one_of(
        st.sampled_from(
            ["env", "Env", "a b", "Oracle-Tags.CreatedBy", "x/y", "tags/", "", "cost/myCost",
             "ключ", "a.b.c", "tag 0", "typed", "it's"]
        ),
        AWKWARD,
    ),
    unique=True,
    max_size=3,
)  # fmt: skip
UNKNOWN = st.lists(
    st.one_of(st.sampled_from(["x_new", "c0", "report_row", "other 0", "filename", " "]), AWKWARD),
    unique=True,
    max_size=2,
)


@dataclass(frozen=True)
class Made:
    """A made report. `whole`: nothing ails its envelope and its header, so it must be read.

    `good` are the references of rows that must become charges (or be superseded).
    """

    content: bytes
    whole: bool
    good: frozenset[str]


@st.composite
def headers(draw: st.DrawFn, format_: str) -> list[str]:
    """Column names in any order: the required ones, some of the others, tags, unknown ones."""
    raw = raw_format(format_)
    optional = [c for c in TEMPLATES[format_] if c not in raw.required]
    chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=8))
    tags = [f"tags/{key}" for key in draw(TAGS)]
    names = [*raw.required, *chosen, *tags]
    known = {c.lower() for c in raw.columns}
    names += [n for n in draw(UNKNOWN) if n.strip().lower() not in known and n not in names]
    return list(draw(st.permutations(names)))


@st.composite
def rows(draw: st.DrawFn, format_: str, header: Sequence[str], ref: str) -> tuple[list[str], bool]:
    """The fields of a row, and whether nothing is wrong with it."""
    column = NAMES[format_]
    day = draw(DAYS)
    row = TEMPLATES[format_] | {
        column["ref"]: ref,
        column["start"]: f"{day}T10:00Z",
        column["end"]: f"{day}T11:00Z",
        column["cost"]: draw(PLAIN_COSTS),
        column["currency"]: draw(st.sampled_from(["USD", "USD", "EUR"])),
        column["service"]: draw(st.sampled_from(["COMPUTE", "OBJECT_STORAGE", "Tax", "x, y"])),
    }
    for name in header:
        if name not in row:
            row[name] = draw(TEXTS)
    good = draw(st.booleans())
    if not good:
        for name in draw(st.lists(st.sampled_from(ODD), unique=True, max_size=len(ODD))):
            if name == "text":
                row[draw(st.sampled_from(list(header)))] = draw(TEXTS)
            else:
                odd = {"cost": ODD_COSTS, "currency": CURRENCIES}.get(name, ODD_TIMES)
                row[column[name]] = draw(odd)
    return [row[name] for name in header], good


def encoded(fields: Sequence[str], quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    """A record as CSV, without its end."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=quoting).writerow(fields)  # type: ignore[arg-type]
    return out.getvalue().removesuffix("\r\n").encode("utf-8", errors="replace")


@st.composite
def broken(draw: st.DrawFn, record: bytes) -> bytes:
    """A record that is none any more, and that ends on its own line."""
    kind = draw(st.sampled_from(["short", "long", "bytes", "cut", "blanks", "rubbish"]))
    if kind == "short":
        return b"x,y"
    if kind == "long":
        return record + b",more"
    if kind == "blanks":
        return b"  "
    if kind == "rubbish":
        return draw(st.binary(max_size=30)).translate(None, b'"\r\n')
    at = draw(st.integers(0, len(record)))
    if kind == "bytes":
        return (record[:at] + b"\xff" + record[at:]).translate(None, b'"\r\n')
    return record[:at].translate(None, b'"\r\n')


@st.composite
def texts(draw: st.DrawFn, format_: str, prefix: str) -> tuple[bytes, frozenset[str]]:
    """A report's text, and the references of its good rows."""
    header = draw(headers(format_))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    ends = draw(st.sampled_from([*((end,) for end in ENDS), ENDS]))
    parts = [encoded(header, quoting)]
    good = set()
    for number in range(draw(st.integers(0, 6))):
        ref = f"{prefix}-{number}"
        fields, is_good = draw(rows(format_, header, ref))
        record = encoded(fields, quoting)
        if is_good:
            good.add(ref)
        parts.append(record)
        after = draw(st.sampled_from(["", "", "", "again", "blank", "broken"]))
        if after == "again":
            parts.append(record)
        elif after == "blank":
            parts.append(b"")
        elif after == "broken":
            parts.append(draw(broken(record)))
    made = b"".join(part + draw(st.sampled_from(ends)).encode() for part in parts)
    if draw(st.booleans()) and parts[-1]:
        made = made.rstrip(b"\r\n")
    return draw(st.sampled_from([b"", b"", MARK, b"\r\n", MARK + b"\n"])) + made, frozenset(good)


@st.composite
def enveloped(draw: st.DrawFn, text: bytes) -> tuple[bytes, bool]:
    """A text compressed or not, cut or not; and whether it came out whole."""
    kind = draw(st.sampled_from(["plain", "plain", "gzip", "gzip", "members", "cut", "tail"]))
    if kind == "plain":
        return text, True
    if kind == "members":
        size = draw(st.integers(1, 400))
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        return b"".join(gzip.compress(p, 1, mtime=0) for p in pieces) or b"\n", True
    packed = gzip.compress(text, draw(st.sampled_from([0, 1, 9])), mtime=0)
    if kind == "cut":
        return packed[: draw(st.integers(0, len(packed) - 1))], False
    if kind == "tail":
        return packed + draw(st.sampled_from([b"\0" * 600, b"junk", packed[:9]])), False
    return packed, True


@st.composite
def reports(draw: st.DrawFn, format_: str, prefix: str = "r") -> Made:
    """A whole report, or what is left of one."""
    text, good = draw(texts(format_, prefix))
    content, whole = draw(enveloped(text))
    return Made(content, whole, good)
