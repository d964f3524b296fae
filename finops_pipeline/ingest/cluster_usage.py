"""Ingest of a cluster's usage: what is due, fetched or read, archived, and made the lake's.

OpenCost's files are read whenever one is there that is not known by its content. A Prometheus is
asked for days that are over; what is known of a day is not asked for again unless it is wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from finops_pipeline.config import Cluster
from finops_pipeline.ingest.opencost import read_opencost
from finops_pipeline.ingest.usage import (
    DayOfContainers,
    UsageError,
    known_contents,
    known_days,
    store_usage,
)
from finops_pipeline.lake.home import Home

_SUFFIXES = (".csv", ".json")


@dataclass
class Loaded:
    """The days whose usage is new, or other than it was; and what could not be had."""

    days: list[date] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class ClusterUsage:
    """The usage of one cluster. `wait` is the first pause between tries of a Prometheus."""

    def __init__(self, home: Home, cluster: Cluster, wait: float = 1.0) -> None:
        self._home = home
        self._cluster = cluster
        self._wait = wait

    def due(self, today: date, first_day: date, since: date | None = None) -> list[date]:
        """The days before today that a Prometheus is asked for, as far as they are missing.

        As far back as `since`, or as the settings say, but never before the first day of all.
        """
        if self._cluster.prometheus is None:
            return []
        since = max(first_day, since or today - timedelta(days=self._cluster.days))
        wanted = {since + timedelta(days=n) for n in range((today - since).days)}
        return sorted(wanted - known_days(self._home, self._cluster.name))

    def load(self, days: Iterable[date]) -> Loaded:
        """OpenCost's files, whatever their days; or these days of a Prometheus."""
        if self._cluster.opencost is not None:
            return self._files(self._cluster.opencost)
        loaded = Loaded()
        for day in days:
            try:
                loaded.days += self._day(day)
            except UsageError as error:
                loaded.problems.append(str(error))
        return loaded

    def _files(self, place: Path) -> Loaded:
        """All files, if any is new: of a day that several tell of, the last by name counts."""
        loaded = Loaded()
        try:
            found = {p: p.read_bytes() for p in self._exports(place)}
        except OSError as error:
            loaded.problems.append(
                f"cluster {self._cluster.name}: {place}: cannot be read ({error.strerror}); "
                "correct `opencost` in finops.yaml"
            )
            return loaded
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in found.items()}
        if set(hashes.values()) <= known_contents(self._home, self._cluster.name):
            return loaded
        known = known_days(self._home, self._cluster.name)
        days: dict[date, tuple[DayOfContainers, Path, str]] = {}
        for path, content in found.items():
            try:
                read = read_opencost(path, content)
            except UsageError as error:
                loaded.problems.append(f"cluster {self._cluster.name}: {error}")
                # What the lake has may be from this file, and outlives files before it.
                days = {day: told for day, told in days.items() if day not in known}
                continue
            days |= {day: (measured, path, hashes[path]) for day, measured in read.items()}
        loaded.days = store_usage(self._home, self._cluster.name, days)
        return loaded

    def _exports(self, place: Path) -> list[Path]:
        if not place.is_dir():
            return [place]
        return sorted(p for p in place.rglob("*") if p.suffix.lower() in _SUFFIXES)

    def _day(self, day: date) -> list[date]:
        # Loaded where a Prometheus is asked, and with them an HTTP client.
        from finops_pipeline.ingest.prometheus import Prometheus
        from finops_pipeline.ingest.prometheus_days import read_prometheus

        content = Prometheus(self._cluster, self._wait).day(day)
        answers = self._home.spool / f"{self._cluster.name}-{day}.jsonl"
        answers.parent.mkdir(parents=True, exist_ok=True)
        answers.write_bytes(content)
        try:
            measured = read_prometheus(answers, content)
            sha256 = hashlib.sha256(content).hexdigest()
            name = self._cluster.name
            return store_usage(self._home, name, {day: (measured, answers, sha256)})
        finally:
            answers.unlink(missing_ok=True)
