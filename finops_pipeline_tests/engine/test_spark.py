"""Spark beside DuckDB: every table, row by row, all columns, to the last digit."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finops_pipeline.config import ConfigError, Settings
from finops_pipeline.contracts.forms import MONEY, RATE, SHARE
from finops_pipeline.contracts.tables import tables
from finops_pipeline.engine import functions
from finops_pipeline.engine.duckdb import DuckDBEngine
from finops_pipeline.engine.protocol import Engine
from finops_pipeline.engine.spark import SparkEngine
from finops_pipeline.engine.spark_session import check_spark, open_session, stop_spark
from finops_pipeline.lake.home import Home
from finops_pipeline.normalize.expressions import convert, focus_unit, lookup_key
from finops_pipeline.normalize.oci import charge_category, is_true, resource_type
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.query.answer import ask
from finops_pipeline.query.explain import explain
from finops_pipeline.query.model import CostQuery
from finops_pipeline.store.allocated import part
from finops_pipeline.store.export import export_focus
from finops_pipeline.store.rollups import Rollups
from finops_pipeline_tests.engine import awkward
from finops_pipeline_tests.engine.whole import bring_in, files, lake, rows, schemas

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None,
    reason="NO JAVA: NOTHING OF SPARK IS TESTED; install openjdk-17-jre-headless",
)

# Small tables: a shuffle into the usual 200 parts would be nothing but its own planning, and what
# runs for a minute is compiled by Java's quick compiler only.
SMALL = {
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.shuffle.partitions": "2",
}
LOCAL = {"engine": "spark", "spark_config": SMALL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The awkward company's reports."""
    made = tmp_path_factory.mktemp("awkward")
    awkward.deliver(made)
    return made


@pytest.fixture(scope="module")
def by_duckdb(folder: Path) -> Settings:
    """The company brought in by DuckDB."""
    settings = awkward.settings(folder, "by-duckdb")
    bring_in(settings)
    return settings


@pytest.fixture(scope="module")
def by_spark(folder: Path) -> Iterator[Settings]:
    """The company brought in by Spark on this machine."""
    settings = awkward.settings(folder, "by-spark", **LOCAL)
    bring_in(settings)
    yield settings
    stop_spark()


@pytest.fixture(scope="module")
def spark(by_spark: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
    """An engine in the same Spark."""
    spool = tmp_path_factory.mktemp("spool")
    with SparkEngine(by_spark.spark_master, by_spark.spark_config, spool) as engine:
        yield engine


@pytest.fixture(scope="module")
def duckdb() -> Iterator[DuckDBEngine]:
    """The engine that is right."""
    with DuckDBEngine("300MB") as engine:
        yield engine


def test_the_reports_are_awkward(by_duckdb: Settings) -> None:
    found = lake(by_duckdb)
    assert all(found[name] for name in found if name != "compartments")
    charges = [dict(row) for row in found["focus_costs"]]
    assert {c["BillingCurrency"] for c in charges} == {"USD", "EUR", "XTS"}
    categories = {"Usage", "Credit", "Tax", "Adjustment", "Purchase"}
    assert {c["ChargeCategory"] for c in charges} == categories
    assert any(c["x_ExchangeRate"] is None for c in charges)
    reasons = {dict(row)["reason"] for row in found["superseded_rows"]}
    assert reasons == {"repeated", "restated", "corrected"}
    rejected = " ".join(dict(row)["reason"] for row in found["rejected_rows"])
    for reason in ("is not UTF-8", "fields; the header has", "not closed", "plain number", "time"):
        assert reason in rejected
    shares = [dict(row)["x_Share"] for row in found["allocated_costs"]]
    assert Decimal("0.333333333333") in shares
    assert {dict(row)["namespace"] for row in found["shares"]} == {
        None, "__idle__", '"日本語"', "a/b~c", "we",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_row_of_every_table_is_equal(
    by_duckdb: Settings, by_spark: Settings, name: str
) -> None:
    assert rows(by_spark, name) == rows(by_duckdb, name)
    assert schemas(by_spark, name) == schemas(by_duckdb, name)


def test_a_last_digit_or_a_lost_row_is_seen(by_duckdb: Settings, tmp_path: Path) -> None:
    whole = rows(by_duckdb, "focus_costs")
    copied = by_duckdb.model_copy(update={"home": tmp_path / "home"})
    shutil.copytree(by_duckdb.home, copied.home)
    assert rows(copied, "focus_costs") == whole
    file = Path(files(copied, "focus_costs")[0])
    table = pq.ParquetFile(file).read()
    costs = table.column("BilledCost").to_pylist()
    changed = pa.array([costs[0] + Decimal("1e-18"), *costs[1:]], pa.decimal128(38, 18))
    at = table.schema.get_field_index("BilledCost")
    pq.write_table(table.set_column(at, "BilledCost", changed), file)
    assert rows(copied, "focus_costs") != whole
    pq.write_table(table.slice(1), file)
    assert rows(copied, "focus_costs") != whole


def test_a_spark_that_rounds_is_refused(tmp_path: Path) -> None:
    inexact = {"spark.sql.decimalOperations.allowPrecisionLoss": "true"}
    with pytest.raises(ConfigError, match="figures are exact with false only"):
        open_session("local[2]", inexact)


def test_another_engine_rebuilds_nothing(by_duckdb: Settings, by_spark: Settings) -> None:
    for settings, engine in ((by_duckdb, "spark"), (by_spark, "duckdb")):
        before = {name: files(settings, name) for name in tables()}
        switched = settings.model_copy(update={**LOCAL, "engine": engine})
        assert not any(bring_in(switched).values())
        assert {name: files(settings, name) for name in tables()} == before


def test_what_the_lake_has_keeps_its_bytes_on_another_engine(
    by_duckdb: Settings, spark: SparkEngine, tmp_path: Path
) -> None:
    copied = by_duckdb.model_copy(update={"home": tmp_path / "home"})
    shutil.copytree(by_duckdb.home, copied.home)
    written = [f for name in ("allocated_costs", "daily_totals") for f in files(copied, name)]
    before = [Path(f).read_bytes() for f in written]
    pipeline = Pipeline(copied)
    source = copied.source("acme-eu")
    costs = [dict(row) for row in rows(copied, "allocated_costs")]
    day = max(cost["x_ChargeDay"] for cost in costs if cost["x_Source"] == source.name)
    (stored,) = pipeline.store(source, spark).run([day])
    assert stored.rows and not stored.problems
    assert Rollups(pipeline.home, spark).run([day])[day]
    assert [Path(f).read_bytes() for f in written] == before


def test_answers_and_explanations_are_equal(
    by_duckdb: Settings, duckdb: DuckDBEngine, spark: SparkEngine
) -> None:
    home = Home(by_duckdb.home)
    for asked in (
        {"by": "service,owner"}, {"by": "tag:team,day", "top": 2}, {"by": "tag:Team"},
        {"by": "unit,month", "metric": "ConsumedQuantity"}, {"filters": {"owner": "shop"}},
    ):  # fmt: skip
        query = CostQuery.model_validate(asked)
        assert ask(home, spark, query) == ask(home, duckdb, query)
    figure = dict(rows(by_duckdb, "allocated_costs")[0])["x_AllocationId"]
    assert explain(home, spark, figure) == explain(home, duckdb, figure)


def test_exports_hold_the_same_lines(
    by_duckdb: Settings, duckdb: DuckDBEngine, spark: SparkEngine, tmp_path: Path
) -> None:
    home = Home(by_duckdb.home)
    found = []
    for engine in (duckdb, spark):
        result = export_focus(home, engine, tmp_path / "charges.csv", with_x=True)
        found.append((result.rows, sorted(result.path.read_bytes().split(b"\r\n"))))
    # Lines in quotes come with their charge: the sorted text is the same.
    assert sorted(b"\n".join(found[0][1])) == sorted(b"\n".join(found[1][1]))
    assert found[0][0] == found[1][0]


def same(engines: tuple[Engine, Engine], data: pa.Table, make: Callable[[Any], Any]) -> None:
    """Require that an expression over the data gives the same rows on both engines."""
    table = ibis.table(ibis.Schema.from_pyarrow(data.schema), name="data")
    found = []
    for engine in engines:
        engine.bind_arrow("data", data)
        found.append(engine.rows(engine.compile(make(table).order_by("i"))).to_pylist())
    different = [(a, b) for a, b in zip(*found, strict=True) if a != b]
    assert different == []


def test_texts_mean_the_same(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    numbers = [sign + n + e for sign in ("", "-", "+", " ") for n in (
        "0", "1", "12.5", ".5", "5.", ".", "", "0.1234567890123456785", "99999999999999999999",
        "99999999999999999999.9999999999999999995", "123456789012345678901.5", "0x1", "1_0", "1d",
    ) for e in ("", "e3", "E-3", "e+20", "e-25", "e400", "e", " ", "\n")]  # fmt: skip
    days = ["2026-09-09", "2026-9-9", "2026-02-29", "2024-02-29", "0001-01-01", "20260909"]
    clocks = [
        "", "T10:00Z", "T1:5Z", "T10:00:00Z", "T10:00:00.5Z", "T10:00:00.1234567Z", "T10:00 ",
        "T24:00Z", "T10:00:60Z", "T10:00:00+0130", "T10:00:00-05", "T10:00", " 10:00:00", "t1:00z",
    ]  # fmt: skip
    texts = [*numbers, *(d + c for d in days for c in clocks), *awkward._TEXTS, *awkward._UNITS,
             '{"a":1}', "{}", "[]", "nul", "true", " TRUE ", '{"a/b":"~"}', "{'a':1}", None,
             "ocid1.vcn.oc1", "ocid1.", "ocid1", "SALES TAX", "éVAT", "vat \u0130",
             "infinity", "epoch", "0." + "0" * 40 + "5e41", "1" + "0" * 40]  # fmt: skip
    data = pa.table({"i": list(range(len(texts))), "x": pa.array(texts, pa.string())})

    def every(t: Any) -> Any:
        return t.select(
            t.i, number=functions.parse_number(t.x), time=functions.parse_time(t.x),
            time_text=functions.parse_time(t.x).cast(str), json=functions.json_text(t.x),
            valid=functions.is_json(t.x), member=functions.json_member(
                functions.is_json(t.x).fill_null(False).ifelse(t.x, ibis.null(str)), "a/b"
            ),
            hash=functions.text_hash([t.x, functions.parse_number(t.x)]), true=is_true(t.x),
            refund=functions.parse_number(t.x) < 0,
            category=charge_category(
                t.x, t.x, (functions.parse_number(t.x) < 0).fill_null(False), t.x.isnull()
            ),
            key=lookup_key(t.x), kind=resource_type(t.x, t.x), plain=t.x.strip().lower(),
        )  # fmt: skip

    same((duckdb, spark), data, every)


def test_units_mean_the_same(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    facts = Path(functions.__file__).parents[1] / "normalize" / "data" / "oci_units.csv"
    units = sorted({u for text in facts.read_text("utf-8").splitlines() for u in text.split(",")})
    units += [u + end for u in awkward._UNITS for end in ("", "\n", "s", " hour", "\u2028", "é")]
    data = pa.table({"i": list(range(len(units))), "x": units})
    same((duckdb, spark), data, lambda t: t.select(t.i, unit=focus_unit(t.x)))


def test_every_letter_has_the_same_case_and_json(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    letters = [chr(i) for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000 and i < 0x10FF00]
    texts = ["".join(letters[i : i + 64]) for i in range(0, len(letters), 64)]
    data = pa.table({"i": list(range(len(texts))), "x": texts})
    same(
        (duckdb, spark),
        data,
        lambda t: t.select(t.i, u=t.x.upper(), l=t.x.lower(), j=functions.json_text(t.x)),
    )


def test_products_are_exact(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    amounts = [
        "0",
        "1e-18",
        "-1e-18",
        "0.5",
        "-0.333333333333333333",
        "999999999999.999999999999999999",
    ]
    rates = ["0.000000000001", "1", "1.123456789012", "99999999.999999999999"]
    shares = ["0", "0.333333333333", "0.666666666667", "1"]
    cases = [tuple(map(Decimal, (a, r, s))) for a in amounts for r in rates for s in shares]
    columns = list(zip(*cases, strict=True))
    data = pa.table({
        "i": list(range(len(cases))),
        "amount": pa.array(columns[0], pa.decimal128(38, 18)),
        "rate": pa.array(columns[1], pa.decimal128(20, 12)),
        "share": pa.array(columns[2], pa.decimal128(13, 12)),
    })  # fmt: skip
    assert tuple(ibis.Schema.from_pyarrow(data.schema).types[1:]) == (MONEY, RATE, SHARE)

    def exact(t: Any) -> Any:
        none = ibis.literal(Decimal(0)).cast(SHARE)
        return t.select(
            t.i, converted=convert(t.amount, t.rate, t.i < 0), part=part(t.amount, none, t.share),
            text=t.amount.cast(str), rounded=t.amount.cast("decimal(38, 6)"),
        )  # fmt: skip

    same((duckdb, spark), data, exact)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"needs Java 17 or newer, and JAVA_HOME is .* has none"):
        check_spark()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="none on the PATH: install one"):
        check_spark()
    monkeypatch.setattr("finops_pipeline.engine.spark_session.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'finops-pipeline\[spark\]'"):
        check_spark()


@pytest.mark.skipif(
    "FINOPS_TEST_CLUSTER" not in os.environ,
    reason="a cluster of Spark takes minutes to start and to run: make spark-cluster",
)
def test_a_cluster_gives_the_same_rows(folder: Path, tmp_path: Path) -> None:
    whole = awkward.settings(folder, "by-duckdb-alone")
    alone = whole.model_copy(update={"sources": whole.sources[1:]})  # one report: small data
    bring_in(alone)
    config = {**SMALL, "spark.executor.memory": "640m"}
    with cluster(tmp_path) as master:
        engine = {"engine": "spark", "spark_master": master, "spark_config": config}
        settings = alone.model_copy(update={"home": folder / "by-cluster", **engine})
        done = subprocess.run(
            [sys.executable, "-m", "finops_pipeline_tests.engine.whole"],
            input=settings.model_dump_json(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{master} 2" in done.stdout  # a core of each worker
    assert rows(alone, "allocated_costs")
    for name in tables():
        assert rows(settings, name) == rows(alone, name)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A standalone cluster on loopback: a master and two workers of one core each."""
    import pyspark

    home = Path(pyspark.__file__).parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    master = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    here = ["--host", "127.0.0.1", "--webui-port", "0"]
    one = ["--cores", "1", "--memory", "768m"]
    commands = [
        [f"{deploy}.master.Master", *here, "--port", str(port)],
        *(
            [f"{deploy}.worker.Worker", *here, *one, "--work-dir", str(folder / w), master]
            for w in ("one", "two")
        ),
    ]
    environment = {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SCALA_VERSION": "2.13",  # else it looks for a build of its own
        "PATH": os.environ["PATH"],
    }
    running = []
    try:
        for i, command in enumerate(commands):
            with (folder / f"{i}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        ["java", "-Xmx256m", "-cp", f"{home}/jars/*", *command],
                        env=environment, stdout=log, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip
            if i == 0:
                _wait_for(folder / "0.log", "New state: ALIVE")
        for i in (1, 2):
            _wait_for(folder / f"{i}.log", "Successfully registered")
        yield master
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(timeout=30)


def _wait_for(log: Path, text: str) -> None:
    for _ in range(300):
        if text in log.read_text(encoding="utf-8", errors="replace"):
            return
        time.sleep(0.2)
    raise AssertionError(f"{log} never said {text!r}: {log.read_text(errors='replace')[-2000:]}")
