"""OpenCost's allocation exports: its CSV, and the JSON that `/allocation` answers.

The CSV has a row for each container and day and the averages over the time that the container ran,
but not that time. What it cost tells it: OpenCost prices hours times the greater of request and
usage, so the row with the most cost for that ran all day, and others in proportion. Without costs
all count as having run all day. JSON tells the minutes.

Sources: opencost/opencost, pkg/costmodel/csv_export.go and core/pkg/opencost/allocation_json.go.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from finops_pipeline.ingest.usage import (
    GIB,
    Container,
    DayOfContainers,
    UsageError,
    read_number,
    workload_name,
)

_IDLE = "__idle__"
_NEEDED = (
    "Date", "Namespace", "ControllerKind", "ControllerName", "CPUCoreUsageAverage",
    "CPUCoreRequestAverage", "RAMBytesUsageAverage", "RAMBytesRequestAverage",
)  # fmt: skip
_DAY = Fraction(24)
_ASK = "/allocation?window=…&step=1d&accumulate=false&includeIdle=true"


def read_opencost(path: Path, content: bytes) -> dict[date, DayOfContainers]:
    """The days of an export. Raises UsageError naming the line or the allocation."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}; export it again") from None
    if text.lstrip()[:1] in ("{", "["):
        return _Json(path).read(text)
    return _read_csv(path, text)


def _read_csv(path: Path, text: str) -> dict[date, DayOfContainers]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{path}: line 1: no OpenCost allocation export: the columns {', '.join(missing)} are "
            "missing. Give the file that OpenCost writes (EXPORT_CSV_FILE), or JSON of /allocation."
        )
    rows: dict[date, list[tuple[Container, Fraction]]] = defaultdict(list)
    try:
        for row in reader:
            place = f"{path}: line {reader.line_num}"
            # Of a container whose cost is cut off nothing tells that it ran less than all day.
            if None in row or None in row.values():
                raise UsageError(
                    f"{place}: has more or fewer values than line 1 has columns. Nothing of the "
                    "file was taken; export it again"
                )
            rows[_date(place, row["Date"])].append(_csv_row(place, row))
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: no CSV: {error}") from None
    return {day: DayOfContainers(_with_hours(found)) for day, found in rows.items()}


def _csv_row(place: str, row: Mapping[str, str]) -> tuple[Container, Fraction]:
    """A container by its averages, and what an hour of all of it cost times the hours."""
    numbers = {name: _number(place, name, row[name]) for name in _NEEDED[4:]}
    one = Container(
        row["Namespace"].strip(),
        workload_name(row["ControllerKind"], row["ControllerName"]) or _pod(row.get("Pod")),
        _labels(place, row.get("Labels") or "{}"),
        numbers["CPUCoreRequestAverage"],
        numbers["CPUCoreUsageAverage"],
        numbers["RAMBytesRequestAverage"] / GIB,
        numbers["RAMBytesUsageAverage"] / GIB,
    )
    cost = _number(place, "CPUCost", row.get("CPUCost") or "0")
    cores = max(one.cpu_request, one.cpu_usage)
    return one, cost / cores if cores else Fraction(0)


def _with_hours(rows: list[tuple[Container, Fraction]]) -> list[Container]:
    whole = max((ratio for _, ratio in rows), default=Fraction(0))
    return [_times(one, _DAY * ratio / whole if ratio else _DAY) for one, ratio in rows]


def _times(one: Container, hours: Fraction) -> Container:
    return replace(
        one,
        cpu_request=one.cpu_request * hours,
        cpu_usage=one.cpu_usage * hours,
        memory_request=one.memory_request * hours,
        memory_usage=one.memory_usage * hours,
    )


def _labels(place: str, text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{place}: Labels: no JSON object: {text!r}; export the day again")
    return {key: str(value) for key, value in found.items()}


def _pod(name: str | None) -> str:
    return f"pod/{name.strip()}" if name and name.strip() else ""


class _Json:
    """The answer of `/allocation` or `/allocation/compute`: sets of allocations by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._days: dict[date, DayOfContainers] = {}
        self._idle: dict[date, list[Fraction]] = {}
        self._priced: dict[date, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 4)
        self._windows: set[tuple[str, str]] = set()
        self._clusters: set[str] = set()

    def read(self, text: str) -> dict[date, DayOfContainers]:
        try:
            given = json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self._path}: not readable as JSON: {error}") from None
        sets = given.get("data") if isinstance(given, dict) and "data" in given else given
        sets = [sets] if isinstance(sets, dict) else sets or []
        if not (isinstance(sets, list) and all(isinstance(one, dict) for one in sets)):
            raise UsageError(f"{self._path}: no answer of OpenCost; ask {_ASK}")
        for one in sets:
            self._set(one)
        for day, (cpu, memory) in self._idle.items():
            cpu_hours, cpu_cost, gib_hours, memory_cost = self._priced[day]
            of_day = self._days[day]
            of_day.cpu_capacity = _capacity(cpu_hours, cpu_cost, cpu)
            of_day.memory_capacity = _capacity(gib_hours, memory_cost, memory)
        return self._days

    def _set(self, allocations: Mapping[str, Any]) -> None:
        windows = set()
        for name, given in allocations.items():
            place = f"{self._path}: {name}"
            if not isinstance(given, dict):
                raise UsageError(f"{place}: no allocation of OpenCost; ask {_ASK}")
            day, window = self._window(place, given)
            windows.add(window)
            self._allocation(place, name, given, day)
        if twice := windows & self._windows:
            raise UsageError(
                f"{self._path}: {min(twice)[0]} to {min(twice)[1]} is told twice, and would count "
                "twice; keep one of the sets"
            )
        self._windows |= windows

    def _window(self, place: str, given: Mapping[str, Any]) -> tuple[date, tuple[str, str]]:
        window = _object(given.get("window")) or given
        texts = (str(window.get("start") or ""), str(window.get("end") or ""))
        try:
            start, end = map(_in_utc, texts)
            midnight = datetime(start.year, start.month, start.day, tzinfo=UTC) + timedelta(days=1)
        except (ValueError, OverflowError):
            raise UsageError(f"{place}: window: no times: {texts[0]!r} to {texts[1]!r}") from None
        if not start < end <= midnight:
            raise UsageError(
                f"{place}: window: {texts[0]} to {texts[1]} is not within one UTC day, so what of "
                f"it is whose day is not told; ask {_ASK}"
            )
        return start.date(), texts

    def _allocation(self, place: str, name: str, given: Mapping[str, Any], day: date) -> None:
        of_day = self._days.setdefault(day, DayOfContainers())
        if name.endswith(_IDLE):
            idle = self._idle.setdefault(day, [Fraction(0), Fraction(0)])
            for i, key in enumerate(("cpuCost", "ramCost")):
                idle[i] += _number(place, key, given.get(key))
            return
        properties = _object(given.get("properties"))
        self._one_cluster(str(properties.get("cluster") or ""))
        keys = ("cpuCoreHours", "cpuCost", "ramByteHours", "ramCost")
        found = [_number(place, key, given.get(key, 0)) for key in keys]
        found[2] /= GIB
        self._priced[day] = [a + b for a, b in zip(self._priced[day], found, strict=True)]
        one = self._container(place, given, properties)
        hours = _number(place, "minutes", given.get("minutes")) / 60
        of_day.containers.append(_times(one, hours))
        labels = of_day.namespace_labels.setdefault(one.namespace, {})
        labels |= _texts(properties.get("namespaceLabels"))

    def _container(
        self, place: str, given: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> Container:
        namespace = str(properties.get("namespace") or "")
        if not namespace:
            raise UsageError(
                f"{place}: properties.namespace is missing: it was aggregated by something else. "
                f"Ask {_ASK}, without `aggregate` or with aggregate=namespace,controller"
            )
        kind, name = (str(properties.get(k) or "") for k in ("controllerKind", "controller"))
        keys = (
            "cpuCoreRequestAverage", "cpuCoreUsageAverage", "ramByteRequestAverage",
            "ramByteUsageAverage",
        )  # fmt: skip
        cpu_request, cpu_usage, memory_request, memory_usage = (
            _number(place, key, given.get(key)) for key in keys
        )
        return Container(
            namespace,
            workload_name(kind, name) or _pod(str(properties.get("pod") or "")),
            _texts(properties.get("labels")),
            cpu_request,
            cpu_usage,
            memory_request / GIB,
            memory_usage / GIB,
        )

    def _one_cluster(self, cluster: str) -> None:
        self._clusters |= {cluster} if cluster else set()
        if len(self._clusters) > 1:
            raise UsageError(
                f"{self._path}: tells of several clusters ({', '.join(sorted(self._clusters))}), "
                "whose namespaces would be taken for one; export each by itself (filter=cluster:…)"
            )


def _capacity(hours: Fraction, cost: Fraction, idle: Fraction) -> Fraction | None:
    """Hours taken, and idle ones at the price of those taken: OpenCost tells their cost only."""
    if not idle:
        return hours
    return hours + idle * hours / cost if cost > 0 else None


def _object(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _texts(given: object) -> dict[str, str]:
    return {k: str(v) for k, v in _object(given).items()}


def _in_utc(text: str) -> datetime:
    """A time; without an offset it is UTC's, wherever it is read."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _date(place: str, text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{place}: Date: no day such as 2025-01-31: {text!r}") from None


def _number(place: str, name: str, given: object) -> Fraction:
    found = read_number(str(given))
    if found is None or isinstance(given, bool):
        raise UsageError(
            f"{place}: {name}: expected a number that is not below zero, not {given!r}. Nothing of "
            "the file was taken; export it again"
        )
    return found
