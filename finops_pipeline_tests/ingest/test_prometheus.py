"""A day of a cluster asked of a real Prometheus, and what can go wrong on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Cluster
from finops_pipeline.ingest.cluster_usage import ClusterUsage
from finops_pipeline.ingest.prometheus import RANGES, Prometheus
from finops_pipeline.ingest.prometheus_days import read_prometheus
from finops_pipeline.ingest.usage import UsageError
from finops_pipeline.lake.home import Home
from finops_pipeline_tests.servers.prometheus_server import (
    GIB,
    MISSING,
    Samples,
    prometheus_server,
)

D = Decimal
DAY = date(2025, 1, 2)
NEEDED = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (`make servers` installs them)"
)
pytestmark = pytest.mark.xdist_group("prometheus")


@pytest.fixture(autouse=True)
def _no_proxy_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def at(hour: int, minute: int = 0) -> datetime:
    """A time of the day; 24 is its end."""
    return datetime(2025, 1, 2, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)


BEFORE, AFTER = at(0, -10), at(23, 59)


def container(
    made: Samples,
    place: tuple[str, str, str],
    span: tuple[datetime, datetime],
    request: tuple[float, float],
    usage: tuple[float, float],
) -> None:
    """What both exporters tell of a running container: cores and GiB."""
    namespace, pod, name = place
    where = {"namespace": namespace, "pod": pod, "container": name}
    for resource, value in zip(("cpu", "memory"), request, strict=True):
        amount = value * (GIB if resource == "memory" else 1)
        if value:
            made.gauge("kube_pod_container_resource_requests", amount, *span, **where,
                       resource=resource, node="n1", instance="a")  # fmt: skip
    seen = {**where, "id": f"/kubepods/{pod}/{name}"}
    made.counter("container_cpu_usage_seconds_total", usage[0], *span, **seen)
    made.gauge("container_memory_working_set_bytes", usage[1] * GIB, *span, **seen)


def phase(made: Samples, namespace: str, pod: str, span: tuple[datetime, datetime]) -> None:
    """That a pod runs."""
    made.gauge("kube_pod_status_phase", 1, *span, namespace=namespace, pod=pod, phase="Running")


def samples() -> Samples:
    """A cluster on which a shop, a nightly load, a proxy and a forgotten pod run."""
    made = Samples({"cluster": "prod"})
    whole, half, night = (BEFORE, AFTER), (BEFORE, at(11, 59)), (at(6, 1), at(7, 59))
    container(made, ("shop", "web-1", "main"), whole, (1, 2), (0.5, 3))
    container(made, ("shop", "web-1", "sidecar"), whole, (0.25, 0.5), (0.5, 0.25))
    container(made, ("shop", "web-2", "main"), half, (1, 2), (0.5, 3))
    phase(made, "shop", "web-1", whole)
    phase(made, "shop", "web-2", half)
    for pod, replica_set in (("web-1", "web-6b"), ("web-2", "web-7c")):
        made.gauge("kube_pod_owner", 1, *half, namespace="shop", pod=pod, owner_kind="ReplicaSet",
                   owner_name=replica_set, owner_is_controller="true")  # fmt: skip
        made.gauge("kube_pod_labels", 1, *half, namespace="shop", pod=pod, label_app="web",
                   label_pod_template_hash=replica_set[-2:])  # fmt: skip
        made.gauge(
            "kube_replicaset_owner",
            1,
            *half,
            namespace="shop",
            owner_kind="Deployment",
            owner_name="web",
            owner_is_controller="true",
            replicaset=replica_set,
        )

    # A job's pod stays after it is done: kube-state-metrics goes on telling what it requested.
    container(made, ("etl", "load-1", "main"), night, (0, 0), (2, 16))
    for resource, amount in (("cpu", 4.0), ("memory", 8.0 * GIB)):
        made.gauge("kube_pod_container_resource_requests", amount, at(6, 1), AFTER, namespace="etl",
                   pod="load-1", container="main", resource=resource, node="n1")  # fmt: skip
    phase(made, "etl", "load-1", (at(6, 1), at(8)))
    made.gauge("kube_pod_status_phase", 0, at(8, 1), AFTER, namespace="etl", pod="load-1",
               phase="Running")  # fmt: skip
    made.gauge("kube_pod_owner", 1, *night, namespace="etl", pod="load-1", owner_kind="Job",
               owner_name="load-2894", owner_is_controller="true")  # fmt: skip
    made.gauge("kube_job_owner", 1, *night, namespace="etl", job_name="load-2894",
               owner_kind="CronJob", owner_name="load", owner_is_controller="true")  # fmt: skip
    made.gauge("kube_namespace_labels", 1, *whole, namespace="etl", label_team="data")

    container(made, ("kube-system", "proxy-x", "proxy"), whole, (0.1, 0), (0.25, 0.5))
    phase(made, "kube-system", "proxy-x", whole)
    made.gauge("kube_pod_owner", 1, *whole, namespace="kube-system", pod="proxy-x",
               owner_kind="DaemonSet", owner_name="proxy", owner_is_controller="true")  # fmt: skip
    container(made, ("lab", "debug", "sh"), whole, (0, 0), (0.125, 0.25))
    phase(made, "lab", "debug", whole)

    # What counts nothing: a pod that waits for a node, the sums of pods and their pause containers,
    # a second scrape of the same thing, another cluster.
    made.gauge("kube_pod_container_resource_requests", 64, *whole, namespace="lab", pod="waits",
               container="main", resource="cpu", node="")  # fmt: skip
    made.gauge("kube_pod_container_resource_requests", 1, *whole, namespace="shop", pod="web-1",
               container="main", resource="cpu", node="n1", instance="b")  # fmt: skip
    for name in ("", "POD"):
        made.counter("container_cpu_usage_seconds_total", 9, *whole, namespace="shop", pod="web-1",
                     container=name, id=f"/kubepods/web-1/{name}")  # fmt: skip
    for node in ("n1", "n2"):
        made.gauge("kube_node_status_capacity", 4, *whole, node=node, resource="cpu")
        made.gauge("kube_node_status_capacity", 16 * GIB, *whole, node=node, resource="memory")
    other = Samples({"cluster": "dev"})
    container(other, ("shop", "web-1", "main"), whole, (32, 64), (16, 32))
    phase(other, "shop", "web-1", whole)
    made.lines += other.lines
    return made


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scraped that cluster all day."""
    with prometheus_server(tmp_path_factory.mktemp("prometheus"), samples()) as address:
        yield address


def cluster(url: str, **further: Any) -> Cluster:
    """The cluster as finops.yaml names it."""
    return Cluster.model_validate({"name": "prod-1", "prometheus": url, **further})


# Core hours and GiB hours, requested, used and the greater for each container, by hand: of web-1
# 24 h (1 and 0.25 cores asked for, 0.5 and 0.5 used), of web-2 12 h, of the load 2 h.
BY_HAND = {
    ("etl", "cronjob/load"): ("8 4 8", "16 32 32"),
    ("kube-system", "daemonset/proxy"): ("2.4 6 6", "0 12 12"),
    ("lab", "pod/debug"): ("0 3 3", "0 6 6"),
    ("shop", "deployment/web"): ("42 30 48", "84 114 120"),
}


@NEEDED
def test_a_day_of_a_cluster_by_hand(url: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    usage = ClusterUsage(home, cluster(url, labels={"cluster": "prod"}))
    loaded = usage.load([DAY])
    assert (loaded.days, loaded.problems) == ([DAY], [])
    (file,) = home.table("cluster_usage").files("prod-1")
    rows = home.table("cluster_usage").read(file).to_pylist()
    kinds = ("request", "usage", "greater")
    assert {
        (r["namespace"], r["workload"]): tuple(
            " ".join(f"{r[f'{what}_{kind}'].normalize():f}" for kind in kinds)
            for what in ("cpu", "memory")
        )
        for r in rows
    } == BY_HAND
    assert {(r["cpu_capacity"], r["memory_capacity"]) for r in rows} == {(D(192), D(768))}
    labels = {r["namespace"]: json.loads(r["labels"]) for r in rows}
    assert labels == {"etl": {"team": "data"}, "kube-system": {}, "lab": {}, "shop": {"app": "web"}}

    with home.archive.local(rows[0]["archive_path"]) as path:
        again = read_prometheus(path, path.read_bytes())
    assert len(again.containers) == 6
    version = home.table("cluster_usage").version()
    assert usage.load([DAY]).days == []  # asked again: the same, and no new version
    assert home.table("cluster_usage").version() == version


@NEEDED
def test_a_day_of_which_nothing_is_known_stays_due(url: str, tmp_path: Path) -> None:
    usage = ClusterUsage(Home(tmp_path), cluster(url, labels={"cluster": "prod"}, days=3))
    today = DAY + timedelta(days=3)
    due = usage.due(today, date(2025, 1, 1))
    assert due == [DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)]
    assert usage.load(due).days == [DAY]
    assert usage.due(today, date(2025, 1, 1)) == due[1:]
    assert usage.due(today, DAY + timedelta(days=2)) == due[2:]
    long_after = DAY + timedelta(days=90)
    assert usage.due(long_after, DAY, since=DAY)[:2] == due[1:]


@NEEDED
def test_a_refused_query_is_told_in_the_words_of_prometheus(url: str, tmp_path: Path) -> None:
    usage = ClusterUsage(Home(tmp_path), cluster(f"{url}/api/v1"))
    (problem,) = usage.load([DAY]).problems
    assert "cluster prod-1: http://127.0.0.1" in problem
    assert "no answer of Prometheus' HTTP API. Give its address without /api/v1" in problem


@NEEDED
def test_metrics_that_are_missing_are_named(url: str, tmp_path: Path) -> None:
    usage = ClusterUsage(Home(tmp_path), cluster(url, labels={"cluster": "dev"}))
    (problem,) = usage.load([DAY]).problems
    assert "nothing was measured of cpu_capacity, memory_capacity" in problem
    assert "kube-state-metrics are missing" in problem and "`labels` of the cluster" in problem


# Faults that a healthy Prometheus does not show


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[tuple[str, list[str | None]]]:
    """A server that gives these answers in turn, the last again and again; and who asked."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            status, content = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


EMPTY = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


def fails(url: str, **further: Any) -> str:
    """What asking for the day says."""
    with pytest.raises(UsageError) as refused:
        Prometheus(cluster(url, **further), wait=0.01).day(DAY)
    return str(refused.value)


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("let-me-in-7\n")
    with answering((503, b"later"), (429, b"later"), (200, EMPTY)) as (url, asked):
        lines = Prometheus(cluster(url, token_file=token), wait=0.01).day(DAY).splitlines()
    assert len(lines) == 11 and len(asked) == 13
    assert set(asked) == {"Bearer let-me-in-7"}
    assert json.loads(lines[0])["answer"] == json.loads(EMPTY)
    assert not read_prometheus(Path("x"), b"\n".join(lines)).containers


def test_a_server_that_stays_busy_or_is_gone_is_named() -> None:
    with answering((503, b"later")) as (url, asked):
        assert "answers with status 503" in fails(url)
    assert len(asked) == 5
    assert "does not answer (ConnectionError), tried 5 times" in fails(url)


def test_errors_and_partial_answers_are_refused() -> None:
    error = b'{"status":"error","errorType":"bad_data","error":"parse error at char 7"}'
    with answering((400, error)) as (url, _):
        assert "refused (status 400): bad_data: parse error at char 7" in fails(url)
    partial = EMPTY[:-1] + b',"warnings":["store 2 is out of reach"]}'
    with answering((200, partial)) as (url, _):
        assert "may not be whole: store 2 is out of reach" in fails(url)


def test_a_token_goes_nowhere_that_others_can_read(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("let-me-in-7")
    for further in ({"token_file": token}, {"token_file": tmp_path / "none"}):
        url = "http://prometheus.example" if token in further.values() else "http://localhost:1"
        with pytest.raises(UsageError, match=r"not sent|cannot be read") as refused:
            Prometheus(cluster(url, **further))
        assert "let-me-in-7" not in str(refused.value)


@pytest.mark.parametrize("text", ["NaN", "-1", "+Inf", "1e999"])
def test_what_is_no_amount_is_refused_with_its_place(text: str) -> None:
    metric = {"namespace": "shop", "pod": "web-1", "container": "main"}
    series = [{"metric": metric, "values": [[1735776300, text]]}]
    lines = [json.dumps({"name": name, "answer": {"data": {"result": series}}}) for name in RANGES]
    with pytest.raises(UsageError, match="cpu_request of shop/web-1/main at 1735776300: expected"):
        read_prometheus(Path("answers"), "\n".join(lines).encode())
