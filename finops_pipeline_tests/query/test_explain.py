"""Every figure leads back to its charges and report rows, and adds up to the last digit."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from finops_pipeline.config import load_settings
from finops_pipeline.demo.company import make_company
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.ingest.scopes import read_scopes, store_scopes
from finops_pipeline.lake.home import Home
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.query.explain import ExplainError, explain, explain_day
from finops_pipeline.query.explanation import Explanation
from finops_pipeline.query.show_explanation import show_explanation
from finops_pipeline_tests.normalize.pipeline import COST_ROW, line, report
from finops_pipeline_tests.query.every_row import explain_every_row

DAY = date(2026, 9, 9)
RULES = """
owners: [web, data, ops]
tags: [{key: team, aliases: {storefront: web}}]
pools:
  - {name: network, match: {ServiceName: [NETWORK]}, drivers: cost}
  - {name: support, match: {ServiceName: [SUPPORT]}, drivers: {fixed: {web: 1, data: 1, ops: 1}}}
"""
ROWS = [
    line(ref="web-1", cost="0.05", **{"tags/team": "storefront"}),
    line(ref="web-2", cost="0.070000000000000001", **{"tags/team": "storefront"}),
    line(ref="data-1", cost="0.11", **{"tags/team": "data"}),
    line(ref="net-1", cost="1", service="NETWORK"),
    line(ref="net-2", cost="-0.000000000000000007", service="NETWORK", back="net-1"),
    line(ref="net-3", cost="0.333333333333333333", service="NETWORK"),
    line(ref="sup-1", cost="100.01", service="SUPPORT", currency="EUR"),
    line(ref="note, with\nbreak", cost="2.5", **{"product/resourceId": ""}),
    line(ref="esc-1", cost="3", **{"product/Description": "red \x1b[31m alert"}),
]


def run(config: Path) -> Home:
    """All stages of every source, without Dagster."""
    pipeline = Pipeline(load_settings(config))
    for source in pipeline.settings.sources:
        with pipeline.engine() as engine:
            ingest = pipeline.ingest(source, engine)
            ingest.run(ingest.new_reports())
            normalize = pipeline.normalize(source, engine)
            normalize.run(normalize.stale_days())
            store = pipeline.store(source, engine)
            assert not [p for day in store.run(store.stale_days()) for p in day.problems]
    return pipeline.home


def deliver(folder: Path, name: str, rows: list[dict[str, str]], before: bytes = b"") -> None:
    """A report whose rows come after some bytes that are no row."""
    header, _, body = report(
        rows, dict.fromkeys(n for r in (COST_ROW, *rows) for n in r)
    ).partition(b"\r\n")
    path = folder / "in" / "reports" / "cost-csv" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + b"\r\n" + before + body, mtime=0))
    noon = datetime(2026, 9, 10, 12, tzinfo=UTC).timestamp()
    os.utime(path, (noon, noon))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A tiny lake: tags, two pools, two currencies, and a report with rows that are no rows."""
    folder = tmp_path_factory.mktemp("explained")
    deliver(folder, "0001.csv.gz", ROWS)
    # A row cut short and a quote that is never closed keep their numbers, as a blank line does not.
    broken = b'too,short\r\n\r\n"open,quote,never,closed\r\n'
    late = [line(ref=f"late-{n}", cost=f"0.{n}", **{"tags/team": "ops"}) for n in range(1, 4)]
    deliver(folder, "0002.csv.gz", late, broken)
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    (folder / "rates.csv").write_text("date,from,to,rate\n2026-09-08,EUR,USD,1.123456789012\n")
    settings = {
        "rules": "rules.yaml",
        "rates": "rates.csv",
        "sources": [{"name": "acme", "format": "oci_cost_csv", "location": "file:in"}],
    }
    (folder / "finops.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return run(folder / "finops.yaml")


@pytest.fixture
def copied(home: Home, tmp_path: Path) -> Home:
    """The same lake, to be damaged."""
    shutil.copytree(home.path, tmp_path / "home")
    return Home(tmp_path / "home")


def figures(home: Home) -> list[dict[str, Any]]:
    """Every allocated figure, read without the engine."""
    table = home.table("allocated_costs")
    return [
        row
        for file in table.files()
        for row in pq.read_table(table.location(file), partitioning=None).to_pylist()
    ]


@pytest.fixture(scope="module")
def explained(home: Home, engine: DuckDBEngine) -> list[Explanation]:
    return [explain(home, engine, row["x_AllocationId"]) for row in figures(home)]


def summing(explained: list[Explanation], reference: str, owner: str) -> Explanation:
    """The explanation of an owner's figure that sums a charge."""
    return next(
        e
        for e in explained
        if e.owner == owner and reference in [c.reference_number for c in e.charges]
    )


def test_every_figure_adds_up(home: Home, explained: list[Explanation]) -> None:
    assert len(explained) == len(figures(home)) > 10
    assert [e.differences for e in explained if not e.adds_up] == []
    named = {c.reference_number for e in explained for c in e.charges}
    assert named == {r["lineItem/referenceNo"] for r in ROWS} | {f"late-{n}" for n in (1, 2, 3)}


def test_every_raw_row_is_the_charge(explained: list[Explanation]) -> None:
    for charge in (c for e in explained for c in e.charges):
        assert charge.raw is not None and charge.raw_problem is None
        fields = next(csv.reader(io.StringIO(charge.raw, newline="")))
        assert charge.reference_number in fields
        billed = charge.amounts["BilledCost"]
        assert billed in [Decimal(f) for f in fields if f.strip("-").replace(".", "").isdigit()]


def test_rows_that_are_no_rows_do_not_shift_the_others(explained: list[Explanation]) -> None:
    late = [c for e in explained for c in e.charges if str(c.reference_number).startswith("late-")]
    assert sorted((c.reference_number, c.report_row) for c in late) == [
        ("late-1", 3),
        ("late-2", 4),
        ("late-3", 5),
    ]


def test_a_shared_figure_shows_its_pool(explained: list[Explanation]) -> None:
    parts = [e for e in explained if e.decision.pool == "network"]
    owners = ["data", "ops", "web"]
    assert sorted({e.owner for e in parts}) == owners
    for e in parts:
        assert [s.owner for s in e.shares] == owners
        assert sum(s.share for s in e.shares) == 1
        assert {s.driver for s in e.shares} == {"cost"}
        assert e.decision.tier == "pool" and "NETWORK" in str(e.decision.evidence)
    web = summing(parts, "net-1", "web")
    # 0.05 + 0.07 of web beside 0.11 of data and 0.6 of ops, to 18 digits
    assert next(s for s in web.shares if s.owner == "web").weight == Decimal("0.120000000000000001")
    whole = web.whole["BilledCost"]
    assert sum(e.amounts["BilledCost"] or 0 for e in parts if e.whole == web.whole) == whole
    assert {c.corrects for c in web.charges} == {None, "net-1"}


def test_the_rate_is_named(explained: list[Explanation]) -> None:
    e = summing(explained, "sup-1", "ops")
    assert (e.rate.rate, e.rate.published) == (Decimal("1.123456789012"), date(2026, 9, 8))
    text = show_explanation(e)
    assert "1 EUR = 1.123456789012 USD, published for 2026-09-08 by" in text
    assert e.whole["x_ReportingBilledCost"] == Decimal("112.356913469090")


def test_text_for_people(explained: list[Explanation]) -> None:
    text = show_explanation(summing(explained, "web-2", "web"))
    for expected in (
        "Owner", "web", "tag team", 'team = "storefront"', "0.120000000000000001", "web-1",
        "reports/cost-csv/0001.csv.gz", "It adds up",
    ):  # fmt: skip
        assert expected in text
    assert "\x1b" not in show_explanation(summing(explained, "esc-1", "unallocated"))
    web = summing(explained, "net-1", "web")
    assert "web <" in show_explanation(web) and "of pool network" in show_explanation(web)


def test_json_has_every_digit_as_text(explained: list[Explanation]) -> None:
    e = summing(explained, "web-2", "web")
    content = json.loads(show_explanation(e, "json"), parse_float=pytest.fail)
    assert content["adds_up"] is True
    assert content["amounts"]["BilledCost"] == "0.120000000000000001"
    assert content["charge_day"] == "2026-09-09"
    assert [c["report_row"] for c in content["charges"]] == [1, 2]
    assert content["charges"][0]["start"] == "2026-09-09T10:00:00Z"


def test_a_unique_start_is_enough(home: Home, engine: DuckDBEngine) -> None:
    whole = figures(home)[0]["x_AllocationId"]
    for text in (whole[:8], whole[:20].upper(), f" {whole} "):
        assert explain(home, engine, text).allocation_id == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected an x_AllocationId"),
        ("1234567", "at least its first 8 digits"),
        ("xyzxyzxyz", "hexadecimal"),
        ("%" * 8, "hexadecimal"),
        ("0" * 32, "no figure 0000"),
        ("0" * 33, "32 hexadecimal digits"),
    ],
)
def test_a_wrong_identifier(home: Home, engine: DuckDBEngine, text: str, said: str) -> None:
    with pytest.raises(ExplainError, match=said):
        explain(home, engine, text)


def test_an_ambiguous_start_lists_what_it_may_be(
    home: Home, engine: DuckDBEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finops_pipeline.query.explain._SHORTEST", 1)
    starts = [row["x_AllocationId"][0] for row in figures(home)]
    start = max(starts, key=starts.count)
    assert starts.count(start) > 1
    with pytest.raises(ExplainError, match=r"more than one figure: .*2026-09-09.*give more"):
        explain(home, engine, start)


def test_an_empty_lake(tmp_path: Path, engine: DuckDBEngine) -> None:
    with pytest.raises(ExplainError, match="finops run"):
        explain(Home(tmp_path), engine, "0" * 32)


def test_only_some_rows_are_read(home: Home, engine: DuckDBEngine) -> None:
    row = next(r for r in figures(home) if r["x_ChargeCount"] == 2)
    e = explain(home, engine, row["x_AllocationId"], raw_lines=1)
    assert [c.raw is not None for c in e.charges] == [True, False]
    assert e.more_raw == 1 and "and 1 more rows" in show_explanation(e)
    assert e.adds_up


def change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "is missing; restore it"),
        (change_byte, "is not what was archived"),
        (lambda path: path.write_bytes(b""), "is not what was archived"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
)
def test_a_damaged_archive(copied: Home, engine: DuckDBEngine, damage: Any, said: str) -> None:
    for path in sorted((copied.path / "archive").rglob("*.csv.gz")):
        damage(path)
    e = explain(copied, engine, figures(copied)[0]["x_AllocationId"])
    assert e.adds_up  # the lake is sound
    assert all(c.raw is None and said in str(c.raw_problem) for c in e.charges)
    text = show_explanation(e)
    assert said in text and "archive/acme/2026-09-10/" in text
    assert str(copied.path) not in text


def test_a_figure_that_its_charges_do_not_make(copied: Home, engine: DuckDBEngine) -> None:
    table = copied.table("focus_costs")
    for path in map(table.location, table.files()):
        rows = pq.read_table(path, partitioning=None).to_pylist()
        for row in rows:
            row["BilledCost"] += Decimal("1E-18") * (row["x_ReferenceNumber"] == "web-1")
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    made = [explain(copied, engine, row["x_AllocationId"]) for row in figures(copied)]
    wrong = [e for e in made if not e.adds_up]
    assert [e.owner for e in wrong] == ["web"]
    assert wrong[0].differences == (
        "BilledCost is 0.120000000000000001; its charges and share make 0.120000000000000002",
    )
    assert "does NOT add up" in show_explanation(wrong[0])
    assert json.loads(show_explanation(wrong[0], "json"))["adds_up"] is False


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A small demo, with the places of its inventory."""
    folder = tmp_path_factory.mktemp("demo")
    config = make_company(folder, days=1, rows=3000).settings
    settings = load_settings(config)
    for source in settings.sources:
        inventory = Pipeline(settings).home.table("compartments")
        store_scopes(inventory, source.name, read_scopes(source))
    return run(config)


def test_every_row_of_the_demo_is_explained(demo: Home, engine: DuckDBEngine) -> None:
    """Of both formats and currencies and every tier: down to the lines of the reports."""
    rows = figures(demo)
    assert {r["x_Tier"] for r in rows} == {"tag", "scope", "pool", "unallocated"}
    assert {(r["x_Source"], r["BillingCurrency"]) for r in rows} == {
        ("acme-oci", "USD"), ("acme-oci", "EUR"), ("acme-eu", "EUR"),
        ("acme-aws", "USD"), ("acme-azure", "EUR"), ("acme-gcp", "USD"),
    }  # fmt: skip
    told = explain_every_row(demo, engine)
    assert (told.figures, told.problems) == (len(rows), [])
    of_days = {
        e.allocation_id: e
        for source, on in sorted({(r["x_Source"], r["x_ChargeDay"]) for r in rows})
        for e in explain_day(demo, engine, source, on)
    }
    for row in rows[::20]:
        e = explain(demo, engine, row["x_AllocationId"], raw_lines=1000)
        assert e == of_days[row["x_AllocationId"]]
        assert e.decision.evidence and e.more_raw == 0
        assert (e.decision.text is None) == (row["x_Tier"] == "unallocated")
        assert len(e.charges) == row["x_ChargeCount"]
        for charge in e.charges:
            assert charge.raw_problem is None
            assert charge.raw is not None
            if row["ProviderName"] == "Oracle":  # the others' rows have no number of their own
                assert charge.reference_number in charge.raw
        assert show_explanation(e)


FURTHER = """
owners: [web, data, ops]
tags: [{key: team, aliases: {storefront: web}, invalid: [n/a]}]
scopes: [{path: root, tags: {team: data}}]
pools:
  - name: platform
    match: {ServiceName: [NETWORK]}
    drivers: {fixed: {ops: 1, rest: 2}}
    recipients: [ops, rest]
  - {name: rest, match: {ServiceName: [DATABASE]}, drivers: cost, recipients: [web, data]}
  - {name: support, match: {ServiceName: [SUPPORT]}, drivers: {cost: direct, same: SubAccountId}}
"""


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory, engine: DuckDBEngine) -> list[Explanation]:
    """Explanations of figures that come through other pools, and follow what they belong to."""
    folder = tmp_path_factory.mktemp("further")
    deliver(
        folder,
        "0001.csv.gz",
        [
            line(ref="web", cost="3", **{"tags/team": "storefront"}),
            line(ref="data", cost="1", **{"tags/team": "data"}),
            line(ref="net", cost="12", service="NETWORK", **{"tags/team": "N/A"}),
            line(ref="sup", cost="8", service="SUPPORT", **{"tags/team": ""}),
        ],
    )
    (folder / "rules.yaml").write_text(FURTHER)
    source = {"name": "acme", "format": "oci_cost_csv", "location": "file:in"}
    settings = {"rules": "rules.yaml", "sources": [source]}
    (folder / "finops.yaml").write_text(yaml.safe_dump(settings))
    home = run(folder / "finops.yaml")
    return [explain(home, engine, row["x_AllocationId"]) for row in figures(home)]


def test_a_part_that_came_through_another_pool_shows_its_way(further: list[Explanation]) -> None:
    e = summing(further, "net", "web")
    assert e.adds_up and e.amounts["BilledCost"] == Decimal("6.000000000000000000")
    text = show_explanation(e)
    assert "Way: 2/3 of platform by fixed to rest → 3/4 of rest by cost to web" in text
    assert 'Rule      {"name": "platform", "match": {"ServiceName": ["NETWORK"]}' in text
    assert 'team = "N/A" is an invalid value' in text
    (own,) = [s for s in e.shares if s.owner == "web"]
    assert (own.fraction, own.share) == ("1/2", Decimal("0.5"))
    assert "Way:" not in show_explanation(summing(further, "net", "ops"))


def test_a_part_shows_what_it_belongs_to(further: list[Explanation]) -> None:
    e = summing(further, "sup", "data")
    assert e.amounts["BilledCost"] == 2 and e.decision.pool_part is not None
    assert json.loads(e.decision.pool_part) == {"SubAccountId": "ocid1.tenancy.oc1..acme"}
    assert "Belongs to" in show_explanation(e)
    assert {s.driver for s in e.shares} == {"cost of the same SubAccountId"}
