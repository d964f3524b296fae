"""Pandera's import, kept from reaching for PySpark: see `without_spark`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SET_BY_PANDERA = ("SPARK_LOCAL_IP", "PYARROW_IGNORE_TIMEZONE")
_REACHED_FOR = "pyspark.pandas"


@contextmanager
def without_spark() -> Iterator[None]:
    """A context to import Pandera in.

    Where PySpark is installed Pandera imports its pandas, which takes time and warns of pandas'
    version, and tells Spark to listen on loopback, where no other machine of a cluster finds it.
    """
    before = {name: os.environ.get(name) for name in _SET_BY_PANDERA}
    modules: dict[str, Any] = sys.modules
    hidden = _REACHED_FOR not in modules
    if hidden:
        modules[_REACHED_FOR] = None  # importing it fails as if it were not installed
    try:
        yield
    finally:
        if hidden:
            del modules[_REACHED_FOR]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
