"""The values for Dagster's Helm chart: keys that it takes, names that exist, an image that can run.

There is neither Helm nor Docker nor a cluster here: nothing is rendered, built or started. What can
be held against the real thing is: the keys against those that the chart's schema names
(`chart_keys.yaml`), what goes to Kubernetes against `dagster-k8s` and Kubernetes' own client
library, the instance that comes of it against Dagster, and module names against the package.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.launcher import K8sRunLauncher
from dagster_k8s.models import k8s_snake_case_dict
from kubernetes import client

from finops_pipeline.config import Settings
from finops_pipeline_tests.deploy.machines import ROOT

HERE = Path(__file__).parent
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/kubernetes/values.yaml").read_text("utf-8"))
KEYS: dict[str, Any] = yaml.safe_load((HERE / "chart_keys.yaml").read_text("utf-8"))
DEPLOYMENT: dict[str, Any] = VALUES["dagster-user-deployments"]["deployments"][0]
LAUNCHER: dict[str, Any] = VALUES["runLauncher"]["config"]["k8sRunLauncher"]


def strangers(value: Any, place: str = "") -> Iterator[str]:
    """Every place below this one with a key that the chart does not name there."""
    known = KEYS.get(place)
    if known == "any" or not isinstance(value, dict | list):
        return
    if isinstance(value, list):
        if f"{place}[]" in KEYS:
            for item in value:
                yield from strangers(item, f"{place}[]")
        elif any(isinstance(item, dict | list) for item in value):
            yield f"{place}[]"
        return
    for key, below in value.items():
        here = f"{place}.{key}".removeprefix(".")
        if known is None or key not in known:
            yield here
        yield from strangers(below, here)


def test_the_chart_takes_every_key() -> None:
    assert list(strangers(VALUES)) == []
    assert list(strangers({"runLauncher": {"typ": 1}, "wrong": 1})) == ["runLauncher.typ", "wrong"]


def test_what_goes_to_kubernetes_is_what_its_own_library_takes() -> None:
    config = UserDefinedDagsterK8sConfig.from_dict(
        {
            "container_config": {"resources": LAUNCHER["resources"]},
            "pod_spec_config": LAUNCHER["runK8sConfig"]["podSpecConfig"],
            "pod_template_spec_metadata": LAUNCHER["runK8sConfig"]["podTemplateSpecMetadata"],
            "job_spec_config": LAUNCHER["runK8sConfig"]["jobSpecConfig"],
        }
    )
    assert config.job_spec_config["active_deadline_seconds"] == 7200
    for kind, given in (
        (client.V1PodSecurityContext, [DEPLOYMENT["podSecurityContext"]]),
        (client.V1ResourceRequirements, [DEPLOYMENT["resources"]]),
        (client.V1Volume, DEPLOYMENT["volumes"]),
        (client.V1VolumeMount, DEPLOYMENT["volumeMounts"]),
        (client.V1SecretEnvSource, DEPLOYMENT["envSecrets"]),
    ):
        for value in given:
            k8s_snake_case_dict(kind, value)  # raises for a key that the kind does not have


def test_dagster_takes_the_instance_that_the_chart_makes_of_it(tmp_path: Path) -> None:
    concurrency, daemon = dict(VALUES["concurrency"]), VALUES["dagsterDaemon"]
    assert concurrency.pop("enabled") is True
    made = {
        "concurrency": snake(concurrency),
        "run_monitoring": snake(daemon["runMonitoring"]),
        "run_retries": snake(daemon["runRetries"]),
        "telemetry": VALUES["telemetry"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["concurrency"]["pools"]["granularity"] == "run"
    assert VALUES["runLauncher"]["type"] == K8sRunLauncher.__name__


def test_the_code_server_loads_our_definitions_and_the_image_holds_what_it_needs() -> None:
    arguments = DEPLOYMENT["codeServerArgs"]
    module = importlib.import_module(arguments[arguments.index("--module-name") + 1])
    assert isinstance(module.defs, dg.Definitions)

    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    copied = [w for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.M) for w in line.split()]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert f"USER {DEPLOYMENT['podSecurityContext']['runAsUser']}" in dockerfile
    mounts = {mount["mountPath"] for mount in DEPLOYMENT["volumeMounts"]}
    assert str(Path(DEPLOYMENT["env"]["FINOPS_CONFIG"]).parent) in mounts


def test_no_secret_stands_in_it_and_a_run_has_room_for_the_engine() -> None:
    assert "postgresqlPassword" not in VALUES["postgresql"]
    assert not any("KEY" in name or "SECRET" in name for name in DEPLOYMENT["env"])
    # docs/performance.md: at most 887 MB with the default of 600 MB for the engine.
    assert LAUNCHER["resources"]["requests"]["memory"] == "1Gi"
    assert Settings().memory_limit == "600MB"


def snake(value: Any) -> Any:
    """The chart's spelling of keys as Dagster's; one key is Dagster's own in both."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        k if k == "applyLimitPerUniqueValue" else re.sub("([A-Z])", r"_\1", k).lower(): snake(v)
        for k, v in value.items()
    }
