"""What all tests share: nobody waits between the attempts of an asset that fails."""

from __future__ import annotations

import dagster as dg
import pytest

from finops_pipeline.orchestration import assets, clusters, company


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as users have, at once."""
    at_once = dg.RetryPolicy(max_retries=assets.RETRIES.max_retries)
    for module in (assets, clusters, company):
        monkeypatch.setattr(module, "RETRIES", at_once)
