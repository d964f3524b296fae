"""What a Prometheus answered about a day (`prometheus.py`), read as containers of workloads."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from finops_pipeline.ingest.prometheus import RANGES, STEP
from finops_pipeline.ingest.usage import (
    GIB,
    Container,
    DayOfContainers,
    UsageError,
    read_number,
    workload_name,
)

_HOURS = Fraction(int(STEP.total_seconds()), 3600)  # that a sample stands for
_LABEL = "label_"
_QUANTITIES = ("cpu_request", "cpu_usage", "memory_request", "memory_usage")
_ABOVE = {"ReplicaSet": ("replica_sets", "replicaset"), "Job": ("jobs", "job_name")}
_NO_OWNER = ("", "<none>", "Node")  # a static pod's owner is its node

_Answers = dict[str, list[dict[str, Any]]]
_Pod = tuple[str, str]


def read_prometheus(path: Path, content: bytes) -> DayOfContainers:
    """A day of containers; without any where nothing was measured. Raises UsageError.

    Of several containers of one pod each is one; a pod belongs to the workload that controls it,
    a ReplicaSet's to its Deployment, a Job's to its CronJob.
    """
    answers = _answers(content)
    found = {name: _hours(path, name, answers[name]) for name in RANGES}
    silent = [name for name in RANGES if not found[name]]
    if set(_QUANTITIES) <= set(silent):
        return DayOfContainers()
    if silent:
        raise UsageError(
            f"{path}: nothing was measured of {', '.join(silent)}: the metrics of "
            f"{_exporter(silent)} are missing or have other labels. Nothing of the day "
            "was taken; mend it, or set `labels` of the cluster in finops.yaml"
        )
    workloads, labels = _workloads(answers), _labels_of_pods(answers)
    keys = sorted({key for name in _QUANTITIES for key in found[name]})
    containers = [
        Container(
            key[0],
            workloads.get(key[:2], f"pod/{key[1]}"),
            labels.get(key[:2], {}),
            found["cpu_request"].get(key, Fraction(0)),
            found["cpu_usage"].get(key, Fraction(0)),
            found["memory_request"].get(key, Fraction(0)) / GIB,
            found["memory_usage"].get(key, Fraction(0)) / GIB,
        )
        for key in keys
    ]
    whole = (("", "", ""),)
    cpu, memory = (found[name][whole[0]] for name in ("cpu_capacity", "memory_capacity"))
    return DayOfContainers(containers, _labels_of_namespaces(answers), cpu, memory / GIB)


def _answers(content: bytes) -> _Answers:
    found: _Answers = {}
    for line in content.splitlines():
        told = json.loads(line)
        data = told["answer"]["data"]
        found[told["name"]] = data["result"] if isinstance(data, dict) else data
    return found


def _exporter(silent: list[str]) -> str:
    by_cadvisor = {"cpu_usage", "memory_usage"}
    names = {"cAdvisor (kubelet)" if n in by_cadvisor else "kube-state-metrics" for n in silent}
    return " and ".join(sorted(names))


def _hours(
    path: Path, name: str, series: list[dict[str, Any]]
) -> dict[tuple[str, str, str], Fraction]:
    """The samples of each series times the hours that they stand for."""
    found: dict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
    for one in series:
        key = tuple(one["metric"].get(label, "") for label in ("namespace", "pod", "container"))
        for moment, text in one["values"]:
            number = read_number(text)
            if number is None:
                raise UsageError(
                    f"{path}: {name} of {'/'.join(key)} at {moment}: expected a number that is not "
                    f"below zero, not {text!r}. Nothing of the day was taken"
                )
            found[key] += number * _HOURS
    return dict(found)


def _workloads(answers: _Answers) -> dict[_Pod, str]:
    """The workload of each pod."""
    above = {kind: dict(_owners(answers[name], label)) for kind, (name, label) in _ABOVE.items()}
    found = {}
    for (namespace, pod), (kind, name) in _owners(answers["pods"], "pod"):
        kind, name = above.get(kind, {}).get((namespace, name), (kind, name))
        found[namespace, pod] = workload_name(kind, name)
    return found


def _owners(series: list[dict[str, Any]], label: str) -> Iterator[tuple[_Pod, tuple[str, str]]]:
    """What controls each thing, where something does; in one order."""
    for one in sorted(series, key=lambda labels: sorted(labels.items())):
        kind = one.get("owner_kind", "")
        if kind not in _NO_OWNER and one.get("owner_is_controller", "true") != "false":
            yield (one.get("namespace", ""), one.get(label, "")), (kind, one.get("owner_name", ""))


def _labels_of_pods(answers: _Answers) -> dict[_Pod, dict[str, str]]:
    found: dict[_Pod, dict[str, str]] = defaultdict(dict)
    for one in sorted(answers["pod_labels"], key=lambda labels: sorted(labels.items())):
        found[one.get("namespace", ""), one.get("pod", "")] |= _labels(one)
    return found


def _labels_of_namespaces(answers: _Answers) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for one in sorted(answers["namespace_labels"], key=lambda labels: sorted(labels.items())):
        found[one.get("namespace", "")] |= _labels(one)
    return dict(found)


def _labels(series: Mapping[str, str]) -> dict[str, str]:
    """The labels of Kubernetes among those of a series, as kube-state-metrics spells them."""
    return {k.removeprefix(_LABEL): v for k, v in series.items() if k.startswith(_LABEL)}
