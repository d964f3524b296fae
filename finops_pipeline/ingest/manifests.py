"""Places whose reports are told by manifests: each lists all there is of an export and a month.

How a provider lays its manifests out is a function that makes them, with their members, from the
files that a place lists; it serves a bucket and a directory alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from finops_pipeline.ingest.aws_export import aws_export
from finops_pipeline.ingest.azure_export import azure_export
from finops_pipeline.ingest.location import Location, RemoteReport

Read = Callable[[RemoteReport], bytes]
# From all files of a place, and a way to read one: the manifests, with members.
Layout = Callable[[str, Sequence[RemoteReport], Read], Iterator[RemoteReport]]

LAYOUTS: dict[str, Layout] = {"aws_export": aws_export, "azure_export": azure_export}


class ManifestLocation:
    """A place and the layout of its files."""

    def __init__(self, place: Location, layout: str) -> None:
        self._place = place
        self._layout = LAYOUTS[layout]

    @property
    def source_name(self) -> str:
        """The name of the source that the reports belong to."""
        return self._place.source_name

    def reports(self) -> Iterator[RemoteReport]:
        """The manifest that stands for each delivery scope, in the order of their names."""
        files = list(self._place.reports())
        found = self._layout(self.source_name, files, self._read)
        yield from sorted(found, key=lambda manifest: manifest.name)

    @contextmanager
    def stream(self, report: RemoteReport) -> Iterator[Iterator[bytes]]:
        """The bytes of a file, or of a manifest that the listing has the text of."""
        if report.content is not None:
            yield iter((report.content,))
            return
        with self._place.stream(report) as pieces:
            yield pieces

    def _read(self, report: RemoteReport) -> bytes:
        with self._place.stream(report) as pieces:
            return b"".join(pieces)
