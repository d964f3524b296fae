"""Wrong questions are refused with the value and what is allowed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from finops_pipeline.query import CostQuery, problems


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metric": "Cost"}, "metric 'Cost' is unknown; allowed: EffectiveCost, BilledCost,"),
        ({"order": "size"}, "order 'size' is unknown; allowed: cost, name"),
        ({"by": "team"}, "dimension 'team' is unknown; allowed: account, account_name,"),
        ({"by": "tag:"}, "dimension 'tag:' is unknown; allowed: "),
        ({"by": "owner,owner"}, "dimension 'owner' is named twice"),
        ({"filters": {"x": "1"}}, "dimension 'x' is unknown; allowed: "),
        ({"by": "tag:\udcff"}, r"'tag:\udcff' is no Unicode text"),
        ({"filters": {"tag:a": "\udcff"}}, r"'\udcff' is no Unicode text"),
        ({"exclude": {"owner": ()}}, "dimension 'owner' has no value; name one"),
        (
            {"exclude": {"charge_category": "credit"}},
            "charge_category 'credit' is unknown; allowed: Usage, Purchase, Tax, Credit, Adju",
        ),
        ({"filters": {"owner": "(none)"}}, "owner '(none)': no charge is without owner"),
        ({"filters": {"day": "2025-02-30"}}, "day '2025-02-30' is no date written as YYYY-MM-DD"),
        ({"filters": {"month": "2025-3"}}, "month '2025-3' is no date written as YYYY-MM"),
        ({"filters": {"month": "2025-13"}}, "month '2025-13' is no date written as YYYY-MM"),
        ({"since": "yesterday"}, "since 'yesterday': expected a day such as 2025-01-31"),
        ({"since": 20250301}, "since 20250301: expected a day such as 2025-01-31"),
        ({"since": "2025-02-30"}, "since '2025-02-30': Input should be a valid date"),
        ({"as_of": "5"}, "as_of '5': expected a time such as"),
        ({"as_of": "0001-01-01T00:00:00+14:00"}, "is no time in UTC"),
        ({"by": "owner", "top": 10**30}, "top 1000000000000000000000000000000: "),
        ({"filters": {"service": "a\0b"}}, "zero character"),
        ({"since": "2025-03-02", "until": "2025-03-01"}, "from 2025-03-02 to 2025-03-01 ends"),
        ({"currency": "euro"}, "currency 'euro' is unknown; allowed: reporting, or the three"),
        ({"top": 0, "by": "owner"}, "top 0: Input should be greater than or equal to 1"),
        ({"top": 3}, "top 3 of what?"),
        ({"metric": "ContractedCost"}, "choose the billing currency to sum it in, such as"),
        ({"metric": "ConsumedQuantity", "by": "service"}, "group by unit, or filter unit to one"),
        ({"metric": "ConsumedQuantity", "filters": {"unit": ("A", "B")}}, "different units"),
        ({"metric": "ConsumedQuantity", "filters": {"unit": "(none)"}}, "different units"),
        ({"metric": "ConsumedQuantity", "by": "unit", "top": 1}, "filter unit to one value"),
        ({"groupby": "owner"}, "'groupby' is no part of a question; allowed: metric, by,"),
    ],
)
def test_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CostQuery(**fields)
    assert said in problems(refused.value)
    assert "\n" not in problems(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as refused:
        CostQuery(by="team", metric="Cost", top=-1)  # type: ignore[arg-type]
    assert len(problems(refused.value).splitlines()) == 3


def test_short_forms_mean_the_same() -> None:
    short = CostQuery.model_validate(
        {"by": "service, owner", "filters": {"owner": "a"}, "as_of": "2025-03-01"}
    )
    assert short.by == ("service", "owner")
    assert short.filters == {"owner": ("a",)}
    assert short.as_of == datetime(2025, 3, 1, tzinfo=UTC)


def test_a_time_without_zone_is_utc_wherever_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        asked = [CostQuery(as_of=datetime(2025, 3, 1)).as_of]
        asked.append(CostQuery.model_validate({"as_of": "2025-03-01T09:00:00+09:00"}).as_of)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked == [datetime(2025, 3, 1, tzinfo=UTC)] * 2


def test_a_question_survives_json_and_cannot_be_changed() -> None:
    query = CostQuery(
        by=("tag:a,b",), exclude={"tier": ("tag",), "charge_category": ("Tax",)}, top=2
    )
    again = CostQuery.model_validate_json(query.model_dump_json())
    assert again == query
    assert list(query.exclude) == ["charge_category", "tier"]
    with pytest.raises(ValidationError):
        query.top = 3
