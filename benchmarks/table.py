"""Figures as Markdown, and into the marked block of `docs/performance.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
_NAMES = {
    "floor": "**floor**: bare `COPY` of each report, dialect and types given",
    "floor_sniffed": "the same, both found out by DuckDB",
    "decompress": "gunzip alone (zlib)",
    "write": "writing the floor's bytes alone",
    "script": "plain script: one Parquet of everything, then a `GROUP BY`",
    "pandas_loop": "pandas in chunks: each to Parquet, sums merged",
    "ingest": "ingest",
    "normalize": "normalize",
    "store": "allocate and store",
    "company": "roll-ups, budgets, catalogue",
    "whole": "**all stages**",
    "finops_run": "`finops run`, the same work through Dagster",
    "beside_stages": "of which not in a stage: start, Dagster, finding what is due",
    "late_report": "`finops run`, one late report for three old days",
    "nothing_new": "`finops run`, nothing new",
    "rebuild": "`finops run`, every charge day made again (another reporting currency)",
}
_TENTHS = 10
_HEAD = "| | CPU s | × floor | wall s | peak memory | read | written | rows/s |"


class NoBlock(Exception):
    """The document has no marked block; the message says which marks are missing."""


def markdown(results: dict[str, Any]) -> str:
    """All sizes as tables, with what they ran on."""
    machine = results["machine"]
    about = (
        f"Measured {results['made'][:10]} on {machine['cores']} cores ({machine['cpu']}), "
        f"{_bytes(machine['memory'])} of memory; load {machine['load_before']:.1f} before it "
        f"began. Python {machine['python']}, DuckDB {machine['duckdb']}, Ibis "
        f"{machine['ibis-framework']}, Dagster {machine['dagster']}."
    )
    return "\n\n".join([about, *(_of_size(size) for size in results["sizes"])])


def _of_size(size: dict[str, Any]) -> str:
    data, rounds = size["data"], len(size["rounds"])
    title = (
        f"### {data['rows']:,} rows\n\n"
        f"{data['reports']} reports of {data['days']} days, {_bytes(data['gz_bytes'])} compressed, "
        f"{_bytes(data['csv_bytes'])} of text; {rounds} round{'s' * (rounds > 1)}"
        f"{', median (least–most)' * (rounds > 1)}."
    )
    lines = [_HEAD, "|---|" + "---:|" * (_HEAD.count("|") - 2)]
    summary = size["summary"]
    lines += [_line(label, summary[name]) for name, label in _NAMES.items() if name in summary]
    return f"{title}\n\n" + "\n".join([*lines, "", *_curves(size["rounds"][-1])]) + _questions(size)


def _curves(found: dict[str, Any]) -> list[str]:
    """How memory went over the time of each stage, in the last round."""
    lines = [
        "| memory in MB, by tenths of the time |" + " |" * _TENTHS,
        "|---|" + "---:|" * _TENTHS,
    ]
    for name in ("ingest", "normalize", "store", "finops_run"):
        if name in found:
            curve = found[name]["curve"]
            tenths = [max(curve[i : i + 2]) for i in range(0, len(curve), 2)]
            lines.append(
                f"| {_NAMES[name]} | " + " | ".join(f"{m / 1e6:.0f}" for m in tenths) + " |"
            )
    return lines


def _questions(size: dict[str, Any]) -> str:
    """What each kind of question takes in one warm process, in milliseconds."""
    lines = ["| question, in ms | p50 | p95 | CPU p95 |", "|---|---:|---:|---:|"]
    for name, asked in size["questions"].items():
        cells = " | ".join(_spread(asked[figure], "{:.0f}") for figure in ("p50", "p95", "cpu"))
        lines.append(f"| {name} | {cells} |")
    return "\n\n" + "\n".join(lines)


def _line(label: str, row: dict[str, dict[str, float]]) -> str:
    cells = [
        _seconds(row["cpu"]),
        _spread(row["cpu_ratio"], "{:.2f}"),
        _seconds(row.get("wall")),
        _one(row.get("peak")),
        _one(row.get("read")),
        _one(row.get("written")),
        _rate(row),
    ]
    return f"| {label} | " + " | ".join(cells) + " |"


def _spread(figure: dict[str, float], form: str) -> str:
    middle, least, most = (form.format(figure[k]) for k in ("median", "min", "max"))
    return middle if least == most else f"{middle} ({least}–{most})"


def _seconds(figure: dict[str, float] | None) -> str:
    if figure is None:
        return ""
    return _spread(figure, "{:.1f}" if figure["median"] >= 10 else "{:.2f}")


def _one(figure: dict[str, float] | None) -> str:
    return "" if figure is None else _bytes(figure["median"])


def _rate(row: dict[str, dict[str, float]]) -> str:
    return f"{row['rows_per_second']['median']:,.0f}" if "rows_per_second" in row else ""


def _bytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def write_docs(page: Path, text: str) -> None:
    """Put the text between the marks of a page. Raises NoBlock."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoBlock(f"{page} needs the lines {BEGIN} and {END} around the measured block")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
