"""CloudEvents 1.0: what is said when something happened that people should know.

Only the words are here: an event is a pure function of what it tells, without wall clock or random
id, so that telling it again gives the same bytes. Who remembers what was said is `outbox.py`, who
says it `sinks.py`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import cast

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.spec import SPECVERSION_V1_0
from cloudevents.core.v1.event import CloudEvent

from finops_pipeline.actuate.budgets import Crossing
from finops_pipeline.ingest.closing import Moved
from finops_pipeline.ingest.drift import Drift

THRESHOLD_CROSSED = "finops.budget.threshold_crossed.v1"
SCHEMA_DRIFTED = "finops.report.schema_drifted.v1"
CLOSED_MONTH_MOVED = "finops.month.moved_after_close.v1"


def threshold_crossed(crossing: Crossing) -> CloudEvent:
    """The event that a budget's spend reached a threshold. One per month, budget and threshold.

    The id is the hash of budget, month, threshold, currency and amount. The day and the spend are
    not part of it: a restatement that moves the crossing is no second event. The amount is: 80 % of
    a raised budget is news. `time` is the end of the charge day, so an event of a backfilled month
    bears that month's date. Money and percentages are strings in `data`, as JSON numbers are
    floats to most readers.
    """
    month = crossing.month.isoformat()[:7]
    threshold, amount = _plain(crossing.threshold), _plain(crossing.amount)
    attributes = {
        "specversion": SPECVERSION_V1_0,
        "id": _identity(
            THRESHOLD_CROSSED, crossing.budget, month, threshold, crossing.currency, amount
        ),
        "source": f"/finops/budgets/{crossing.budget}",
        "type": THRESHOLD_CROSSED,
        "subject": f"{month}/{threshold}",
        "time": datetime.combine(crossing.charge_day + timedelta(days=1), time(), UTC),
        "datacontenttype": "application/json",
    }
    data = {
        "budget": crossing.budget,
        "month": month,
        "threshold": threshold,
        "amount": amount,
        "spent": _plain(crossing.spent),
        "percent": format(crossing.percent, ".2f"),
        "currency": crossing.currency,
        "charge_day": crossing.charge_day.isoformat(),
    }
    return CloudEvent(attributes, data)


def schema_drifted(drift: Drift) -> CloudEvent:
    """The event that a provider began or ceased to deliver columns, with its first report."""
    columns = {"added": list(drift.added), "removed": list(drift.removed)}
    attributes = {
        "specversion": SPECVERSION_V1_0,
        "id": _identity(SCHEMA_DRIFTED, drift.source, *drift.added, "", *drift.removed),
        "source": f"/finops/sources/{drift.source}",
        "type": SCHEMA_DRIFTED,
        "subject": drift.report,
        "time": drift.delivered_at,
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, {"report": drift.report, **columns})


def closed_month_moved(moved: Moved) -> CloudEvent:
    """The event that a delivery changed a month that was closed. One per delivery and currency."""
    month = moved.month.isoformat()[:7]
    moment = moved.delivered_at.isoformat()
    attributes = {
        "specversion": SPECVERSION_V1_0,
        "id": _identity(
            CLOSED_MONTH_MOVED, moved.source, month, moved.currency, moved.report, moment
        ),
        "source": f"/finops/sources/{moved.source}",
        "type": CLOSED_MONTH_MOVED,
        "subject": f"{month}/{moved.currency}",
        "time": moved.delivered_at,
        "datacontenttype": "application/json",
    }
    data = {
        "month": month,
        "currency": moved.currency,
        "report": moved.report,
        "rows": moved.rows,
        "cost": _plain(moved.cost),
    }
    return CloudEvent(attributes, data)


def to_json(event: CloudEvent) -> bytes:
    """The event in structured mode: one line of ASCII, without its end; keys in a fixed order."""
    return JSONFormat().write(event)


def from_json(text: bytes) -> CloudEvent:
    """The event that `to_json` wrote. Raises ValueError when the text is no CloudEvent 1.0."""
    loaded = json.loads(text)
    # The library would make up an id where there is none, and a new id is a new event.
    if not isinstance(loaded, dict) or "id" not in loaded:
        raise ValueError("expected a JSON object with an id")
    try:
        return cast(CloudEvent, JSONFormat().read(CloudEvent, text))
    except (CloudEventValidationError, TypeError) as error:
        raise ValueError(str(error)) from None


def _identity(*parts: str) -> str:
    # As a JSON list, no two different lists of parts share a spelling.
    return sha256(json.dumps(parts).encode()).hexdigest()


def _plain(value: Decimal) -> str:
    """The number without exponent or trailing zeros: 1000, 1E+3 and 1000.00 are one amount."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
