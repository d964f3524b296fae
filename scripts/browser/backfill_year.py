"""A year's backfill in a real browser, as a user would click it, with pictures and figures.

Makes a company whose reports are all still to be read, starts `dagster dev` beside it, launches
the backfill in the UI, waits until it is done and prints what it cost. See README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster_dev import DagsterDev, dagster_dev
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SELECTION = 'key:"acme_oci/*" or key:"company/*"'
LONGEST = 1800  # seconds that the backfill may take
_MAKE = (
    "import sys; from datetime import date; from pathlib import Path; "
    "from finops_pipeline.demo.company import make_company; "
    "make_company(Path(sys.argv[1]), days=int(sys.argv[2]), rows=int(sys.argv[3]), "
    "first_day=date.fromisoformat(sys.argv[4]), home='..')"
)


def main() -> None:
    """Do it all; print the figures as JSON."""
    options = _options()
    options.pictures.mkdir(parents=True, exist_ok=True)
    # All charges lie in the past, however late their reports come.
    first = datetime.now(UTC).date() - timedelta(days=options.days + 5)
    with tempfile.TemporaryDirectory(prefix="finops-browser-") as name:
        folder = Path(name)
        for file in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / file, folder)
        company = folder / ".finops" / "demo"
        python = str(options.programs / "python")
        size = [str(options.days), str(options.rows), first.isoformat()]
        subprocess.run([python, "-c", _MAKE, str(company), *size], check=True)
        reports = _taken_away(company, folder / "aside")
        with dagster_dev(folder, options.pictures / "dagster.log", options.programs) as dagster:
            dagster.switch_sensors(on=False)
            time.sleep(5)  # a look that a sensor had begun ends
            for aside, place in reports.items():
                aside.rename(place)
            figures = _in_browser(dagster, first, options)
            if options.sensors:
                figures["sensors"] = _sensors(dagster)
        run = subprocess.run(
            [str(options.programs / "finops"), "run", "--source", "acme-oci", "--format", "json"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        done = json.loads(run.stdout)
        figures["finops run afterwards"] = {
            "charge days rebuilt": {k: len(v) for k, v in done["rebuilt"].items()},
            "problems": len(done["problems"]),
        }
    print(json.dumps(figures, indent=2))
    if figures["runs"] > -(-options.days // 31) or set(figures["status"]) != {"SUCCESS"}:
        raise SystemExit("the backfill took more runs than it should, or some failed")


def _taken_away(company: Path, aside: Path) -> dict[Path, Path]:
    """Take all reports away, or the sensors would find them before the mouse does."""
    aside.mkdir()
    places = sorted(p for p in company.glob("*/*/**/*") if p.is_file())
    moved = {aside / str(number): place for number, place in enumerate(places)}
    for target, place in moved.items():
        place.rename(target)
    return moved


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder that the screenshots are put in")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--programs", type=Path, default=ROOT / ".venv" / "bin")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument(
        "--sensors", action="store_true", help="then let the sensors do what is left"
    )
    return parser.parse_args()


def _in_browser(dagster: DagsterDev, first: date, options: argparse.Namespace) -> dict[str, Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        camera = Camera(page, dagster.url, options.pictures)
        camera.picture("1-lineage", "/asset-groups")
        camera.picture("2-asset-before", "/assets/acme_oci/focus_costs")
        last = first + timedelta(days=options.days - 1)
        before = dagster.cpu_seconds()
        _launch(camera, f"[{first}...{last}]")
        clicked = time.monotonic()
        backfill = _wait(dagster)
        wall = time.monotonic() - clicked
        cpu = dagster.cpu_seconds() - before
        runs = dagster.runs(dagster__backfill=backfill)
        _after(camera, backfill, runs[0]["runId"])
        browser.close()
    return {
        "runs": len(runs),
        "status": sorted({r["status"] for r in runs}),
        "seconds from click to done": round(wall, 1),
        "seconds from first start to last end": round(
            max(r["endTime"] for r in runs) - min(r["startTime"] for r in runs), 1
        ),
        "sum of the runs' seconds": round(sum(r["endTime"] - r["startTime"] for r in runs), 1),
        "CPU seconds of all Dagster processes": round(cpu, 1),
    }


def _launch(camera: Camera, partitions: str) -> None:
    """Choose the assets in the catalogue, the days in the dialog, and launch."""
    page = camera.page
    page.goto(f"{camera.url}/assets")
    page.locator(".CodeMirror, .cm-content").first.click()
    page.keyboard.type(SELECTION)
    page.keyboard.press("Enter")
    page.get_by_text("acme_eu").first.wait_for(state="hidden")
    page.locator("label:has(input[type=checkbox])").first.click()
    page.get_by_role("button", name="Materialize selected").click()
    page.get_by_role("button", name="Confirm").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Show all partitions").click()
    days = dialog.locator("input[type=text]").first
    days.fill(partitions)
    days.press("Tab")
    camera.take("3-launch")
    dialog.get_by_role("button", name="Launch backfill").click()
    dialog.wait_for(state="hidden")


def _wait(dagster: DagsterDev) -> str:
    """Wait until the newest backfill has ended; returns its id."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        newest = next(iter(dagster.backfills()), None)
        if newest and not newest["status"].startswith(("REQUESTED", "FAILING", "CANCELING")):
            return str(newest["id"])
        time.sleep(1)
    raise SystemExit("the backfill did not end")


def _after(camera: Camera, backfill: str, run: str) -> None:
    camera.picture("4-backfill", f"/runs/b/{backfill}")
    camera.picture("5-run", f"/runs/{run}")
    camera.picture("6-lineage", "/asset-groups")
    camera.picture("7-costs", "/assets/acme_oci/focus_costs")
    camera.picture("8-plots", "/assets/acme_oci/focus_costs?view=events", scroll=600)
    camera.picture("9-checks", "/assets/acme_oci/focus_costs?view=checks")
    camera.picture("10-partitions", "/assets/acme_oci/allocated_costs?view=partitions")
    camera.picture("11-columns", "/assets/acme_oci/allocated_costs")
    camera.picture("11-lineage", "/assets/acme_oci/allocated_costs?view=lineage&column=BilledCost")
    camera.picture("12-budgets", "/assets/company/budget_status")
    camera.picture("13-automation", "/automation")
    camera.picture("14-catalogue", "/assets")


def _sensors(dagster: DagsterDev) -> dict[str, Any]:
    """Let the sensors do what is left: the other source, and days that late reports touched."""
    known = {r["runId"] for r in dagster.runs()}
    started = quiet = time.monotonic()
    dagster.switch_sensors(on=True)
    # Quiet for as long as the slowest sensor waits between two looks.
    while time.monotonic() - quiet < 150 and time.monotonic() - started < LONGEST:
        new = [r for r in dagster.runs() if r["runId"] not in known]
        if not new or any(not r["endTime"] for r in new):
            quiet = time.monotonic()
        elif (latest := max(r["endTime"] for r in new)) > time.time() - 1:
            quiet = time.monotonic() - (time.time() - latest)
        time.sleep(1)
    new = [r for r in dagster.runs() if r["runId"] not in known]
    return {
        "runs": len(new),
        "status": sorted({r["status"] for r in new}),
        "sum of the runs' seconds": round(sum(r["endTime"] - r["startTime"] for r in new), 1),
    }


class Camera:
    """Takes pictures of the UI's pages."""

    def __init__(self, page: Page, url: str, folder: Path) -> None:
        self.page = page
        self.url = url
        self.folder = folder

    def picture(self, name: str, path: str, scroll: int = 0) -> None:
        """Open a page and take its picture."""
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_timeout(4000)
        if scroll:
            self.page.mouse.move(700, 600)
            self.page.mouse.wheel(0, scroll)
        self.take(name)

    def take(self, name: str) -> None:
        """Take a picture of what is shown now."""
        self.page.wait_for_timeout(1500)
        self.page.screenshot(path=self.folder / f"{name}.png")


if __name__ == "__main__":
    main()
