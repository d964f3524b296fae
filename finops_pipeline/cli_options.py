"""What commands have in common: options, the settings they name, and errors that teach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from finops_pipeline import console
from finops_pipeline.config import ConfigError, Settings
from finops_pipeline.lake.forgotten import ForgottenError
from finops_pipeline.lake.place import LakeDamaged, StoreFailing, StoreRefused
from finops_pipeline.lake.room import no_room

Config = Annotated[
    Path | None,
    typer.Option("--config", help="finops.yaml; by default the one here, else the demo's."),
]
Since = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="First charge day."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last charge day."),
]


def settings_of(config: Path | None) -> Settings:
    """The settings of the file named, or of the one that is found."""
    with teaching():
        from finops_pipeline.orchestration.settings import checked_settings, find_config

        return checked_settings(config or find_config())


@contextmanager
def teaching(*errors: type[Exception]) -> Iterator[None]:
    """Errors that a user can cause or mend, as one message and its exit code: 2 for wrong use."""
    try:
        yield
    except (LakeDamaged, StoreFailing) as error:
        console.problems([str(error)])
    except Exception as error:
        if isinstance(error, (ConfigError, ForgottenError, StoreRefused, *errors)):
            console.wrong_use(str(error))
        if full := no_room(str(error), Path()):
            console.problems([str(full)])
        if ".parquet" in str(error):
            from finops_pipeline.lake.damage import damage

            if damaged := damage(str(error)):
                console.problems([str(damaged)])
        raise


def period(since: datetime | None, until: datetime | None) -> tuple[date | None, date | None]:
    """The days of a period; refuses one that ends before it begins."""
    if since and until and since > until:
        console.wrong_use(f"the period from {since:%Y-%m-%d} to {until:%Y-%m-%d} ends too early")
    return day_of(since), day_of(until)


def day_of(moment: datetime | None) -> date | None:
    """The day that an option names."""
    return moment.date() if moment else None
