"""What a place with reports offers, and what can go wrong there.

`Location` is all that the rest of the pipeline knows of a place. Which modules the places are in
says `contracts/data/schemes.csv`; bringing a report over and checking it is `fetch.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, Protocol

from finops_pipeline.config import Source
from finops_pipeline.contracts.formats import ReportFormat, Scheme, formats, schemes

# The hierarchy beside the reports of a directory, and no report itself.
INVENTORIES = ("compartments.csv", "scopes.csv")


# The kinds of IngestError that say what became of a place or a report are named for just that,
# without the suffix: `except ReportChanged` reads as what happened.


class IngestError(Exception):
    """Reports cannot be had; the message names source, report, what was expected, what to do."""


class CredentialsError(IngestError):
    """The credentials that the source names cannot be used as they are."""


class LocationUnavailable(IngestError):
    """The place does not answer, or keeps failing after every retry."""


class AccessRefused(IngestError):
    """The service answered and said no. `status` and `code` are the service's own, `answer` all.

    `service_time` is the service's clock, which tells a wrong signature from a wrong local clock.
    """

    def __init__(
        self, answer: str, *, status: int, code: str, service_time: datetime | None = None
    ) -> None:
        super().__init__(f"{answer} `finops doctor` tells what to do.")
        self.answer = answer
        self.status = status
        self.code = code
        self.service_time = service_time


class ReportChanged(IngestError):
    """The report is no longer the one that was listed. Listing again gives its new version."""


class ReportDamaged(IngestError):
    """What arrived is not what the listing promised."""


@dataclass(frozen=True)
class RemoteReport:
    """A report as the place lists it.

    `name` is its full name in the bucket or below the directory. `etag` changes whenever the
    content does; for a directory it may also change when the content does not (see
    `directory.py`). `size` is in bytes, None for an answer that is yet to be asked for. `md5` is
    base64, None where the place gives none. `delivered_at` is UTC.

    A manifest has `members`: the reports that together are all there is of its `delivery_scope`
    (an export and a billing period) until a newer manifest says otherwise. Its members name that
    scope too; a report without one stands for itself. `rows` is how many rows its manifest says
    that a member has, None where it says nothing. `content` is the text of a manifest that was
    read, or made, when the place was listed.
    """

    name: str
    etag: str
    size: int | None
    md5: str | None
    delivered_at: datetime
    delivery_scope: str | None = None
    members: tuple[RemoteReport, ...] | None = None
    content: bytes | None = None
    rows: int | None = None


class Location(Protocol):
    """A place with the reports of one source. Every method raises IngestError."""

    @property
    def source_name(self) -> str:
        """The name of the source that the reports belong to, for messages."""
        ...

    def reports(self) -> Iterator[RemoteReport]:
        """All reports of the source's format, in the order of their names; or its manifests.

        All, each time: OCI puts late FOCUS reports into the folders of old days, so there is no
        name from which on everything is new.
        """
        ...

    def stream(self, report: RemoteReport) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of exactly that etag, in pieces. Raises ReportChanged if it is another now."""
        ...


def priced_requests(location: Location) -> int:
    """How many requests that cost money a place has made; 0 for one where asking is free."""
    made: int = getattr(location, "requests", 0)
    return made


def is_report(form: ReportFormat, name: str) -> bool:
    """Whether an object of that name may be a report, or a manifest where the format has them."""
    suffixes = form.suffixes if form.layout == "reports" else (*form.suffixes, ".json")
    return name.endswith(suffixes) and PurePosixPath(name).name not in INVENTORIES


def open_location(source: Source, passed: datetime | None = None) -> Location:
    """The place that the source's `location` names. Raises IngestError if it cannot be opened.

    `passed` is a time that has passed for sure, should this machine's clock have been set back.
    """
    return laid_out(_open_place(source, passed), source)


def laid_out(place: Location, source: Source) -> Location:
    """The place as the source's format lays its files out: report by report, or by manifests."""
    layout = formats()[source.format].layout
    if layout == "reports":
        return place
    from finops_pipeline.ingest.manifests import ManifestLocation

    return ManifestLocation(place, layout)


def _open_place(source: Source, passed: datetime | None) -> Location:
    scheme = scheme_of(source)
    try:
        place = named_in_ingest(scheme.place)
    except ModuleNotFoundError as error:
        raise missing_library(source, error) from None
    opened: Location = place(source, passed=passed) if scheme.keeps_time else place(source)
    return opened


def scheme_of(source: Source) -> Scheme:
    """The kind of location that a source has."""
    return schemes()[source.location.partition(":")[0]]


def named_in_ingest(text: str) -> Any:
    """What `module:name` is in `ingest/`.

    Imported only when asked for: a directory of reports needs no provider's library nor its
    start-up time. Raises ModuleNotFoundError where the library is not installed.
    """
    module, _, name = text.partition(":")
    return getattr(import_module(f"finops_pipeline.ingest.{module}"), name)


def missing_library(source: Source, error: ModuleNotFoundError) -> IngestError:
    """What to install where a provider's library is not there."""
    scheme, _, _ = source.location.partition(":")
    return IngestError(
        f"{source.name}: {scheme}: locations need a library that is not installed "
        f"({error.name}): pip install 'finops-pipeline[{scheme_of(source).extra}]'"
    )
