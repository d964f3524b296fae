"""Reports look as OCI's do: names, headers, line ends, numbers, times, tags."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from finops_pipeline_tests.demo.conftest import SPLIT_ROWS, Made
from finops_pipeline_tests.demo.recount import report_paths

FIRST_25 = [
    "lineItem/referenceNo",
    "lineItem/tenantId",
    "lineItem/intervalUsageStart",
    "lineItem/intervalUsageEnd",
    "product/service",
    "product/compartmentId",
    "product/compartmentName",
    "product/region",
    "product/availabilityDomain",
    "product/resourceId",
    "usage/billedQuantity",
    "usage/billedQuantityOverage",
    "cost/subscriptionId",
    "cost/productSku",
    "product/Description",
    "cost/unitPrice",
    "cost/unitPriceOverage",
    "cost/myCost",
    "cost/myCostOverage",
    "cost/currencyCode",
    "cost/billingUnitReadable",
    "cost/skuUnitDescription",
    "cost/overageFlag",
    "lineItem/isCorrection",
    "lineItem/backreferenceNo",
]
FOCUS_COLUMNS = 49


def _header(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return file.readline().rstrip("\r\n").split(",")


def test_cost_reports_have_ocis_names_and_header(adding: Made) -> None:
    paths = report_paths(adding.folder, "cost")
    assert paths[0].name == "0001000001234567-00001.csv.gz"
    for path in paths:
        assert re.fullmatch(r"\d{16}-0000\d\.csv\.gz", path.name)
        header = _header(path)
        assert header[:25] == FIRST_25
        assert all(h.startswith(("tags/", "cost/attr", "usage/attr")) for h in header[25:])


def test_focus_reports_have_49_sorted_preview_columns(adding: Made) -> None:
    for path in report_paths(adding.folder, "focus"):
        header = _header(path)
        assert len(header) == FOCUS_COLUMNS
        assert {"Provider", "InvoiceIssuer", "Region", "UsageQuantity"} < set(header)
        standard = [h for h in header if not h.startswith("oci_")]
        assert standard == sorted(standard)
        assert header[len(standard) :] == [h for h in header if h.startswith("oci_")]


def test_every_line_ends_in_crlf_and_gzip_headers_have_no_time(adding: Made) -> None:
    for path in report_paths(adding.folder, "cost") + report_paths(adding.folder, "focus"):
        assert path.read_bytes()[4:8] == b"\0\0\0\0"
        text = gzip.decompress(path.read_bytes())
        assert text.endswith(b"\r\n")
        assert text.count(b"\n") == text.count(b"\r\n")


def test_reports_split_at_the_size_given(adding: Made) -> None:
    parts: dict[str, list[int]] = defaultdict(list)
    for file in adding.truth.files:
        parts[file.path.rsplit("-", 1)[0]].append(file.rows)
    split = [rows for rows in parts.values() if len(rows) > 1]
    assert split
    for rows in split:
        assert set(rows[:-1]) == {SPLIT_ROWS}
        assert 0 < rows[-1] <= SPLIT_ROWS


def test_one_cost_file_mixes_both_spellings_of_time(adding: Made) -> None:
    spellings = {len(line.cells["lineItem/intervalUsageStart"]) for line in adding.cost[:300]}
    assert spellings == {len("2026-08-01T10:00Z"), len("2026-08-01T10:00:00Z")}


def test_focus_times_are_spelled_as_oracles(adding: Made) -> None:
    for line in adding.focus[::50]:
        month = line.day[:7]
        assert line.cells["BillingPeriodStart"] == f"{month}-01T00:00:00.000Z"
        following = "2026-09" if month == "2026-08" else "2026-10"
        assert line.cells["BillingPeriodEnd"] == f"{following}-01T00:00:00.000Z"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00Z", line.cells["ChargePeriodStart"])
        assert line.cells["EffectiveCost"] == "0"


def test_focus_files_lie_in_the_folder_of_their_usage_day(adding: Made) -> None:
    late = 0
    for line in adding.focus:
        assert line.file.startswith(f"FOCUS Reports/{line.day.replace('-', '/')}/")
    for file in adding.truth.files:
        if file.format == "focus":
            day = date.fromisoformat("-".join(file.path.split("/")[1:4]))
            late = max(late, (file.delivered_at.date() - day).days)
    assert late > 14


def test_numbers_multiply_exactly_and_some_are_in_e_notation(adding: Made) -> None:
    digits, texts = 0, []
    for line in adding.cost:
        price = Decimal(line.cells["cost/unitPrice"])
        assert line.quantity * price == line.cost
        exponent = line.cost.as_tuple().exponent
        assert isinstance(exponent, int)
        digits = max(digits, -exponent)
        texts.append(line.cells["cost/myCost"])
    assert digits == 18
    assert any(re.fullmatch(r"\d\.\d+E-\d+", t) for t in texts)
    assert any(c.startswith("-") for c in texts)
    assert "0" in texts


def test_tag_keys_and_columns_come_and_go(adding: Made) -> None:
    headers = [set(_header(p)) for p in report_paths(adding.folder, "cost")]
    first, last = headers[0], headers[-1]
    assert last - first == {
        "tags/Operations.Environment",
        "cost/attributedCost",
        "usage/attributedUsage",
    }
    assert first - last == {"tags/legacy-project"}
    focus = [{k for k, _ in line.tags} for line in adding.focus]
    assert any("legacy-project" in keys for keys in focus[:500])
    assert any("Operations.Environment" in keys for keys in focus[-500:])


def test_tags_and_descriptions_have_quotes_commas_and_many_scripts(adding: Made) -> None:
    values = {v for line in adding.cost for _, v in line.tags}
    assert 'Storefront, "Zürich"' in values
    assert "日本語のメモ" in values
    descriptions = {line.cells["product/Description"] for line in adding.cost}
    assert 'Block Volume - Storage, "Balanced"' in descriptions


def test_two_subscriptions_bill_in_two_currencies_within_one_file(adding: Made) -> None:
    currencies: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for line in adding.cost:
        currencies[line.file].add((line.currency, line.cells["cost/subscriptionId"]))
    assert {("EUR", "68531619"), ("USD", "68531402")} in currencies.values()


def test_overage_and_free_tier_rows(adding: Made) -> None:
    over = [line for line in adding.cost if line.cells["cost/overageFlag"] == "Y"]
    assert {line.day for line in over} > {"2026-08-29", "2026-08-30"}
    for line in over:
        assert line.cells["cost/myCostOverage"] == line.cells["cost/myCost"]
        assert line.cells["usage/billedQuantityOverage"] == line.cells["usage/billedQuantity"]
    free = [line for line in adding.cost if ("orcl-cloud.free-tier-retained", "true") in line.tags]
    assert free
    assert all(line.cost == 0 for line in free)


def test_skus_of_one_resource_share_its_ocid(adding: Made) -> None:
    skus: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in adding.cost:
        skus[line.resource, line.start].add(line.cells["cost/productSku"])
    assert {"B97384", "B97385"} in skus.values()


def test_a_delivery_every_six_hours(adding: Made) -> None:
    paths = [p for p in report_paths(adding.folder, "cost") if p.name.endswith("-00001.csv.gz")]
    times = [datetime.fromtimestamp(p.stat().st_mtime, UTC) for p in paths]
    gaps = [(b - a).total_seconds() / 3600 for a, b in pairwise(times)]
    assert len(paths) >= 35 * 4
    assert all(5 < gap < 7 for gap in gaps[: 35 * 4 - 1])
