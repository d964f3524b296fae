"""OpenCost's exports as it writes them, read by hand; and files that are none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from finops_pipeline.config import Cluster
from finops_pipeline.ingest.cluster_usage import ClusterUsage
from finops_pipeline.ingest.opencost import read_opencost
from finops_pipeline.ingest.usage import Container, DayOfContainers, UsageError
from finops_pipeline.lake.home import Home
from finops_pipeline_tests.ingest.opencost_files import CSV_HEADER, GIB, allocation, answer, idle

F = Fraction
DAY = date(2025, 1, 2)
PATH = Path("export.csv")


def read(text: str) -> dict[date, DayOfContainers]:
    return read_opencost(PATH, text.encode())


def line(
    namespace: str,
    controller: str,
    cores: str,
    gib: float,
    costs: str = "0,0",
    labels: str = "",
    on: str = "2025-01-02",
) -> str:
    """A row of the CSV: `cores` is used and requested, of memory both are the same."""
    memory = f"{gib * GIB:.0f}"
    quoted = '"' + labels.replace('"', '""') + '"' if labels else ""
    return (
        f"{on},{namespace},{controller},p-1,main,{quoted},{cores},{memory},{memory},0,0,0,0,"
        f"{costs},0,0,0,0"
    )


def test_the_csv_by_hand() -> None:
    # 0.01 for a core hour: all day 4 cores are 0.96; the job's 2 cores for 0.04 are two hours.
    text = "\n".join(
        [
            CSV_HEADER,
            line("shop", "deployment,web", "1.5,4", 8, "0.96,0.1", '{"team":"web","app":"a,b"}'),
            line("etl", "job,load", "2,1", 1e-9, "0.04,0.1"),
            line("lab", ",", "0,0", 1),
            line("shop", "deployment,web", "1,1", 2, "0.24,0.1", on="2025-01-03"),
        ]
    )
    found = read(text)
    assert set(found) == {DAY, date(2025, 1, 3)}
    shop, load, lab = found[DAY].containers
    labels = {"team": "web", "app": "a,b"}
    assert shop == Container("shop", "deployment/web", labels, F(96), F(36), F(192), F(192))
    assert (load.workload, load.cpu_request, load.cpu_usage) == ("job/load", F(2), F(4))
    assert (lab.workload, lab.memory_request) == ("pod/p-1", F(24))
    assert found[DAY].cpu_capacity is None


def test_without_costs_all_ran_all_day() -> None:
    (one,) = read(f"{CSV_HEADER}\n{line('shop', 'deployment,web', '1,2', 1)}\n")[DAY].containers
    assert (one.cpu_request, one.cpu_usage) == (F(48), F(24))


def test_the_json_by_hand() -> None:
    found = read(
        answer(
            DAY,
            allocation(DAY, "shop", cores="4", used="1.5", gib="8", labels={"app": "web"}),
            allocation(
                DAY, "etl", "job", "load", "2", "1", minutes=90, namespace_labels={"team": "data"}
            ),
            allocation(DAY, "lab", "", "", "0", "0.5"),
            idle(DAY, cpu="3", memory="2"),
        )
    )
    shop, load, lab = found[DAY].containers
    assert shop == Container("shop", "deployment/web", {"app": "web"}, F(96), F(36), F(192), F(192))
    assert (load.workload, load.cpu_request, load.memory_usage) == ("job/load", F(3), F(3, 2))
    assert lab.workload == "pod/-7d9f"
    assert found[DAY].namespace_labels["etl"] == {"team": "data"}
    # 96 + 3 core hours cost 0.99; of 0.72 for what is idle, at that price, come 72 more.
    assert found[DAY].cpu_capacity == 96 + 3 + 72
    memory = found[DAY].memory_capacity
    assert memory is not None and abs(memory - (192 + F(3, 2) + 12 + 48)) < F(1, 10**9)


def test_hours_of_a_day_are_added_up() -> None:
    first, second = (allocation(DAY, "shop", minutes=60) for _ in range(2))
    first["window"] = {"start": f"{DAY}T00:00:00Z", "end": f"{DAY}T01:00:00Z"}
    second["window"] = {"start": f"{DAY}T01:00:00Z", "end": f"{DAY}T02:00:00+00:00"}
    sets = [{one["name"]: one} for one in (first, second)]
    found = read(json.dumps({"code": 200, "data": sets}))
    assert sum(one.cpu_request for one in found[DAY].containers) == 2
    with pytest.raises(UsageError, match="is told twice, and would count twice"):
        read(json.dumps({"code": 200, "data": [sets[0], sets[0]]}))


def test_a_window_without_an_offset_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        found = read(_changed(window={"start": f"{DAY}T00:00:00", "end": f"{DAY}T10:00:00"}))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert list(found) == [DAY]


def _changed(**changes: Any) -> str:
    return answer(DAY, {**allocation(DAY, "shop"), **changes})


REFUSED: dict[str, tuple[str, str]] = {
    "another csv": ("date,owner\n1,2\n", "line 1: no OpenCost allocation export"),
    "a date": (
        f"{CSV_HEADER}\n{line('shop', 'a,b', '1,1', 1, on='2.1.2025')}",
        "export.csv: line 2: Date: no day such as 2025-01-31: '2.1.2025'",
    ),
    "a number": (
        f"{CSV_HEADER}\n{line('shop', 'a,b', 'x,1', 1)}",
        "line 2: CPUCoreUsageAverage: expected a number that is not below zero, not 'x'",
    ),
    "below zero": (f"{CSV_HEADER}\n{line('shop', 'a,b', '-1,1', 1)}", "not '-1'"),
    "labels": (f"{CSV_HEADER}\n{line('s', 'a,b', '1,1', 1, labels='[1]')}", "no JSON object"),
    "a quote": (f'{CSV_HEADER}\n"2025', "no CSV"),
    "no json": ('{"code": 200', "not readable as JSON"),
    "no answer": ("[1]", "no answer of OpenCost; ask /allocation"),
    "no allocation": ('{"data": [{"shop": 1}]}', "shop: no allocation of OpenCost"),
    "a longer window": (
        _changed(window={"start": "2025-01-02T00:00:00Z", "end": "2025-01-09T00:00:00Z"}),
        "2025-01-02T00:00:00Z to 2025-01-09T00:00:00Z is not within one UTC day",
    ),
    "no window": (_changed(window={}, start="now"), "window: no times: "),
    "no namespace": (_changed(properties={}), "properties.namespace is missing: it was aggregated"),
    "no number": (_changed(cpuCoreUsageAverage=None), "cpuCoreUsageAverage: expected a number"),
    "truth": (_changed(minutes=True), "minutes: expected a number that is"),
    "cut short": (
        f"{CSV_HEADER}\n{line('shop', 'a,b', '1,1', 1)}\n"
        f"{line('etl', 'a,b', '1,1', 1).rsplit(',', 6)[0]}",
        "line 3: has more or fewer values than line 1 has columns",
    ),
    "too long": (f"{CSV_HEADER}\n{line('shop', 'a,b', '1,1', 1)},0", "line 2: has more or fewer"),
    "a number for all": ('{"data": 5}', "no answer of OpenCost; ask /allocation"),
    "too deep": ("[" * 100_000, "not readable as JSON"),
    "a window of text": (_changed(window="7d"), "window: no times: "),
    "the last day of all": (
        _changed(window={"start": "9999-12-31T00:00:00Z", "end": "9999-12-31T10:00:00Z"}),
        "window: no times: ",
    ),
    "properties of text": (_changed(properties="shop"), "properties.namespace is missing"),
    "two clusters": (
        answer(DAY, allocation(DAY, "a"), allocation(DAY, "a", cluster="other")),
        "tells of several clusters (cluster-one, other)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    assert str(refused.value).startswith("export.csv") and said in str(refused.value)


def test_text_in_another_encoding_is_named() -> None:
    with pytest.raises(UsageError, match="not UTF-8 at byte 0"):
        read_opencost(PATH, b"\xff")


# The lake


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


@pytest.fixture
def usage(place: Path) -> Callable[[], ClusterUsage]:
    """The cluster's usage, as a new run sees it."""
    cluster = Cluster(name="prod-1", opencost=place)
    return lambda: ClusterUsage(Home(place.parent / "home"), cluster)


def stored(place: Path) -> dict[tuple[date, str], dict[str, Any]]:
    table = Home(place.parent / "home").table("cluster_usage")
    rows = [row for f in table.files() for row in table.read(f).to_pylist()]
    return {(row["charge_day"], row["workload"]): row for row in rows}


def test_a_growing_export_makes_new_days_alone(
    place: Path, usage: Callable[[], ClusterUsage]
) -> None:
    first = f"{CSV_HEADER}\n{line('shop', 'deployment,web', '1,2', 1)}\n"
    (place / "usage.csv").write_text(first)
    assert usage().load([]).days == [DAY]
    assert usage().load([]).days == []
    next_day = line("shop", "deployment,web", "1,2", 1, on="2025-01-03")
    (place / "usage.csv").write_text(f"{first}{next_day}\n")
    assert usage().load([]).days == [date(2025, 1, 3)]
    assert usage().load([]).days == []
    home = Home(place.parent / "home")
    for row in stored(place).values():
        with home.archive.local(row["archive_path"]) as path:
            assert path.read_text().startswith(CSV_HEADER)
    assert {f.partition for f in home.table("cluster_usage").files()} == {
        ("prod-1", "2025-01-02"),
        ("prod-1", "2025-01-03"),
    }


def test_the_last_file_by_name_tells_of_a_day(
    place: Path, usage: Callable[[], ClusterUsage]
) -> None:
    for name, cores in (("b.json", "3"), ("a.json", "5")):
        (place / name).write_text(answer(DAY, allocation(DAY, "shop", cores=cores)))
    assert usage().load([]).days == [DAY]
    assert stored(place)[DAY, "deployment/web"]["cpu_request"] == Decimal(72)


def test_a_broken_file_keeps_no_other_away(place: Path, usage: Callable[[], ClusterUsage]) -> None:
    (place / "a.json").write_text("{")
    (place / "b.json").write_text(answer(DAY, allocation(DAY, "shop")))
    loaded = usage().load([])
    assert loaded.days == [DAY]
    (problem,) = loaded.problems
    assert problem.startswith(f"cluster prod-1: {place / 'a.json'}: not readable as JSON")


def test_a_file_that_breaks_brings_no_earlier_one_back(
    place: Path, usage: Callable[[], ClusterUsage]
) -> None:
    """While a later export is being written, its days stay as it told them."""
    (place / "1.json").write_text(answer(DAY, allocation(DAY, "shop", name="old")))
    (place / "2.json").write_text(answer(DAY, allocation(DAY, "shop", name="new")))
    assert usage().load([]).days == [DAY]
    (place / "2.json").write_text("{")
    next_day = date(2025, 1, 3)
    (place / "0.json").write_text(answer(next_day, allocation(next_day, "shop", name="new")))
    loaded = usage().load([])
    assert (loaded.days, len(loaded.problems)) == ([next_day], 1)
    assert set(stored(place)) == {(DAY, "deployment/new"), (next_day, "deployment/new")}


def test_containers_of_a_workload_are_one_and_differ_in_no_label(
    place: Path, usage: Callable[[], ClusterUsage]
) -> None:
    pods = [
        allocation(DAY, "shop", cores="1", used="3", labels={"app": "web", "hash": "x"}),
        allocation(DAY, "shop", cores="2", used="1", labels={"app": "web", "hash": "y"},
                   namespace_labels={"app": "no", "team": "web"}),
    ]  # fmt: skip
    pods[1]["name"] = "another pod"
    (place / "a.json").write_text(answer(DAY, *pods))
    usage().load([])
    row = stored(place)[DAY, "deployment/web"]
    assert json.loads(row["labels"]) == {"app": "web", "team": "web"}
    assert [row[f"cpu_{k}"] for k in ("request", "usage", "greater")] == [72, 96, 120]


def test_a_place_that_is_not_there_is_named(place: Path, usage: Callable[[], ClusterUsage]) -> None:
    place.rmdir()
    (problem,) = usage().load([]).problems
    assert "cannot be read (No such file or directory); correct `opencost`" in problem


@pytest.mark.parametrize("given", [{}, {"opencost": "x", "prometheus": "http://p"}])
def test_usage_comes_from_one_place(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either opencost or prometheus"):
        Cluster.model_validate({"name": "prod-1", **given})
