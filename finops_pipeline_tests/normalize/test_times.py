"""Times as reports write them: each row's own, whatever the rows around it say."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from finops_pipeline_tests.normalize.pipeline import Pipeline, assert_balanced, line, report

STARTS = [
    "2026-09-09T10:00Z",
    "2026-09-09T00:30:00+02:00",
    "2026-09-09T00:30Z",
    "2026-09-08T23:30:00-05:30",
    "2026-09-07T12:00:01Z",
    "2026-09-07T12:00:00.123Z",
    "2026-09-07T12:00:00.123456Z",
    "2026-09-06T12:00:00",
    "2026-09-06 12:00:00",
    "2026-09-09T00:30:00+13:00",
    "2026-09-06T12:00",
    "2026-09-06",
    # As databases, Python and JavaScript write them into FOCUS files.
    "2026-09-08 23:30:00-05",
    "2026-09-09 00:30:00+02:00",
    "2026-09-09 00:30:00.123456+02:00",
    "2026-09-09T00:30:00.123+02:00",
    "2026-09-09T00:30+02:00",
    "2026-09-06T12:00:00.123456",
    "2026-09-06T12:00:00.000",
    "2026-09-06 12:00",
    "2026-09-06 12:00:00Z",
    "2026-09-06 12:00:00.123Z",
]


@pytest.mark.parametrize("format_", ["oci_cost_csv", "oci_focus"])
def test_an_offset_is_of_its_own_row_only(tmp_path: Path, format_: str) -> None:
    pipeline = Pipeline(tmp_path, format_)
    starts = [*STARTS, *reversed(STARTS)]
    rows = [
        line(
            format_,
            ref=f"{i}",
            start=start,
            end="2026-09-10T00:00:00-01:00" if i % 2 else "2026-09-11",
        )
        for i, start in enumerate(starts)
    ]
    pipeline.deliver("r.csv", report(rows))
    outcome = pipeline.run()
    assert_balanced(outcome)
    assert outcome.rejected == []
    found = {int(c["x_ReferenceNumber"]): c for c in outcome.charges}
    for i, text in enumerate(starts):
        start = datetime.fromisoformat(text)
        start = start.replace(tzinfo=start.tzinfo or UTC).astimezone(UTC)
        assert found[i]["ChargePeriodStart"] == start, text
        assert found[i]["x_ChargeDay"] == start.date(), text
        end = datetime(2026, 9, 10, 1, tzinfo=UTC) if i % 2 else datetime(2026, 9, 11, tzinfo=UTC)
        assert found[i]["ChargePeriodEnd"] == end, text


def test_an_impossible_offset_in_a_bad_row_rejects_no_other(tmp_path: Path) -> None:
    def of_day(ref: str, day: int) -> dict[str, str]:
        return line(ref=ref, start=f"2026-09-0{day}T10:00Z", end=f"2026-09-0{day}T11:00Z")

    pipeline = Pipeline(tmp_path)
    nothing = line(ref="x", currency="", start="infinity", end="2026-09-09T10:00:00+99:00", cost="")
    rows = [of_day("", 7), of_day("a", 8), nothing, of_day("b", 1)]
    pipeline.deliver("r.csv", report(rows))
    outcome = pipeline.run()
    assert_balanced(outcome)
    charges = {c["x_ReferenceNumber"]: c["x_ChargeDay"] for c in outcome.charges}
    assert charges == {"a": date(2026, 9, 8), "b": date(2026, 9, 1)}
    assert [r["report_row"] for r in outcome.rejected] == [1, 3]
