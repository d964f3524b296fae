"""`finops.yaml` as typed models: what to read, where to keep it, in which currency to answer.

Only the shape of the configuration lives here. Allocation rules have their own file and their
own models (`allocate/rules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from finops_pipeline.contracts.formats import formats, is_location, location_examples
from finops_pipeline.contracts.tables import read_facts
from finops_pipeline.exact_yaml import read_yaml

Authentication = Literal[
    "config_file", "security_token", "instance_principal", "resource_principal"
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
GroupKey = Annotated[str, Field(pattern=r"^([A-Z_]+|(TAG|COST_CATEGORY):.+)$")]
Amount = Annotated[Decimal, Field(gt=0, max_digits=38, decimal_places=18)]

SHORTEST_RETENTION = 30  # days

_UNKNOWN_KEY = "unknown_key"
_HOME_ADDRESS = "home_address"
# A bucket and a prefix, and nothing else: no key, no secret, no option.
_STORE = re.compile(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(/[^?#@\s]*)?")


WORK = Path(".finops")  # the work folder of a home in an object store


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the place and the cure."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        unknown = [k for k in value if k not in cls.model_fields] if isinstance(value, dict) else []
        if unknown:
            names = {"unknown": ", ".join(map(repr, unknown)), "known": ", ".join(cls.model_fields)}
            raise PydanticCustomError(
                _UNKNOWN_KEY, "no key is named {unknown}; expected some of: {known}", names
            )
        return value


class Source(_Model):
    """One feed of bills: a provider account read in one format.

    `location` is `file:<directory>` or one that the format allows, such as
    `oci://<namespace>/<bucket>`; a directory holds what the bucket would, in its layout. `profile`
    is one of the provider's own configuration. `role` is the ARN of a role of AWS to take on;
    `group_by` is what Cost Explorer groups by. `credentials_file` is a file of Google's, where its
    Application Default Credentials are not meant. `corrections` says what a correction row means:
    `add` sums it with the row it corrects, `replace` lets it stand instead of that row.
    """

    name: Name
    format: str
    location: str
    auth: Authentication = "config_file"
    profile: str = "DEFAULT"
    config_file: Path = Path("~/.oci/config")
    credentials_file: Path | None = None
    region: str | None = None
    endpoint: str | None = None
    role: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")] | None = None
    group_by: Annotated[tuple[GroupKey, ...], Field(max_length=2)] = ("SERVICE", "LINKED_ACCOUNT")
    corrections: Literal["add", "replace"] = "add"

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in formats():
            raise PydanticCustomError(
                "format", "a format is one of: {known}", {"known": ", ".join(formats())}
            )
        return value

    @field_validator("location")
    @classmethod
    def _known_location(cls, value: str, info: ValidationInfo) -> str:
        form = formats().get(info.data.get("format", ""))
        if form is not None and not is_location(form, value):
            examples = " or ".join(location_examples(form))
            raise PydanticCustomError(
                "location", "a location is {examples}", {"examples": examples}
            )
        return value

    @property
    def slug(self) -> str:
        """The name as Dagster spells it: letters, digits and underscores."""
        return self.name.replace("-", "_")


class Cluster(_Model):
    """Where the usage of a Kubernetes cluster comes from; how its cost is split, the rules say.

    `opencost` is an export of OpenCost (CSV or JSON), or a folder of them; `prometheus` the address
    of a Prometheus, or of what answers as one. Of that, `labels` are those of the series to ask
    for, where it has several clusters; `token_file` has a bearer token; and days that are missing
    are asked for as far back as `days`.
    """

    name: Name
    opencost: Path | None = None
    prometheus: Annotated[str, Field(pattern=r"^https?://[^?#@\s]+$")] | None = None
    labels: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = {}
    token_file: Path | None = None
    days: int = Field(default=14, ge=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> Cluster:
        if (self.opencost is None) == (self.prometheus is None):
            raise PydanticCustomError("usage", "a cluster has either opencost or prometheus")
        return self


class Budget(_Model):
    """An amount of money for each calendar month, and the shares of it at which to speak.

    `filters` maps a dimension, such as owner, to the values that count; no filter means all cost.
    `thresholds` are percentages of `amount`. The amount is in the reporting currency.
    """

    name: Name
    amount: Amount
    filters: dict[str, tuple[str, ...]] = {}
    thresholds: tuple[Amount, ...] = (Decimal(50), Decimal(80), Decimal(100))
    metric: Literal["BilledCost", "EffectiveCost"] = "EffectiveCost"

    @field_validator("filters", mode="before")
    @classmethod
    def _one_value_is_a_list_of_one(cls, value: object) -> object:
        if isinstance(value, dict):
            return {k: (v,) if isinstance(v, str) else v for k, v in value.items()}
        return value


class Settings(_Model):
    """All of `finops.yaml`. Relative paths are relative to the file's folder.

    `home` is a folder, or `s3://`, `gs://` or `az://` with a bucket and a prefix; `work` is the
    folder of a home in a store for what is only working material.
    """

    reporting_currency: str = "USD"
    home: Path | str = Path(".finops")
    work: Path | None = None
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark_master: str = "local[2]"
    spark_config: dict[str, str] = {}
    first_day: date = date(2019, 1, 1)
    sources: tuple[Source, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    rules: Path | None = None
    rates: Path | None = None
    rate_max_age_days: int = Field(default=7, ge=0)
    budgets: tuple[Budget, ...] = ()
    retention_days: int | None = None
    memory_limit: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B$")] = "600MB"

    @field_validator("reporting_currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in {row["code"] for row in read_facts("contracts/data/currencies.csv")}:
            raise PydanticCustomError(
                "currency", "a currency is a code of ISO 4217, three capital letters such as EUR"
            )
        return value

    @field_validator("retention_days")
    @classmethod
    def _history_is_kept_a_month(cls, value: int | None) -> int | None:
        if value is not None and value < SHORTEST_RETENTION:
            raise PydanticCustomError(
                "retention",
                "what was known is kept for {days} days at least, so that a month can be compared "
                "with the one before it; leave it out to keep all",
                {"days": SHORTEST_RETENTION},
            )
        return value

    @field_validator("home", mode="before")
    @classmethod
    def _home_is_a_folder_or_a_bucket(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not value.strip():
            raise PydanticCustomError("home", "home is a folder, such as .finops, or a bucket")
        if "://" not in value:
            return Path(value)
        if not _STORE.fullmatch(value):
            raise PydanticCustomError(
                _HOME_ADDRESS,
                "home is a folder, such as .finops, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
                "az://CONTAINER/PREFIX; who may come in is for the environment to say, not for "
                "this file (what was given is not shown: it may hold a secret)",
            )
        return value.rstrip("/")

    @model_validator(mode="after")
    def _work_is_for_a_bucket(self) -> Settings:
        if self.work is not None and isinstance(self.home, Path):
            raise PydanticCustomError(
                "twice", "work is for a home in an object store; a folder holds its own work"
            )
        return self

    @model_validator(mode="after")
    def _spark_reads_a_folder(self) -> Settings:
        if self.engine == "spark" and not isinstance(self.home, Path):
            raise PydanticCustomError(
                "engine",
                "engine: spark needs a home that is a folder, one that all its machines share; for "
                "a home in an object store set engine: duckdb",
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Settings:
        for kind, names in (
            ("source", [s.name for s in self.sources]),
            ("cluster", [c.name for c in self.clusters]),
            ("budget", [b.name for b in self.budgets]),
        ):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise PydanticCustomError(
                    "twice",
                    "{kind} name used twice: {names}; give each a name of its own",
                    {"kind": kind, "names": ", ".join(twice)},
                )
        return self

    @model_validator(mode="after")
    def _no_bill_is_read_twice(self) -> Settings:
        seen: dict[tuple[str, str], str] = {}
        for source in self.sources:
            before = seen.setdefault((source.format, source.location.rstrip("/")), source.name)
            if before != source.name:
                raise PydanticCustomError(
                    "twice",
                    "sources {one} and {other} read the same location in the same format: every "
                    "charge would count twice; remove one",
                    {"one": before, "other": source.name},
                )
        return self

    def source(self, name: str) -> Source:
        """The source of that name. Raises ConfigError naming the known ones."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(s.name for s in self.sources) or "none"
        raise ConfigError(f"no source is named {name!r}; finops.yaml has: {known}")


def load_settings(path: Path) -> Settings:
    """Read and check `finops.yaml`. Raises ConfigError for a missing or wrong file."""
    cure = (
        "Write one (see README, 'Point it at a tenancy'), or name it with --config, or try "
        "`finops demo` first."
    )
    with reading(path, cure):
        given = read_yaml(path.read_text(encoding="utf-8"))
        settings = Settings.model_validate({} if given is None else given)
    return _resolved(settings, path.resolve().parent)


@contextmanager
def reading(path: Path, cure: str) -> Iterator[None]:
    """Tell of a file of the user's that cannot be used, as ConfigError.

    `cure` is for one that cannot be read at all.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). {cure}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain_validation(error)}") from None


def explain_validation(error: ValidationError) -> str:
    """Pydantic's findings in one line each: the place in the file, the value, what was expected."""
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "(top level)"
        # What was given says nothing where it is missing, or where it is the whole section.
        silent = item["type"] in ("missing", _UNKNOWN_KEY, _HOME_ADDRESS, "twice")
        given = "" if silent else f", not {item['input']!r}"
        lines.append(f"{place}: {item['msg']}{given}")
    return "\n".join(lines)


def _resolved_home(settings: Settings, absolute: Callable[[Path], Path]) -> dict[str, object]:
    if isinstance(settings.home, Path):
        return {"home": absolute(settings.home)}
    return {"work": absolute(settings.work or WORK)}


def _resolved(settings: Settings, folder: Path) -> Settings:
    def absolute(path: Path) -> Path:
        return (folder / path.expanduser()).resolve()

    sources = tuple(
        s.model_copy(
            update={
                "location": f"file:{absolute(Path(s.location.removeprefix('file:')))}"
                if s.location.startswith("file:")
                else s.location,
                "config_file": absolute(s.config_file),
                "credentials_file": s.credentials_file and absolute(s.credentials_file),
            }
        )
        for s in settings.sources
    )
    clusters = tuple(
        c.model_copy(
            update={
                "opencost": c.opencost and absolute(c.opencost),
                "token_file": c.token_file and absolute(c.token_file),
            }
        )
        for c in settings.clusters
    )
    return settings.model_copy(
        update={
            **_resolved_home(settings, absolute),
            "rules": settings.rules and absolute(settings.rules),
            "rates": settings.rates and absolute(settings.rates),
            "sources": sources,
            "clusters": clusters,
        }
    )
