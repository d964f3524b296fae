"""Spark itself: started once in a process, set up so that figures are exact."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from finops_pipeline.config import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What figures rest on; no configuration may say otherwise.
_EXACT = {
    "spark.sql.ansi.enabled": "true",  # an overflow is an error and no null
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.files.maxRecordsPerFile": "0",
}
_USUAL = {
    "spark.app.name": "finops",
    "spark.ui.enabled": "false",  # it would listen
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "FATAL",  # an error is raised, and told once
    "spark.driver.memory": "2g",
    # Batches of reports pass through the driver, which holds one at a time: its heap is the limit.
    "spark.driver.maxResultSize": "0",
    "spark.rpc.message.maxSize": "2047",  # MB
    # PySpark warns that pandas is newer than it knows; no figure passes through pandas.
    "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning",
    "spark.sql.parquet.compression.codec": "zstd",
    # Every join here has one small side: catalogues, rates, decisions, shares.
    "spark.sql.autoBroadcastJoinThreshold": "64MB",
    # Files are named, not searched for: a job that lists them would cost more than it saves.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # A filter on what DuckDB was asked would be pushed down to ask everything twice.
    "spark.sql.optimizer.excludedRules": (
        "org.apache.spark.sql.catalyst.optimizer.PushDownPredicates"
    ),
}
_LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


@dataclass(frozen=True)
class _Running:
    """This process's Spark, and what it was started with."""

    session: SparkSession
    started_with: tuple[str, Mapping[str, str]]


_running: _Running | None = None


def check_spark() -> None:
    """Raises ConfigError when the extra or Java is missing, saying what to install."""
    if find_spec("pyspark") is None:
        raise ConfigError(
            "engine: spark needs PySpark, which is not installed: "
            "pip install 'finops-pipeline[spark]', or set engine: duckdb"
        )
    home = os.environ.get("JAVA_HOME")
    if not (Path(home, "bin", "java").exists() if home else shutil.which("java")):
        place = f"JAVA_HOME is {home}, which has none" if home else "there is none on the PATH"
        raise ConfigError(
            f"engine: spark needs Java 17 or newer, and {place}: install one (Debian: "
            "apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), or set "
            "engine: duckdb"
        )


def open_session(master: str, config: Mapping[str, str]) -> SparkSession:
    """A session of its own in this process's Spark, which is started when it is not running.

    Raises ConfigError when Spark cannot be started, or is told to be inexact.
    """
    global _running
    check_spark()
    for name, value in _EXACT.items():
        if config.get(name, value) != value:
            raise ConfigError(f"spark_config.{name}: figures are exact with {value} only; leave it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas is newer than PySpark knows; it is not used
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    if _running is not None and _running.started_with != (master, config):
        running, _ = _running.started_with
        raise ConfigError(
            f"engine: spark: this process's Spark runs already, with spark_master {running} and "
            "its spark_config; another one needs a process of its own"
        )
    builder = SparkSession.builder.master(master)
    # PySpark takes the workers' Python from the environment alone.
    os.environ.setdefault("PYSPARK_PYTHON", config.get("spark.pyspark.python", sys.executable))
    settings = {**_USUAL, **(_LOOPBACK if _is_here(master) else {})}
    for name, value in {**settings, **config, **_EXACT}.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkException, Py4JError, RuntimeError) as error:
        raise ConfigError(
            f"engine: spark: Spark did not start with spark_master {master}: {error}. It needs "
            "Java 17 or newer, and a master that can be reached"
        ) from error
    _running = _Running(session, (master, dict(config)))
    return session.newSession()


def stop_spark() -> None:
    """Stop this process's Spark, if it runs."""
    global _running
    if _running is not None:
        _running.session.stop()
    _running = None


def _is_here(master: str) -> bool:
    return master.startswith(("local", "spark://127.0.0.1:", "spark://localhost:"))
