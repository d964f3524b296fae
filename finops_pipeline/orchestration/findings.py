"""What the ledger of a source tells that people should know, told once each.

A provider's columns that came or went, and months that moved after they were closed: as events in
the outbox, and in words for whoever runs the pipeline.
"""

from __future__ import annotations

from cloudevents.core.v1.event import CloudEvent

from finops_pipeline.actuate.events import closed_month_moved, schema_drifted
from finops_pipeline.actuate.run import file_sink, outbox
from finops_pipeline.config import Source
from finops_pipeline.ingest.closing import Moved, moved_months
from finops_pipeline.ingest.drift import Drift, drifts
from finops_pipeline.orchestration.pipeline import Pipeline


def findings(pipeline: Pipeline, source: Source) -> dict[str, CloudEvent]:
    """Every finding of a source: in words, and its event."""
    entries = pipeline.ledger(source).entries
    return {_drift_in_words(d): schema_drifted(d) for d in drifts(entries)} | {
        _move_in_words(m): closed_month_moved(m) for m in moved_months(entries)
    }


def tell(pipeline: Pipeline, found: dict[str, CloudEvent]) -> None:
    """Send the events that were not sent before. Raises DeliveryError."""
    box = outbox(pipeline.home)
    if box.record(found.values()):
        box.deliver([file_sink(pipeline.home)])


def _drift_in_words(drift: Drift) -> str:
    parts = [
        f"{word} {', '.join(columns)}"
        for word, columns in (("begins to have", drift.added), ("has no longer", drift.removed))
        if columns
    ]
    return (
        f"{drift.source}: {drift.report} {' and '.join(parts)}; the provider changed its columns: "
        "what is new is kept in x_OtherColumns, what is gone is empty"
    )


def _move_in_words(moved: Moved) -> str:
    return (
        f"{moved.source}: {moved.month:%Y-%m} was closed and moved again: {moved.report} changes "
        f"it by {moved.cost:f} {moved.currency or '(no currency)'} in {moved.rows:+} rows; "
        "`finops diff` shows where"
    )
