"""Random charges and questions: the answer is what plain Python sums."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.query import CostQuery, ask
from finops_pipeline_tests.query.made_lake import Charge, charge, expected, home_with, read

START = date(2025, 2, 26)  # the days cross a month's end
DAYS = st.integers(0, 5).map(lambda n: START + timedelta(days=n))
TAGS = st.sampled_from([None, "{}", '{"env": "prod"}', '{"env": "it\'s \\"odd\\""}'])
NAMES = ("service", "owner", "day", "month", "resource", "currency", "source", "tag:env")
VALUES = {
    "service": ["Compute", "Storage", "ünknown"],
    "owner": ["retail", "a b/c=d", "nobody"],
    "day": ["2025-02-27", "2025-03-01"],
    "month": ["2025-02", "2025-03"],
    "resource": ["(none)", "r'1", "r2"],
    "currency": ["USD", "EUR"],
    "source": ["one", "two"],
    "tag:env": ["(none)", "prod", 'it\'s "odd"'],
}
CHARGES = st.lists(
    st.builds(
        charge,
        cost=st.decimals(-(10**12), 10**12, places=18).map(str),
        day=DAYS,
        rate=st.sampled_from(["1", "1", None]),
        ServiceName=st.sampled_from(["Compute", "Storage", "Block Volume"]),
        x_BusinessUnit=st.sampled_from(["retail", "a b/c=d"]),
        ResourceId=st.sampled_from([None, "r'1", "r2"]),
        BillingCurrency=st.sampled_from(["USD", "EUR"]),
        x_Source=st.sampled_from(["one", "two"]),
        Tags=TAGS,
    ),
    max_size=12,
)
CHOSEN = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {n: st.lists(st.sampled_from(VALUES[n]), min_size=1, max_size=2).map(tuple) for n in names}
    )
)
QUERIES = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["EffectiveCost", "BilledCost", "ListCost"]),
        "by": st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple),
        "filters": CHOSEN,
        "exclude": CHOSEN,
        "since": st.none() | DAYS,
        "until": st.none() | DAYS,
        "currency": st.sampled_from(["reporting", "USD", "EUR"]),
        "top": st.none() | st.integers(1, 4),
        "order": st.sampled_from(["cost", "name"]),
    }
).filter(lambda q: not (q["since"] and q["until"] and q["since"] > q["until"]))


def counts(query: dict[str, Any]) -> Callable[[Charge], bool]:
    def has(each: Charge, name: str, values: tuple[str, ...]) -> bool:
        found = read(each, name)
        return ("(none)" if found is None else found) in values

    return lambda each: (
        all(has(each, n, v) for n, v in query["filters"].items())
        and not any(has(each, n, v) for n, v in query["exclude"].items())
        and (query["since"] or date.min) <= each["x_ChargeDay"] <= (query["until"] or date.max)
        and query["currency"] in ("reporting", each["BillingCurrency"])
    )


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(charges=CHARGES, query=QUERIES)
def test_answers_are_plain_sums(
    engine: DuckDBEngine, charges: list[Charge], query: dict[str, Any]
) -> None:
    if not query["by"]:
        query["top"] = None
    with tempfile.TemporaryDirectory() as folder, localcontext(Context(prec=100)):
        answer = ask(home_with(Path(folder), charges), engine, CostQuery(**query))
        left = [c for c in charges if counts(query)(c)]
        own = query["currency"] != "reporting"
        column = query["metric"] if own else f"x_Reporting{query['metric']}"

        assert answer.total == sum((c[column] or Decimal(0) for c in left), Decimal(0))
        hidden = [] if own else [c for c in left if c[column] is None]
        assert answer.without_rate == {
            code: (
                len(lacking := [c for c in hidden if c["BillingCurrency"] == code]),
                sum((c[query["metric"]] for c in lacking), Decimal(0)),
            )
            for code in sorted({c["BillingCurrency"] for c in hidden})
        }

        def by_name(item: tuple[tuple[str | None, ...], Decimal]) -> Any:
            return [(value is None, value or "") for value in item[0]]

        groups = sorted(
            expected(left, query["by"], column).items(), key=lambda i: (-i[1], by_name(i))
        )
        kept, rest = groups[: query["top"]], groups[query["top"] :] if query["top"] else []
        if query["order"] == "name":
            kept.sort(key=by_name)
        if rest:
            kept.append((("(other)",) * len(query["by"]), sum(cost for _, cost in rest)))
        assert answer.rows == tuple((*names, cost) for names, cost in kept)
