"""The front door: what Dagster loads. Nothing else is in here."""

from __future__ import annotations

import dagster as dg

from finops_pipeline import process
from finops_pipeline.orchestration.build import build_definitions
from finops_pipeline.orchestration.settings import found_settings

process.tune()
defs: dg.Definitions = build_definitions(found_settings())
