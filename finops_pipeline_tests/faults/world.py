"""A small company whose reports come in two deliveries: a home has an old and a new state.

The second delivery has late, repeated and restated rows of days that the first one brought, and a
report that the provider rewrote under its name: so partitions are replaced and not only added.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from finops_pipeline.config import SHORTEST_RETENTION, Settings, load_settings
from finops_pipeline.demo import make_company

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
SOURCE = "acme-oci"
_KEPT = 8  # reports; each costs time in every one of hundreds of runs


@dataclass(frozen=True)
class World:
    """Two settings over one home: with the reports of the first delivery, and with all."""

    folder: Path

    @property
    def old(self) -> Path:
        """The finops.yaml of the first delivery."""
        return self.folder / "old.yaml"

    @property
    def new(self) -> Path:
        """The finops.yaml of both deliveries."""
        return self.folder / "finops.yaml"

    @property
    def reports(self) -> Path:
        """All reports."""
        return self.folder / SOURCE

    def settings(self, home: Path, config: Path | None = None) -> Settings:
        """The settings for a home; with all reports unless another configuration is given."""
        return load_settings(config or self.new).model_copy(update={"home": home})

    def configure(self, folder: Path, **changed: object) -> Path:
        """A finops.yaml in a folder of its own, for the real command; its home is `home` there."""
        told = yaml.safe_load(self.new.read_text(encoding="utf-8"))
        told |= {"home": "home", "rules": str(self.folder / "rules.yaml")}
        told["sources"][0]["location"] = f"file:{self.reports}"
        path = folder / "finops.yaml"
        path.write_text(yaml.safe_dump(told | changed), encoding="utf-8")
        return path


def make_world(folder: Path) -> World:
    """Make the reports and both configurations below a new folder."""
    made = make_company(folder, days=2, rows=600, corrections="replace")
    told = yaml.safe_load(made.settings.read_text(encoding="utf-8"))
    told["sources"] = [s for s in told["sources"] if s["name"] == SOURCE]
    told["retention_days"] = SHORTEST_RETENTION
    # Some of these thresholds are reached with the first reports, and some with the others.
    told["budgets"] = [{"name": "all", "amount": 1, "thresholds": [2**n for n in range(30)]}]
    for other in made.truths.keys() - {SOURCE}:
        shutil.rmtree(folder / other)
    world = World(folder)
    world.new.write_text(yaml.safe_dump(told), encoding="utf-8")
    told["sources"][0]["location"] = f"file:early/{SOURCE}"
    world.old.write_text(yaml.safe_dump(told), encoding="utf-8")
    reports = sorted(world.reports.rglob("*.csv.gz"))
    kept = [*reports[: _KEPT // 2], *reports[-_KEPT // 2 :]]
    for report in set(reports) - set(kept):
        report.unlink()
    shutil.copytree(world.reports, folder / "early" / SOURCE)
    for report in kept[_KEPT // 2 :]:
        (folder / "early" / report.relative_to(folder)).unlink()
    _rewrite(folder / "early" / kept[0].relative_to(folder), kept[1])
    return world


def _rewrite(report: Path, content: Path) -> None:
    """Let a report have held something else in the first delivery."""
    when = report.stat().st_mtime - 60
    shutil.copyfile(content, report)
    os.utime(report, (when, when))
