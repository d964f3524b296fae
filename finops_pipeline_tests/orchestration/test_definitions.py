"""What Dagster is told before anything runs: assets, checks, lineage, automation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from finops_pipeline.config import Settings, Source
from finops_pipeline.contracts.tables import tables
from finops_pipeline.orchestration.build import build_definitions
from finops_pipeline_tests.orchestration.company import Company, asset

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {"ingest", "normalize", "allocate", "store", "actuate", "serve"}


@pytest.fixture
def specs(acmes: Company) -> dict[str, dg.AssetSpec]:
    """Every asset's spec by its key."""
    found = acmes.definitions().resolve_all_asset_specs()
    return {s.key.to_user_string(): s for s in found}


def test_every_asset_says_what_it_is(specs: dict[str, dg.AssetSpec]) -> None:
    assert len(specs) == 2 * 7 + 4
    assert specs["company/maintenance"].partitions_def is None  # of no day, and in no backfill
    for name, spec in specs.items():
        assert spec.group_name in GROUPS, name
        assert spec.owners == ["team:finops"], name
        assert spec.kinds, name
        assert spec.description and spec.description.endswith("."), name
        if name != "company/maintenance":
            assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition), name


def test_every_table_shows_its_columns(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        # A database of views and a deed are no tables.
        if name not in ("company/warehouse", "company/maintenance"):
            columns = spec.metadata["dagster/column_schema"].columns
            assert columns and all(c.description and c.type for c in columns), name


def test_column_lineage_leads_to_columns_that_are_there(specs: dict[str, dg.AssetSpec]) -> None:
    lineage = specs["acme_oci/allocated_costs"].metadata["dagster/column_lineage"]
    deps = lineage.deps_by_column

    assert [d.column_name for d in deps["BilledCost"]] == ["BilledCost"]
    assert {d.asset_key.path[-1] for d in deps["x_BusinessUnit"]} == {"ownership", "shares"}
    own = set(tables()["allocated_costs"].names)
    for column, sources in deps.items():
        assert column in own
        for source in sources:
            assert source.column_name in tables()[source.asset_key.path[-1]].names


def test_all_checks_are_there_and_those_that_protect_data_block(acme: Company) -> None:
    graph = acme.definitions().resolve_asset_graph()
    found = {
        f"{key.asset_key.path[-1]}.{key.name}": graph.get_check_spec(key).blocking
        for key in graph.asset_check_keys
    }
    assert found == {
        "raw_reports.readable": False,
        "focus_costs.contract": True,
        "focus_costs.conservation": True,
        "focus_costs.exchange_rates": False,
        "rejected_rows.none_rejected": False,
        "allocated_costs.contract": True,
        "allocated_costs.conservation": True,
        "allocated_costs.fresh": False,
    }


def test_sources_do_not_depend_on_each_other(acmes: Company) -> None:
    graph = acmes.definitions().resolve_asset_graph()
    for name in ("acme_oci", "acme_eu"):
        others = graph.get_ancestor_asset_keys(asset("allocated_costs", name))
        assert {key.path[0] for key in others} == {name}


def test_without_sources_nothing_is_defined_and_nothing_breaks() -> None:
    assert not build_definitions(Settings()).resolve_all_asset_specs()


def test_no_credential_is_told_to_dagster(tmp_path: Path) -> None:
    key_file = tmp_path / "secret-place" / "config"
    source = Source(
        name="acme", format="oci_focus", location="oci://bling/tenancy",
        config_file=key_file, profile="SECRET-PROFILE",
    )  # fmt: skip
    definitions = build_definitions(Settings(home=tmp_path / "home", sources=(source,)))

    told = repr(
        [(s.metadata, s.tags, s.description) for s in definitions.resolve_all_asset_specs()]
    )
    told += repr([s.description for s in definitions.sensors or ()])
    told += repr(definitions.resources)

    assert "secret" not in told.lower()


@pytest.mark.parametrize("configured", [True, False])
def test_the_workspace_loads_from_any_folder(tmp_path: Path, configured: bool) -> None:
    for name in ("dagster.yaml", "workspace.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    if configured:
        (tmp_path / "finops.yaml").write_text(
            yaml.safe_dump(
                {"sources": [{"name": "a", "format": "oci_focus", "location": "file:reports"}]}
            ),
            encoding="utf-8",
        )
    done = subprocess.run(
        [Path(sys.executable).parent / "dagster", "definitions", "validate"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stderr + done.stdout


def test_a_wrong_configuration_is_told_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "finops.yaml").write_text("sources: [{name: a}]", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "import finops_pipeline.definitions"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "finops.yaml: sources.0.format: Field required" in done.stderr
