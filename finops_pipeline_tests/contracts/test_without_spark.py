"""Pandera, where PySpark is installed beside it."""

from __future__ import annotations

import os
import subprocess
import sys

_IMPORT = """
import os, sys
from finops_pipeline.contracts import pandera_contracts
print("pyspark.pandas" in sys.modules, os.environ.get("SPARK_LOCAL_IP"))
"""


def test_checking_a_contract_neither_loads_nor_binds_spark() -> None:
    for given in ({}, {"SPARK_LOCAL_IP": "10.0.0.7"}):
        clean = {k: v for k, v in os.environ.items() if k != "SPARK_LOCAL_IP"}
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT],
            env={**clean, **given}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (done.stdout.split(), done.stderr) == (
            ["False", str(given.get("SPARK_LOCAL_IP"))],
            "",
        )
