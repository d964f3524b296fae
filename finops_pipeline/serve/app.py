"""The routes of the REST API: each asks one question, and hands on the text of its answer."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query, Response
from starlette.types import ASGIApp

from finops_pipeline.query.model import CostQuery
from finops_pipeline.serve.describe import ABOUT, answers, described
from finops_pipeline.serve.guard import guarded
from finops_pipeline.serve.parameters import Costs, Diff, Explained, Nothing, Ranked
from finops_pipeline.serve.problems import teach
from finops_pipeline.serve.service import Service

ROOT = "/api/v1"
_LONGEST = 64 * 1024  # bytes of a question

Figure = Annotated[
    str,
    Path(
        description="An `x_AllocationId` of allocated_costs, or at least its first 8 digits.",
        json_schema_extra={"pattern": "^[0-9a-f]{8,32}$"},
    ),
]
Owner = Annotated[str, Path(description="A business unit, or `unallocated`.")]
Month = Annotated[
    str, Path(description="YYYY-MM.", json_schema_extra={"pattern": "^[0-9]{4}-[0-9]{2}$"})
]


def make_app(service: Service, host: str, token: str | None) -> ASGIApp:
    """The API over a service, for those who may ask it at that address."""
    app = FastAPI(
        title="finops_pipeline",
        version=version("finops-pipeline"),
        description=ABOUT,
        openapi_url=f"{ROOT}/openapi.json",
        docs_url=None,  # both pages would load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=_LONGEST,
    )
    app.include_router(_routes(service), prefix=ROOT)
    teach(app)
    described(app, with_token=token is not None)
    return guarded(app, host, token)


def _routes(service: Service) -> APIRouter:
    routes = APIRouter(default_response_class=Response)

    @routes.get("/health", responses=answers("Health", "The server answers."))
    async def health(_: Annotated[Nothing, Query()]) -> Response:
        """Whether the server answers. Needs no token, and does not look at the lake."""
        return _json('{"status": "ok"}\n')

    @routes.get("/costs", responses=answers("Costs", "As `finops costs`.", 422, 503))
    def costs(asked: Annotated[Costs, Query()]) -> Response:
        """What was spent, by whom, on what. At most 10,000 lines: see `top`."""
        return _json(service.costs(asked.question()))

    @routes.post("/costs", responses=answers("Costs", "As `finops costs`.", 422, 503))
    def costs_of_question(asked: CostQuery) -> Response:
        """The same, asked by a document: for values that have commas."""
        return _json(service.costs(asked))

    @routes.get(
        "/explain/{figure}",
        responses=answers("Explanation", "As `finops explain`.", 404, 422, 503),
    )
    def explain(figure: Figure, asked: Annotated[Explained, Query()]) -> Response:
        """All evidence of one allocated figure: rule, tag or path, pool, shares, rate, lines."""
        return _json(service.explain(figure, asked.time()))

    @routes.get(
        "/unallocated", responses=answers("Unallocated", "As `finops unallocated`.", 422, 503)
    )
    def unallocated(asked: Annotated[Ranked, Query()]) -> Response:
        """What nobody owns, ranked, and the rule or tag that would move most of it."""
        period = asked.period()
        return _json(service.unallocated(period.since, period.until, asked.top))

    @routes.get(
        "/statements/{owner:path}/{month}",
        responses=answers("Statements", "As `finops statement --owner`.", 404, 422, 503),
    )
    def statement(owner: Owner, month: Month, _: Annotated[Nothing, Query()]) -> Response:
        """What a month cost an owner, and why it changed since the month before."""
        return _json(service.statement(owner, month))

    @routes.get("/diff", responses=answers("Difference", "As `finops diff`.", 422, 503))
    def diff(asked: Annotated[Diff, Query()]) -> Response:
        """What changed between two knowledge times, and which report or rule made it so."""
        return _json(service.diff(asked.question(), *asked.times()))

    return routes


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
