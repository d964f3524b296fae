"""What bounds an answer: engines that are free, and lines; and a figure that does not add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from finops_pipeline.allocate.load import load_rules
from finops_pipeline.config import load_settings
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.query.answer import ask
from finops_pipeline.query.explain import explain
from finops_pipeline.query.model import CostQuery, QueryError
from finops_pipeline.query.show_explanation import show_explanation
from finops_pipeline.serve import service as module
from finops_pipeline.serve.service import Busy, Service
from finops_pipeline_tests.cli.place import Place
from finops_pipeline_tests.serve.test_answers import figures_of


@pytest.fixture
def service(shop: Place) -> Iterator[Service]:
    """A service with one engine, for which a question waits a moment only."""
    pipeline = Pipeline(load_settings(shop.config))
    with pipeline.engines(1) as engines:
        yield Service(pipeline.home, engines, lambda: load_rules(Path("none")), wait=0.01)


def test_a_question_does_not_wait_for_ever(service: Service) -> None:
    with service._engine(), pytest.raises(Busy, match="ask again"):
        service.costs(CostQuery())
    # An engine is given back, also by a question that fails.
    with pytest.raises(QueryError):
        service.statement("web", "2025-1")
    assert json.loads(service.costs(CostQuery()))["currency"] == "USD"


@pytest.mark.parametrize(
    ("most", "top", "lines"),
    [
        (2, None, None),
        (3, None, 3),
        (2, 1, 2),  # the costliest and (other)
        (2, 2, 3),
        (2, 3, None),
        (3, 1_000, 3),
    ],
)
def test_an_answer_has_so_many_lines_or_is_refused(
    shop: Place, most: int, top: int | None, lines: int | None
) -> None:
    pipeline = Pipeline(load_settings(shop.config))
    query = CostQuery(by=("owner",), top=top)  # web, data and unallocated
    with pipeline.engine() as engine:
        if lines is None:
            with pytest.raises(QueryError, match=f"more than {most} lines: .* `top`"):
                ask(pipeline.home, engine, query, most)
        else:
            found = ask(pipeline.home, engine, query, most)
            assert len(found.rows) == lines
            assert found == ask(pipeline.home, engine, query)


def test_the_api_has_such_a_bound(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINES", 2)
    with pytest.raises(QueryError, match="more than 2 lines"):
        service.costs(CostQuery(by=("owner",)))


def test_what_does_not_add_up_is_told(shop: Place, service: Service) -> None:
    pipeline = Pipeline(load_settings(shop.config))
    (figure, *_) = figures_of(shop.folder / "home")
    with pipeline.engine() as engine:
        good = explain(pipeline.home, engine, figure)
    bad = json.loads(show_explanation(replace(good, differences=("its share is 2",)), "json"))
    assert bad["problems"] == [f"the charges of {figure} do not add up to it"]
    assert (bad["adds_up"], bad["differences"]) == (False, ["its share is 2"])
    assert service.explain(figure, None) == show_explanation(good, "json")
