"""What the API answers is what the command prints; what it refuses, in the command's sentence."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, urlencode

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from finops_pipeline_tests.cli.place import Place
from finops_pipeline_tests.serve.server import Server, serving

ASKED: list[tuple[list[str], str]] = [
    (["costs"], "costs"),
    (["costs", "--by", "day,owner"], "costs?by=day,owner"),
    (["costs", "--by", "owner", "--order", "name"], "costs?by=owner&order=name"),
    (["costs", "--by", "owner", "--top", "1"], "costs?by=owner&top=1"),
    (["costs", "--by", "tag:team", "--metric", "BilledCost", "--currency", "EUR"],
     "costs?by=tag:team&metric=BilledCost&currency=EUR"),
    (["costs", "--by", "unit", "--metric", "ConsumedQuantity"],
     "costs?by=unit&metric=ConsumedQuantity"),
    (["costs", "--where", "owner=web,data", "--where", "day=2025-01-02"],
     "costs?filters=owner=web,data&filters=day=2025-01-02"),
    (["costs", "--exclude", "currency=ARS", "--from", "2025-01-03", "--to", "2025-01-31"],
     "costs?exclude=currency=ARS&since=2025-01-03&until=2025-01-31"),
    (["costs", "--as-of", "2020-01-01"], "costs?as_of=2020-01-01"),
    (["costs", "--as-of", "2035-01-01T10:00:00Z"], "costs?as_of=2035-01-01T10:00:00Z"),
    (["unallocated"], "unallocated"),
    (["unallocated", "--from", "2025-01-03", "--top", "1"], "unallocated?since=2025-01-03&top=1"),
    (["statement", "--month", "2025-01", "--owner", "web"], "statements/web/2025-01"),
    (["statement", "--month", "2025-02", "--owner", "unallocated"],
     "statements/unallocated/2025-02"),
    (["diff", "--as-of", "2035-01-01"], "diff?as_of=2035-01-01"),
    (["diff", "--as-of", "2034-01-01", "--as-of", "2035-01-01T00:00:00Z", "--by", "owner"],
     "diff?as_of=2034-01-01&as_of=2035-01-01T00:00:00Z&by=owner"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "path"), ASKED, ids=[path for _, path in ASKED])
def test_answers_are_what_the_command_prints(
    shop: Place, server: Server, command: list[str], path: str
) -> None:
    printed = shop.finops(*command, "--format", "json")
    answer = server.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == printed.stdout.encode()
    # What makes the command exit with 1 is told in the body, in the same sentences.
    told = [line.removeprefix("problem: ") for line in printed.stderr.splitlines()]
    assert answer.json()["problems"] == told
    assert printed.exit_code == (1 if told else 0)


def test_a_cost_without_a_rate_is_told(server: Server) -> None:
    answer = server.get("costs").json()
    # 1.005 + 2.000000000000000001 + 10 + 4 + 3 in dollars, and 100 EUR at 1.1.
    assert (answer["total"], answer["currency"]) == ("130.005000000000000001", "USD")
    assert answer["without_rate"] == [{"currency": "ARS", "rows": 1, "cost": "700"}]
    assert answer["problems"] == ["Not in these sums: 1 row of 700.00 ARS, no exchange rate known."]


def test_a_document_asks_the_same(server: Server) -> None:
    asked = {"by": ["owner"], "filters": {"tag:team": ["lake", "a,b"]}}
    with server.client() as client:
        answer = client.post("costs", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"] == [{"owner": "data", "EffectiveCost": "2.000000000000000001"}]
    assert answer.json()["query"]["filters"] == asked["filters"]


def test_every_figure_is_explained_as_by_the_command(shop: Place, server: Server) -> None:
    figures = figures_of(shop.folder / "home")
    assert len(figures) == 8  # six charges, one of them shared by two, and one in February
    for figure in figures:
        for asked in (figure, figure[:12]):
            printed = shop.finops("explain", asked, "--format", "json")
            answer = server.get(f"explain/{asked}")
            assert (answer.status_code, printed.exit_code) == (200, 0)
            assert answer.content == printed.stdout.encode()
    then = server.get(f"explain/{figures[0]}?as_of=2035-01-01T00:00:00Z")
    assert then.json()["charges"] == server.get(f"explain/{figures[0]}").json()["charges"]


def test_a_shared_figure_has_its_exact_share_and_its_line(shop: Place, server: Server) -> None:
    found = [server.get(f"explain/{i}").json() for i in figures_of(shop.folder / "home")]
    shared = {e["owner"]: e for e in found if e["decision"]["pool"]}
    # Running totals are rounded to 12 digits: 10 × 0.666666666667, and the rest of 10.
    assert {o: e["amounts"]["BilledCost"] for o, e in shared.items()} == {
        "data": "6.66666666667", "web": "3.33333333333",
    }  # fmt: skip
    web = shared["web"]
    assert web["own_share"]["fraction"] == "1/3" and web["share"] == "0.333333333333"
    assert (web["decision"]["tier"], web["decision"]["pool"]) == ("pool", "rest")
    assert web["own_share"]["weight"] == "1" and "fixed" in web["own_share"]["driver"]
    assert "everybody" in web["decision"]["text"]
    (charge,) = web["charges"]
    assert charge["report"] == "one.csv.gz" and charge["report_row"] == 3
    assert charge["reference_number"] == "ref-2025-01-02-10" and ",10,USD," in charge["raw"]
    (euro,) = [e for e in found if e["rate"]["billing_currency"] == "EUR"]
    assert euro["rate"] == {
        "rate": "1.1", "published": "2025-01-01", "source": "rates file",
        "billing_currency": "EUR", "reporting_currency": "USD",
    }  # fmt: skip
    assert "team" in euro["decision"]["evidence"] and "web" in euro["decision"]["evidence"]


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("explain/0123456789abcdef", 404, "no figure 0123456789abcdef"),
        ("explain/short", 422, "expected an x_AllocationId"),
        ("explain/0123456789abcdef?as_of=1999-01-01", 404, "explain as of a later time"),
        ("statements/nobody/2025-01", 404, "there is cost of: data, unallocated, web"),
        ("statements/a%2Fb/2025-01", 404, "no cost of owner 'a/b'"),
        ("statements/web/2025-13", 422, "no date written as YYYY-MM"),
        ("statements/web/0001-01", 422, "no month before 0001-01"),
        ("statements/web/0002-01", 404, "0001-12"),
        ("costs?by=colour", 422, "dimension 'colour' is unknown; allowed: account, "),
        ("costs?filters=owner", 422, "filters 'owner': expected dimension=value"),
        ("costs?filters=service=%00", 422, "zero character"),
        ("costs?filter=owner=web", 422, "'filter' is no parameter here; allowed: by, metric"),
        ("costs?metric=Cost", 422, "allowed: EffectiveCost, BilledCost"),
        ("costs?top=3", 422, "name a dimension to group by"),
        ("costs?by=day&top=10001", 422, "less than or equal to 10000"),
        ("costs?by=day&top=many", 422, "top 'many': "),
        ("costs?since=2025", 422, "since '2025': expected a day such as"),
        ("costs?since=2025-02-30", 422, "since '2025-02-30': "),
        ("costs?since=2025-02-01&until=2025-01-01", 422, "ends before it starts"),
        ("costs?as_of=5", 422, "as_of '5': expected a time such as"),
        ("costs?as_of=0001-01-01T00:00:00%2B14:00", 422, "is no time in UTC"),
        ("unallocated?since=2025-02-01&until=2025-01-01", 422, "ends before it starts"),
        ("unallocated?since=x", 422, "since 'x': expected a day"),
        ("diff", 422, "as_of"),
        ("diff?as_of=2025-01-01&as_of=2025-01-02&as_of=2025-01-03", 422, "at most 2"),
        ("diff?as_of=2010-01-01", 422, "held no cost at 2010-01-01"),
        ("health?x=1", 422, "allowed: none"),
        ("nowhere", 404, "GET /api/v1/nowhere: Not Found; /api/v1/openapi.json says"),
    ],
)
def test_a_refusal_says_what_was_expected(
    server: Server, path: str, status: int, expected: str
) -> None:
    answer = server.get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"title", "status", "detail"}
    assert expected in answer.json()["detail"]


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (["costs", "--by", "colour"], "costs?by=colour"),
        (["explain", "short"], "explain/short"),
        (["explain", "0123456789abcdef"], "explain/0123456789abcdef"),
        (["statement", "--month", "2025-01", "--owner", "x"], "statements/x/2025-01"),
        (["diff", "--as-of", "2010-01-01"], "diff?as_of=2010-01-01"),
    ],
)
def test_refusals_are_the_commands_sentences(
    shop: Place, server: Server, command: list[str], path: str
) -> None:
    printed = shop.finops(*command)
    assert printed.exit_code == 2
    assert printed.stderr.strip() == f"error: {server.get(path).json()['detail']}"


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b'{"colour": 1}', "application/json", "'colour' is no part of a question"),
        (b"{", "application/json", "JSON"),
        (b'{"by": ["\\ud800"]}', "application/json", ""),
        (b"[]", "application/json", ""),
        (b"{}", "text/plain", ""),
        (b"", "application/json", ""),
    ],
)
def test_a_document_that_is_no_question_is_refused(
    server: Server, content: bytes, kind: str, expected: str
) -> None:
    with server.client() as client:
        answer = client.post("costs", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422, answer.text
    assert expected in answer.json()["detail"]


def test_a_document_may_not_be_large(server: Server) -> None:
    with server.client() as client:
        for content in (b" " * 70_000, iter([b" " * 40_000] * 2)):  # of a told length, and not
            answer = client.post(
                "costs", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 413


def test_nothing_can_be_written(server: Server) -> None:
    with server.client() as client:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = client.request(method, "unallocated")
            assert (answer.status_code, answer.json()["title"]) == (405, "Method Not Allowed")


def test_many_at_once_get_the_answers_of_one_by_one(shop: Place, server: Server) -> None:
    paths = [path for _, path in ASKED]
    paths += [f"explain/{i}" for i in figures_of(shop.folder / "home")]
    paths += [f"costs?by={by}&filters=owner=web" for by in ("day", "service", "sku", "tag:team")]
    alone = {path: server.get(path).content for path in paths}
    with server.client() as client, ThreadPoolExecutor(20) as threads:
        for _ in range(3):
            together = list(threads.map(lambda path: client.get(path), paths))
            assert {a.status_code for a in together} == {200}
            assert {p: a.content for p, a in zip(paths, together, strict=True)} == alone


def test_an_empty_lake_says_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "reports").mkdir()
    place.configure()
    with serving(place.config) as empty:
        for path in ("costs", "explain/0123456789abcdef", "unallocated", "statements/a/2025-01"):
            answer = empty.get(path)
            assert answer.status_code == 503, answer.text
            assert "run `finops run`" in answer.json()["detail"]
        assert empty.get("health").json() == {"status": "ok"}


def test_amounts_have_every_digit(server: Server) -> None:
    asked = urlencode({"by": "owner", "exclude": "currency=ARS"}, quote_via=quote)
    answer = server.get(f"costs?{asked}").json()
    costs = [Decimal(row["EffectiveCost"]) for row in answer["rows"]]
    assert sum(costs) == Decimal(answer["total"]) == Decimal("130.005000000000000001")
    assert "E" not in json.dumps([row["EffectiveCost"] for row in answer["rows"]])


def figures_of(home: Path) -> list[str]:
    """The identifiers of all figures, by Delta's own reader."""
    return sorted(
        identifier
        for uri in DeltaTable(home / "lake" / "allocated_costs").file_uris()
        for identifier in pq.ParquetFile(uri).read(["x_AllocationId"]).column(0).to_pylist()
    )
