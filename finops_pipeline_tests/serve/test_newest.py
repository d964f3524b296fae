"""A server that runs on while the lake changes below it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event

from finops_pipeline_tests.cli.place import Place, finops, row
from finops_pipeline_tests.serve.conftest import RULES, run, shop_in
from finops_pipeline_tests.serve.server import Server, serving
from finops_pipeline_tests.serve.test_answers import figures_of


def _total(server: Server) -> Decimal:
    return Decimal(server.get("costs?exclude=currency=ARS").json()["total"])


def test_a_run_is_seen_at_once_and_disturbs_nobody(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    before, after = Decimal("130.005000000000000001"), Decimal("180.005000000000000001")
    with serving(shop.config) as server:
        assert _total(server) == before
        explained = {i: server.get(f"explain/{i}").json() for i in figures_of(shop.folder / "home")}
        (figure,) = [i for i, e in explained.items() if e["amounts"]["BilledCost"] == "1.005"]
        then = datetime.now(UTC)
        shop.deliver("three", row("50"), on=date(2025, 1, 4))

        ended = Event()
        with ThreadPoolExecutor(3) as threads:
            asking = [threads.submit(_asked_until, server, ended) for _ in range(3)]
            try:
                done = finops(shop.folder, ["run"])
            finally:
                ended.set()
            seen = [total for one in asking for total in one.result()]
        assert done.returncode in (0, 1), done.stderr
        # The old or the new, nothing between, and no error.
        assert set(seen) <= {before, after} and before in seen
        assert _total(server) == after
        assert server.get("statements/web/2025-01").json()["statements"][0]["now"] != "0"
        # A figure is explained as it is, and as it was known; and what changed is told.
        asked = f"as_of={then:%Y-%m-%dT%H:%M:%S.%fZ}"
        assert server.get(f"explain/{figure}").json()["amounts"]["BilledCost"] == "51.005"
        assert server.get(f"explain/{figure}?{asked}").json() == explained[figure]
        assert Decimal(server.get(f"diff?{asked}").json()["change"]) == after - before

        # Rules are those of now, as for a command that starts now.
        (shop.folder / "rules.yaml").write_text(
            RULES.replace("key: team", "key: nothing"), encoding="utf-8"
        )
        answer = server.get("unallocated")
        assert answer.text == shop.finops("unallocated", "--format", "json").stdout
        assert "tag:nothing" in answer.json()["by"]
        (shop.folder / "rules.yaml").write_text("tags: 3", encoding="utf-8")
        broken = server.get("unallocated")
        assert broken.status_code == 503 and "rules.yaml" in broken.json()["detail"]
        assert _total(server) == after


def test_the_first_run_is_seen(tmp_path: Path) -> None:
    shop = Place(tmp_path)
    shop.deliver("one", row("1.5"))
    shop.configure()
    with serving(shop.config) as server:
        assert server.get("costs").status_code == 503
        run(shop)
        assert _total(server) == Decimal("1.5")


def test_a_damaged_lake_is_told_with_its_cure(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    with serving(shop.config) as server:
        before = server.get("costs?by=resource,day").text
        lake = shop.folder / "home" / "lake"
        for table in ("allocated_costs", "daily_costs", "monthly_costs"):
            for file in (lake / table).rglob("*.parquet"):
                file.write_bytes(file.read_bytes()[:-100])
        damaged = server.get("costs?by=resource,day")
        assert damaged.status_code == 503
        assert ".parquet: this file of the lake is damaged" in damaged.json()["detail"]
        assert "finops run --full" in damaged.json()["detail"]
        finops(shop.folder, ["run", "--full"])
        assert server.get("costs?by=resource,day").text == before


def _asked_until(server: Server, ended: Event) -> list[Decimal]:
    found = []
    while not ended.is_set():
        found.append(_total(server))
    return found
