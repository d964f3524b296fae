"""A day of a cluster's usage asked of a Prometheus, or of what answers as one.

Every 5 minutes of the day, as OpenCost does by default, each container's requests (kube-state-
metrics) and usage (cAdvisor), and the capacity of the nodes; a sample stands for the 5 minutes
before it. The answers are kept as they came, one a line; `prometheus_days.py` reads them.
Sources: prometheus.io, HTTP API; OpenCost Metrics; kube-state-metrics, docs/metrics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from finops_pipeline.config import Cluster
from finops_pipeline.ingest.usage import UsageError

STEP = timedelta(minutes=5)
_TIMEOUT = (10, 300)  # seconds to connect, and for an answer
_TRIES = 4
_BUSY = (408, 429, 500, 502, 503, 504)

# `S` stands for the labels that the settings keep to. Two scrapes of one thing count once (max).
_RUNNING = '(max by (namespace, pod) (kube_pod_status_phase{phase="Running"S}) == 1)'
_REQUEST = (
    "max by (namespace, pod, container) "
    '(kube_pod_container_resource_requests{resource="%s",node!=""S})'
    f" * on (namespace, pod) group_left () {_RUNNING}"
)
_OF_CONTAINERS = 'container!="",container!="POD"S'
_USAGE = "sum by (namespace, pod, container) (max by (namespace, pod, container, id) (%s))"
RANGES: Mapping[str, str] = {
    "cpu_request": _REQUEST % "cpu",
    "memory_request": _REQUEST % "memory",
    "cpu_usage": _USAGE % f"rate(container_cpu_usage_seconds_total{{{_OF_CONTAINERS}}}[5m])",
    "memory_usage": _USAGE % f"container_memory_working_set_bytes{{{_OF_CONTAINERS}}}",
    "cpu_capacity": 'sum(max by (node) (kube_node_status_capacity{resource="cpu"S}))',
    "memory_capacity": 'sum(max by (node) (kube_node_status_capacity{resource="memory"S}))',
}
SERIES: Mapping[str, str] = {
    "pods": 'kube_pod_owner{pod!=""S}',
    "replica_sets": 'kube_replicaset_owner{replicaset!=""S}',
    "jobs": 'kube_job_owner{job_name!=""S}',
    "pod_labels": 'kube_pod_labels{pod!=""S}',
    "namespace_labels": 'kube_namespace_labels{namespace!=""S}',
}


class Prometheus:
    """One Prometheus, as a cluster's settings have it. `wait` is the first pause of retries."""

    def __init__(self, cluster: Cluster, wait: float = 1.0) -> None:
        self._cluster = cluster
        self._url = str(cluster.prometheus).rstrip("/")
        self._session = requests.Session()
        retry = Retry(
            _TRIES, backoff_factor=wait, status_forcelist=_BUSY, allowed_methods=["GET"],
            respect_retry_after_header=wait >= 1, raise_on_status=False,
        )  # fmt: skip
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        if cluster.token_file is not None:
            self._session.headers["Authorization"] = f"Bearer {self._token()}"

    def day(self, day: date) -> bytes:
        """Every answer about a day, one JSON document a line. Raises UsageError."""
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = begin + timedelta(days=1)
        lines = []
        for name, query in RANGES.items():
            asked = {"query": self._narrowed(query), "start": _time(begin + STEP),
                     "end": _time(end), "step": f"{STEP.seconds}s"}  # fmt: skip
            lines.append(self._line(name, day, "/api/v1/query_range", asked))
        for name, selector in SERIES.items():
            asked = {"match[]": self._narrowed(selector), "start": _time(begin), "end": _time(end)}
            lines.append(self._line(name, day, "/api/v1/series", asked))
        return b"".join(lines)

    def _narrowed(self, query: str) -> str:
        further = "".join(
            f",{name}={json.dumps(value, ensure_ascii=False)}"
            for name, value in sorted(self._cluster.labels.items())
        )
        return query.replace("S}", f"{further}}}")

    def _line(self, name: str, day: date, path: str, asked: Mapping[str, str]) -> bytes:
        answer = self._answer(name, day, path, asked)
        told = {"name": name, "day": day.isoformat(), "asked": asked}
        head = json.dumps(told, ensure_ascii=False).encode()
        return head[:-1] + b', "answer": ' + answer + b"}\n"

    def _answer(self, name: str, day: date, path: str, asked: Mapping[str, str]) -> bytes:
        """The answer as it came, on one line; refused where it is not whole."""
        place = f"cluster {self._cluster.name}: {self._url}: {name} of {day}"
        try:
            response = self._session.get(self._url + path, params=dict(asked), timeout=_TIMEOUT)
            content = response.content
        except requests.RequestException as error:
            raise UsageError(
                f"{place}: does not answer ({type(error).__name__}), tried {_TRIES + 1} times. "
                "Look whether it runs, and at `prometheus` in finops.yaml. The next run asks again."
            ) from None
        try:
            told: Any = json.loads(content)
        except ValueError:
            told = None
        if not isinstance(told, dict) or "status" not in told:
            raise UsageError(
                f"{place}: answers with status {response.status_code} and no answer of Prometheus' "
                "HTTP API. Give its address without /api/v1, and token_file if it wants a token."
            )
        if told["status"] != "success":
            said = f"{told.get('errorType')}: {told.get('error')}"
            raise UsageError(f"{place}: refused (status {response.status_code}): {said}")
        if warnings := told.get("warnings"):
            raise UsageError(
                f"{place}: the answer may not be whole: {'; '.join(map(str, warnings))}. Nothing "
                "of the day was taken; the next run asks again."
            )
        return content.strip().replace(b"\n", b" ")

    def _token(self) -> str:
        url, path = urlsplit(self._url), self._cluster.token_file
        if url.scheme != "https" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise UsageError(
                f"cluster {self._cluster.name}: a token is not sent to {self._url}, where others "
                "could read it; use https"
            )
        try:
            return path.read_text(encoding="utf-8").strip() if path else ""
        except (OSError, UnicodeDecodeError):
            raise UsageError(
                f"cluster {self._cluster.name}: token_file {path} cannot be read; give a file with "
                "the token alone"
            ) from None


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
