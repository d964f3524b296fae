"""Which `finops.yaml` is in force, for commands and for Dagster alike."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from finops_pipeline.config import ConfigError, Settings, load_settings
from finops_pipeline.engine.spark_session import check_spark
from finops_pipeline.query.model import CostQuery, problems

CONFIG_VARIABLE = "FINOPS_CONFIG"
DEMO_CONFIG = Path(".finops/demo/finops.yaml")


def find_config() -> Path:
    """The configuration in force: $FINOPS_CONFIG, else finops.yaml here, else the demo's."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    here = Path("finops.yaml")
    return DEMO_CONFIG if not here.exists() and DEMO_CONFIG.exists() else here


def checked_settings(path: Path) -> Settings:
    """The settings in that file, held against what can be asked and run. Raises ConfigError."""
    settings = load_settings(path)
    if settings.engine == "spark":
        check_spark()
    for position, budget in enumerate(settings.budgets):
        try:
            CostQuery(metric=budget.metric, filters=budget.filters)
        except ValidationError as error:
            place = f"{path}: budgets.{position}.filters"
            raise ConfigError(f"{place}: {problems(error)}") from None
    return settings


def found_settings() -> Settings:
    """The settings in force; none at all where no file is, so that the UI still opens."""
    path = find_config()
    if not path.exists() and CONFIG_VARIABLE not in os.environ:
        return Settings()
    return checked_settings(path)
