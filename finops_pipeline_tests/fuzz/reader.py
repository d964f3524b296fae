"""A coverage-guided fuzzer (atheris, libFuzzer) over the report reader: `make fuzz`.

Each input is the bytes of a report. It is opened, read by Arrow in stretches of many sizes and by
the salvaging reader, and both are held against a second reading (`examination.py`). The totals'
query costs more than all of that, so they are asked for the rows of fifty inputs at once, and of
each alone when that sum is wrong; one input in sixteen goes through the whole examination alone,
and one in 250 through normalize, ten to a folder. An exception, an input that is read slowly or
hangs, a row or a cent too few ends it; the input lies in `.fuzz/` then, and `--input FILE` runs it
again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import atheris
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

with atheris.instrument_imports(
    include=["finops_pipeline.ingest.reading", "finops_pipeline.ingest.rows",
             "finops_pipeline.ingest.salvage", "finops_pipeline.contracts.raw"]
):  # fmt: skip
    from finops_pipeline.ingest import rows as rows_module
    from finops_pipeline.ingest import salvage

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline_tests.fuzz import examination
from finops_pipeline_tests.fuzz.examination import Read, Rows
from finops_pipeline_tests.fuzz.report_strategies import Made, reports
from finops_pipeline_tests.normalize.pipeline import Pipeline, assert_balanced

PLACE = Path(".fuzz")
FORMATS: tuple[str, ...] = ("oci_cost_csv", "oci_focus")
TOGETHER = 50  # inputs whose totals are asked for in one query
ALONE = 16  # one in so many is examined alone
MAPPED = 250  # one in so many is normalized, in folders of ten
SLOWEST = 5  # seconds on the processor that reading one input may take
SEEDS = 300
LONGEST = 6_000  # bytes of an input, as it stands in the file
SHORT_LINE = 1_500  # the longest line for one input in four, so that inputs are longer
WORDS = [
    ",", '"', '""', '","', '",', ',"', "\r", "\n", "\r\n", '"\n', "\ufeff", "\0", "é", "\u2028",
    "1E-19", "1e400", "-0", "9" * 39, "1_0", "0.1234567890123456785", "2026-09-09T10:00Z",
    "2026-02-30", "2026-09-09T00:30:00+02:00", "USD", "tags/", "cost/myCost", "BilledCost", "<",
]  # fmt: skip


class Fuzzer:
    """What is kept between inputs: an engine, rows not yet summed, reports not yet mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "input.csv"
        self.engine = DuckDBEngine("500MB", folder / "spill")
        self.engine.connection.execute("SET threads = 1")  # a fifth faster on inputs this small
        self.seen: Counter[str] = Counter()
        self.waiting: list[tuple[bytes, Rows]] = []
        self.to_map: list[bytes] = []

    def run(self, content: bytes) -> None:
        """One input. Raises whatever is wrong with what the package made of it."""
        chance = zlib.crc32(content)
        self.seen["inputs"] += 1
        with bounds(content, chance):
            found = self._examine(content, alone=chance % ALONE == 1)
        if found is None:
            return
        self.waiting.append((content, found.rows))
        if len(self.waiting) == TOGETHER:
            self.sum_up()
        if chance % MAPPED == 2:
            self.to_map.append(content)
        if len(self.to_map) == 10:
            self.map()

    def _examine(self, content: bytes, alone: bool) -> Read | None:
        self.path.write_bytes(content)
        format_ = examination.format_of(text_of(content))
        began = time.process_time()
        found = examination.read(self.path, format_)
        took = time.process_time() - began
        assert took < SLOWEST, f"reading took {took:.1f} seconds on the processor"
        if isinstance(found, str):
            self.seen["refused"] += 1
            return None
        self.seen["read by Arrow"] += found.by_arrow
        self.seen["rows"] += len(found.rows)
        self.seen["rows set aside"] += len(found.bad)
        self.seen["reports with rows set aside"] += bool(found.bad)
        if alone:
            self.seen["examined alone"] += 1
            examined = examination.totals(self.engine, self.path, format_)
            examination.assert_totals(examined, [*found.rows, *found.bad])
        return found

    def sum_up(self) -> None:
        """The totals of the inputs that wait, in one query; of each alone when they are wrong."""
        waiting, self.waiting = self.waiting, []
        try:
            self._sum([row for _, rows in waiting for row in rows])
        except Exception:
            for content, rows in waiting:
                self._blaming(content, partial(self._sum, rows))
            raise

    def _sum(self, rows: Rows) -> None:
        self.path.write_bytes(examination.one_report(rows))
        found = examination.totals(self.engine, self.path, "oci_cost_csv")
        examination.assert_totals(found, rows)

    def map(self) -> None:
        """Ingest and normalize of the reports that wait, a folder a format; else each alone."""
        waiting, self.to_map = self.to_map, []
        self.seen["normalized"] += len(waiting)
        for format_ in FORMATS:
            alike = [c for c in waiting if examination.format_of(text_of(c)) == format_]
            try:
                self._map(alike, format_)
            except Exception:
                for content in alike:
                    self._blaming(content, partial(self._map, [content], format_))
                raise

    def _map(self, contents: list[bytes], format_: str) -> None:
        if not contents:
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            pipeline = Pipeline(Path(folder), format_)
            for number, content in enumerate(contents):
                pipeline.deliver(f"{number}.csv", content)
            outcome = pipeline.run()
            assert_balanced(outcome)
            accounted = len(outcome.charges) + len(outcome.superseded) + len(outcome.rejected)
            assert accounted == sum(entry["rows"] for entry in outcome.ledger)

    @staticmethod
    def _blaming(content: bytes, use: Callable[[], None]) -> None:
        """Run something for one input of many, and keep the input if it is the one at fault."""
        try:
            use()
        except Exception:
            name = PLACE / f"crash-{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"
            name.write_bytes(content)
            print(f"the input is kept as {name}", file=sys.stderr)
            raise

    def finish(self) -> None:
        """Sum and map what still waits."""
        if self.waiting:
            self.sum_up()
        if self.to_map:
            self.map()


@contextmanager
def bounds(content: bytes, chance: int) -> Iterator[None]:
    """Small bounds for an input, since inputs are short: of a line, and of what is read at once.

    Most stretches are hardly longer than the header, which must fit into one.
    """
    longest, stretch = rows_module.LONGEST_LINE, rows_module._STRETCH
    if chance % 4 == 0:
        rows_module.LONGEST_LINE = salvage.LONGEST_LINE = SHORT_LINE
    most = min(LONGEST, rows_module.LONGEST_LINE // 2)
    header = len(text_of(content).partition(b"\n")[0]) + 1
    rows_module._STRETCH = min(header + chance // 16 % 200, most) if chance // 4 % 4 else most
    try:
        yield
    finally:
        rows_module.LONGEST_LINE = salvage.LONGEST_LINE = longest
        rows_module._STRETCH = stretch


def text_of(content: bytes) -> bytes:
    """The text of a report, as much of it as can be had."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return zlib.decompressobj(31).decompress(content, 1 << 16)
    except zlib.error:
        return b""


def mutated(content: bytes, longest: int, number: int) -> bytes:
    """A changed input: by libFuzzer, or as one who knows what a report is; inside gzip, mostly."""
    chance = random.Random(number)
    packed = content.startswith(b"\x1f\x8b")
    text = text_of(content) if packed and chance.random() < 0.8 else content
    # A broken header is soon refused, so most are left as they are.
    at = text.find(b"\n") + 1 if chance.random() < 0.8 else 0
    head, body = text[:at], text[at:]
    if chance.random() < 0.4:
        text = head + _restructured(body, chance)
    else:
        text = head + atheris.Mutate(body, len(body) + 64)
    if text is not content and (packed or chance.random() < 0.05):
        half = chance.choice([len(text), chance.randint(0, len(text))])
        text = b"".join(gzip.compress(part, 1, mtime=0) for part in (text[:half], text[half:]))
    return bytes(text[:longest])


def _restructured(text: bytes, chance: random.Random) -> bytes:
    """A report with a line or a field moved, repeated, dropped, or of another kind."""
    lines = text.splitlines(keepends=True) or [b""]
    at = chance.randrange(len(lines))
    fields = lines[at].split(b",")
    field = chance.randrange(len(fields))
    word = chance.choice(WORDS).encode()
    match chance.randrange(8):
        case 0:
            lines.insert(chance.randrange(len(lines) + 1), lines[at])
        case 1:
            del lines[at]
        case 2:
            fields[field] = word
        case 3:
            fields[field] = b'"' + fields[field].replace(b'"', b'""') + word + b'"'
        case 4:
            fields.insert(field, word)
        case 5:
            del fields[field]
        case 6:
            other = chance.randrange(len(fields))
            fields[field], fields[other] = fields[other], fields[field]
        case _:
            end = chance.choice([b"\r", b"\n", b"\r\n", b""])
            lines[at] = lines[at].rstrip(b"\r\n") + end
            return b"".join(lines)
    if at < len(lines):
        lines[at] = b",".join(fields)
    return b"".join(lines)


def make_seeds(folder: Path, number: int) -> None:
    """Reports to start from, made by the strategies; the same number gives the same."""

    @seed(number)
    @settings(max_examples=SEEDS, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.sampled_from(FORMATS).flatmap(reports))
    def write(made: Made) -> None:
        content = made.content
        if len(content) <= LONGEST:
            name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            (folder / name).write_bytes(content)

    write()


def main() -> None:
    """Run the fuzzer as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100_000, help="inputs (100000)")
    parser.add_argument("--seed", type=int, default=1, help="what chance starts from (1)")
    parser.add_argument("--timeout", type=int, default=300, help="seconds an input may hang (300)")
    parser.add_argument("--input", type=Path, help="run this input alone")
    chosen = parser.parse_args()
    PLACE.mkdir(exist_ok=True)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        folder = Path(place)
        fuzzer = Fuzzer(folder)
        if chosen.input:
            _alone(fuzzer, chosen.input)
        else:
            _fuzz(fuzzer, folder, chosen.runs, chosen.seed, chosen.timeout)


def _alone(fuzzer: Fuzzer, path: Path) -> None:
    content = path.read_bytes()
    fuzzer.run(content)
    fuzzer.to_map = [content]
    fuzzer.finish()
    print(dict(fuzzer.seen))


def _fuzz(fuzzer: Fuzzer, folder: Path, runs: int, number: int, timeout: int) -> None:
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    make_seeds(corpus, number)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS), encoding="ascii")
    began = time.monotonic()

    def one(content: bytes) -> None:
        fuzzer.run(content)
        if fuzzer.seen["inputs"] == runs:
            fuzzer.finish()
            took = f"{(time.monotonic() - began) / 60:.1f} minutes"
            busy = f"{time.process_time() / 60:.1f} of them on the processor"
            print(f"{took}, {busy}: {dict(fuzzer.seen)}", flush=True)

    atheris.Setup(
        [sys.argv[0], f"-runs={runs}", f"-seed={number}", f"-timeout={timeout}",
         f"-max_len={LONGEST}", f"-dict={words}", f"-artifact_prefix={PLACE}{os.sep}",
         f"-report_slow_units={timeout}", "-rss_limit_mb=4096", "-print_final_stats=1",
         str(corpus)],
        one,
        custom_mutator=mutated,
    )  # fmt: skip
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main()
