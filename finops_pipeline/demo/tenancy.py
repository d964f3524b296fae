"""A tenancy of any size in OCI's own file layout, and the truth about it.

This is where the parts meet: a fleet is made, its rows are delivered window by window, each batch
is written in every format asked for and counted into the account. No pipeline code is used, so that
what the truth says is independent of what it is used to check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

from finops_pipeline.demo.account import Account
from finops_pipeline.demo.calendar import Calendar
from finops_pipeline.demo.catalogue import Catalogue, Profile, catalogue, profile
from finops_pipeline.demo.chance import generator, salt
from finops_pipeline.demo.compartments import compartment_tree, write_inventory
from finops_pipeline.demo.corrections import Correction, Corrections, Style
from finops_pipeline.demo.delivery import Deliveries
from finops_pipeline.demo.facets import Facets
from finops_pipeline.demo.fleet import FleetMaker
from finops_pipeline.demo.layout import Layout, columns_at, tag_keys_at
from finops_pipeline.demo.money import Money
from finops_pipeline.demo.report_files import Delivered, Format, Names, Report
from finops_pipeline.demo.truth import FileTruth, Truth
from finops_pipeline.demo.usage import Usage

# Late, repeated and corrected rows come on top of what the fleet makes.
_EXTRA_ROWS = Decimal("1.013")
Progress = Callable[[int, int], None]


def make_tenancy(
    out: Path,
    *,
    days: int = 35,
    rows: int = 200_000,
    seed: int = 7,
    first_day: date = date(2026, 8, 1),
    formats: Collection[Format] = frozenset({"cost", "focus"}),
    progress: Progress | None = None,
    tenancy: str = "acme-oci",
    corrections: Style = "add",
    split_rows: int = 1_000_000,
) -> Truth:
    """Make a tenancy below `out`, as its bucket would be; the same arguments make the same bytes.

    `rows` is how many lines one format holds in all, within 5 % where that is at least a few
    thousand. `tenancy` names an entry of `data/tenancies.yaml`. `progress` is told rows done and
    rows expected after each delivery. Beside the reports stand `compartments.csv` and `truth.json`.
    Raises FileExistsError where `out` already holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: a tenancy is made in a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    writer = _Writer(out, profile(tenancy), Calendar(first_day, days), seed, rows, corrections)
    files = writer.write(sorted(formats), split_rows, progress)
    truth = Truth(
        tenancy=tenancy,
        seed=seed,
        corrections=corrections,
        first_day=first_day,
        last_day=first_day + timedelta(days=days - 1),
        rows=writer.rows,
        days=tuple(writer.account.days()),
        owners=tuple(writer.account.owners()),
        anomalies=writer.usage.anomalies,
        files=tuple(files),
    )
    truth.write(out / "truth.json")
    return truth


class _Writer:
    """One tenancy being written."""

    def __init__(
        self, out: Path, who: Profile, calendar: Calendar, seed: int, rows: int, style: Style
    ) -> None:
        goods: Catalogue = catalogue()
        salt_ = salt(seed, who.display_name)
        fleet = FleetMaker(who, goods, calendar, seed).fleet(int(rows / _EXTRA_ROWS))
        tree = compartment_tree(
            goods, who.display_name, generator(seed, who.display_name, "identity")
        )
        write_inventory(tree, out / "compartments.csv")
        money = Money(goods.skus, who, fleet.offers)
        self.usage = Usage(fleet, money, goods, calendar, salt_)
        self.account = Account(fleet, money, goods, who, calendar)
        self.rows = 0
        self._expected = int(fleet.expected_rows * _EXTRA_ROWS)
        self._out = out
        self._goods = goods
        self._calendar = calendar
        self._fleet = fleet
        self._money = money
        self._facets = Facets(fleet, money, goods, who, calendar, tree)
        self._deliveries = Deliveries(self.usage, money, calendar, len(fleet))
        self._corrections = Corrections(self._deliveries, money, salt_, style)
        self._layouts: dict[Format, tuple[tuple[str, ...], Layout]] = {}

    def write(
        self, formats: list[Format], split_rows: int, progress: Progress | None
    ) -> list[FileTruth]:
        names = {f: Names(f) for f in formats}
        files: list[FileTruth] = []
        for delivery in range(self._calendar.deliveries):
            delivered = [
                (
                    layout,
                    Delivered(f, partial(self._report, f, names[f], delivery, layout, split_rows)),
                )
                for f in formats
                for layout in [self._layout(f, delivery)]
            ]
            with ExitStack() as open_reports:
                for _, reports in delivered:
                    open_reports.enter_context(reports)
                self._deliver(delivery, delivered)
            files += [file for _, reports in delivered for file in reports.files()]
            if progress is not None:
                progress(self.rows, max(self._expected, self.rows))
        return files

    def _deliver(self, delivery: int, delivered: list[tuple[Layout, Delivered]]) -> None:
        for batch in self._deliveries.batches(delivery):
            if len(batch.rows):
                self.account.add(batch)
                self.rows += len(batch.rows)
                day = self._calendar.day_of(batch.rows.window)
                for layout, reports in delivered:
                    reports.report(day).write(layout.pieces(batch.rows), len(batch.rows))
        for correction in self._corrections.of_delivery(delivery):
            self.account.add_correction(correction)
            self.rows += 1
            day = self._calendar.day_of(correction.row.window)
            for layout, reports in delivered:
                reports.report(day).write([self._corrected(layout, correction)], 1)

    def _corrected(self, layout: Layout, correction: Correction) -> bytes:
        entries = self._facets.entries(correction.row)
        cells = {f: self._facets.cells(f, int(e[0])) for f, e in entries.items() if f != "money"}
        cells["money"] = self._money.cells(int(correction.row.entry[0]), correction.quantity)
        cells["reference"] = {"reference": correction.reference}
        cells["nature"] = {
            "is_correction": "true",
            "back_reference": correction.corrects,
            "category": "Adjustment",
        }
        return layout.line(cells)

    def _report(
        self, format_: Format, names: Names, delivery: int, layout: Layout, split: int, day: date
    ) -> Report:
        when = self._calendar.delivered_at(delivery)
        return Report(self._out, names.next(day), format_, when, layout.header, split)

    def _layout(self, format_: Format, delivery: int) -> Layout:
        """The layout of the day; columns and tag keys come and go during the period."""
        share = Decimal(min(delivery, self._calendar.windows)) / self._calendar.windows
        columns, keys = columns_at(format_, self._goods, share), tag_keys_at(self._goods, share)
        known = (*(c.header for c in columns), *keys)
        if format_ not in self._layouts or self._layouts[format_][0] != known:
            self._layouts[format_] = (known, Layout(columns, self._facets, keys))
        return self._layouts[format_][1]
