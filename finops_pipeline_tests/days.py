"""Days of tests that ask what was delivered today, by the clock."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

_NEAR = timedelta(minutes=2)  # longer than a test takes


def closed_month() -> date:
    """The first day of a month that no provider changes any more: the second before this one."""
    first = datetime.now(UTC).date().replace(day=1)
    return (first - timedelta(days=40)).replace(day=1)


def lasting_today() -> date:
    """Today, in UTC, once it is sure to be today until the test has ended."""
    now = datetime.now(UTC)
    if (now + _NEAR).date() != now.date():
        time.sleep(_NEAR.total_seconds())
    return datetime.now(UTC).date()
