"""The event of a crossed threshold: its bytes by hand, the specification, and what makes it one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from cloudevents.core.bindings.http import from_structured_event, to_structured_event

from finops_pipeline.actuate.budgets import Crossing
from finops_pipeline.actuate.events import from_json, threshold_crossed, to_json

CROSSING = Crossing(
    budget="platform",
    month=date(2025, 1, 1),
    charge_day=date(2025, 1, 31),
    threshold=Decimal(80),
    amount=Decimal(1000),
    spent=Decimal("833.335000000000000000"),
    percent=Decimal("83.33"),
    currency="USD",
)

# The id is what sha256sum says of this text:
#   ["finops.budget.threshold_crossed.v1", "platform", "2025-01", "80", "USD", "1000"]
WRITTEN = (
    b'{"specversion": "1.0", '
    b'"id": "d2b186557ac61d2bf635f84020110048a9787d3bfd6bee7791f06d8ab064f578", '
    b'"source": "/finops/budgets/platform", '
    b'"type": "finops.budget.threshold_crossed.v1", '
    b'"subject": "2025-01/80", '
    b'"time": "2025-02-01T00:00:00Z", '
    b'"datacontenttype": "application/json", '
    b'"data": {"budget": "platform", "month": "2025-01", "threshold": "80", "amount": "1000", '
    b'"spent": "833.335", "percent": "83.33", "currency": "USD", "charge_day": "2025-01-31"}}'
)


def identity(**changes: Any) -> str:
    return threshold_crossed(replace(CROSSING, **changes)).get_id()


def test_the_event_byte_for_byte() -> None:
    assert to_json(threshold_crossed(CROSSING)) == WRITTEN


def test_the_library_reads_back_what_it_wrote() -> None:
    event = threshold_crossed(CROSSING)
    read = from_structured_event(to_structured_event(event))  # chooses the class by specversion
    assert read.get_attributes() == event.get_attributes()
    assert read.get_data() == event.get_data()
    assert to_json(from_json(WRITTEN)) == WRITTEN


def test_it_has_what_the_specification_requires() -> None:
    # CloudEvents 1.0.2, "Required attributes" and "Type system".
    event = json.loads(to_json(threshold_crossed(CROSSING)))
    assert event["specversion"] == "1.0"
    assert all(event[name] for name in ("id", "source", "type", "subject"))
    assert all(name.isalnum() and name.islower() for name in event)
    written = datetime.fromisoformat(event["time"])
    assert written == datetime(2025, 2, 1, tzinfo=UTC)
    assert all(isinstance(value, str) for value in event["data"].values())


@pytest.mark.parametrize(
    "change",
    [
        {"budget": "other"},
        {"month": date(2025, 2, 1)},
        {"threshold": Decimal("80.5")},
        {"amount": Decimal("1000.01")},
        {"currency": "EUR"},
    ],
)
def test_what_is_news(change: dict[str, Any]) -> None:
    assert identity(**change) != identity()


@pytest.mark.parametrize(
    "change",
    [
        {"charge_day": date(2025, 1, 7)},
        {"spent": Decimal("801"), "percent": Decimal("80.10")},
        {"amount": Decimal("1000.00")},
        {"amount": Decimal("1E+3"), "threshold": Decimal("8E+1")},
    ],
)
def test_what_is_no_news(change: dict[str, Any]) -> None:
    assert identity(**change) == identity()


def test_numbers_have_every_digit_and_no_exponent() -> None:
    large = "99999999999999999999.999999999999999999"
    event = threshold_crossed(
        replace(
            CROSSING,
            amount=Decimal("0.00000001"),
            spent=Decimal(large),
            percent=Decimal("999999999999999999999999999999999.00"),
            threshold=Decimal("12.50"),
        )
    )
    data = event.get_data()
    assert isinstance(data, dict)
    assert (data["amount"], data["spent"]) == ("0.00000001", large)
    assert data["percent"] == "999999999999999999999999999999999.00"
    assert data["threshold"] == "12.5"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"id": "a"}', b'{"id": "a", "source": "b"}', b"\xff"],
)
def test_what_is_no_event_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        from_json(text)
