"""A company of six sources whose reports hold what is hard: for engines to agree on.

Broken rows, texts beyond ASCII, lines in quotes, numbers with exponents and many digits, tags,
corrections, credits, tax, two currencies, one without a rate, charges that come again.
"""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from finops_pipeline.config import Budget, Cluster, Settings, Source
from finops_pipeline_tests.ingest.opencost_files import allocation, answer, idle
from finops_pipeline_tests.normalize import azure_exports, gcp_rows, test_gcp_focus
from finops_pipeline_tests.normalize.pipeline import line, report

_RULES = """
owners: [shop, {name: web, parent: shop}, {name: late, from: 2026-09-09}]
tags:
  - {key: team, patterns: [{match: "we.?", owner: web}], invalid: plain}
places:
  - {name: odd, match: {"tag:Team": ["日本語 🙂"], ResourceId: plain}, owner: late}
clusters:
  - {name: awkward, match: {"tag:Team": ["a,b", VAT on it]}, idle: unallocated, otherwise: even}
pools:
  - name: thirds
    match: {ServiceName: [straße]}
    drivers: {fixed: {shop: 1, by-cost: 2}}
    recipients: [shop, by-cost]
  - name: by-cost
    match: {ServiceName: [Object_Storage]}
    drivers: [cost, even]
    recipients: [web, late]
  - name: followed
    match: {ServiceName: [COMPUTE]}
    drivers: [{cost: direct, same: [ResourceId, SubAccountId]}, {usage: OCPU Hours}, last known]
"""

_COSTS = [
    "0.05", "-0.05", "1e-7", "4725212162234.109095305e-11", "0.1234567890123456785", ".5", "5.",
    "12345678901.123456789012345678", "-0.000000000000000001", "+3", " 7 ", "0",
]  # fmt: skip
_TEXTS = [
    "plain", 'quoted "text"', "two\nlines", "a,b", "tab\tand \\ backslash", "Straße ŉ İstanbul ΑΣ",
    "\u2028line separator", "日本語 🙂", "control \x01\x1f\x7f", "VAT on it", "ßVAT", "' or 1=1",
]  # fmt: skip
_UNITS = [
    "OCPU Hours", "ONE HOURS OCPUS", "10,000 API calls per month", "GB OUTBOUND DATA TRANSFER",
    "Ten Thousand transactions", "Strange unit\n", "Straßen-Meter", "GiB Storage per Month",
    "1M Requests", "Million delivery operations", "", "K\u212a and \u017f",
]  # fmt: skip
_TIMES = [
    "2026-09-09T10:00Z", "2026-09-09T10:00:00Z", "2026-09-09T10:00:00.250Z", "2026-09-09 10:00:00",
    "2026-09-09T12:00:00+02:00", "2026-09-08T23:59:59.999999Z", "2026-09-09", "2026-9-9T10:00Z",
    "2026-02-30T10:00Z", "yesterday", "2031-01-01T00:00Z", "2026-09-09T10:00:00-05:30",
]  # fmt: skip


def _cost_rows() -> list[dict[str, str]]:
    rows = [
        line(
            ref=f"ref-{i}", cost=cost, start=time, end="2026-09-10T00:00Z", unit=unit,
            currency=("USD", "EUR", "usd", "XTS")[i % 4], region=("us-ashburn-1", "İZMİR")[i % 2],
            service=("COMPUTE", "Object_Storage", "straße")[i % 3],
            **{
                "product/Description": text, "tags/team": ("shop", "", "", "web")[i % 4],
                "tags/Team": text, "tags/a.b/c": ("", "{}")[i % 2],
                "product/resourceId": ("ocid1.instance.oc1.iad.one", "plain", "", "ocid1.x")[i % 4],
            },
        )
        for i, (cost, text, unit, time) in enumerate(
            zip(_COSTS, _TEXTS, _UNITS, _TIMES, strict=True)
        )
    ]  # fmt: skip
    numbers = ["abc", "1_000", "1,000", "NaN", "1e40", "", "١٢", "1e400"]
    rows += [line(ref=f"bad-{i}", cost=n, **{"tags/team": "web"}) for i, n in enumerate(numbers)]
    rows += [line(ref="ref-0", cost="0.07"), line(ref="", cost="1"), line(ref="ref-1")]
    rows += [line(ref="fix-1", back="ref-0", cost="0.06"), line(ref="fix-2", back="none")]
    return rows


def _focus_rows() -> list[dict[str, str]]:
    focus, own = "oci_focus", {"oci_CompartmentId": "ocid1.compartment.oc1..eu"}
    tags = ['{"team":"shop"}', "{}", "", "no json", '{"team": "a/b~c", "x":1}', "[1,2]"]
    rows = [
        line(
            focus, ref=f"f-{i}", cost=f"{i}.000000000000000{i}", currency=("EUR", "USD")[i % 2],
            start="2026-09-09T10:00Z", end="2026-09-09T11:00Z", Tags=tag, **own,
        )
        for i, tag in enumerate(tags)
    ]  # fmt: skip
    tax = {"ServiceName": "VAT", "ChargeCategory": "Tax"}
    rows.append(line(focus, ref="tax", cost="1.19", **tax, **own))
    rows.append(line(focus, ref="credit", cost="-20", **own))
    rows.append(line(focus, ref="fix", back="f-1", cost="0.5", **own))
    return rows


def _gcp_rows() -> list[dict[str, Any]]:
    row = gcp_rows.row
    labels = [{"key": "team", "value": "Straße 🙂"}, {"key": "a/b~c", "value": 'say "hi"'}]
    credits = [gcp_rows.CUD, gcp_rows.PROMOTION, gcp_rows.PROMOTION]
    return [
        row(credits=credits, cost=0.1234567890123456),
        row(credits=credits, labels=labels, usage={"unit": "Straßen-Meter"}),
        row(cost_type="tax", cost=1e-7, usage_start_time="2026-09-09T10:00:00.123456Z"),
        row(cost_type="adjustment", cost=-3, invoice={"month": "202610"}, currency="EUR"),
        row(cost_type="rounding_error", cost=0.01, invoice={"month": None}, currency="XTS"),
        row(), row(),
        row(invoice={"month": "202613"}), row(credits="broken"), row(cost="abc", credits=credits),
    ]  # fmt: skip


def _azure_rows() -> list[dict[str, str]]:
    day = {
        "ChargePeriodStart": "2026-09-09T00:00:00Z",
        "ChargePeriodEnd": "2026-09-10T00:00:00.0000000Z",
    }
    bought = {"ContractedCost": "0", "ContractedUnitPrice": "0", "ListCost": "0", "BilledCost": "0"}
    nobody = {"SubAccountId": "/subscriptions/00000000-0000-0000-0000-000000000000"}
    changed: list[dict[str, str]] = [
        {},
        {
            "Tags": '"team": "web","env": "pröd"',
            "ChargePeriodStart": "2026-09-09T00:00:00.0000000Z",
        },
        {"Tags": '{"broken', "RegionId": "", "RegionName": "West Europe"},
        {"x_ResourceGroupName": "", **bought, "ListUnitPrice": "", "EffectiveCost": "1E-18"},
        {"ServiceName": "", "x_PublisherCategory": "Vendor", "PublisherName": "Straße"},
        {"ServiceName": "", "ServiceCategory": "", "ChargeCategory": "Purchase"},
        {"SubAccountName": "", **nobody},
        {"BillingCurrency": "EUR", "ChargeClass": "Correction", "BilledCost": "-1.5E-3"},
        {"ListUnitPrice": "word"},
    ]
    return [azure_exports.row(**(day | told)) for told in changed]


_VM = "/subscriptions/A1/resourceGroups/Web/providers/Microsoft.Compute/virtualMachines/VM1"
_ANSWER: dict[str, Any] = {
    "columns": [
        {"name": n}
        for n in ("Cost", "UsageDate", "ResourceId", "ChargeType", "Currency", "TagKey", "TagValue")
    ],
    "rows": [
        [1.25, 20260909, _VM, "Usage", "USD", "team", "web"],
        [-7, 20260909, "", None, "EUR", "", None],
        [3, 20260910, "no path", "Refund", "USD", "team", None],
        [3, 20260910, _VM + "/extensions/x", "UnusedReservation", "USD", 'a"b', "é"],
        [3, "20260931", _VM, "Usage", "USD", "", ""],
    ],
}


def deliver(folder: Path) -> None:
    """Lay the reports below the folder, delivered on two days."""
    good, again = report(_cost_rows()), report([line(ref="ref-1", cost="0.09"), line(ref="new")])
    names = good.decode().splitlines()[0].split(",")
    no_text = report([line(ref="no text")], names).splitlines(keepends=True)[1]
    broken = good + b"too,few\r\n" + no_text.replace(b"web", b"\xff") + b'"never closed\r\n'
    _lay(folder / "acme-oci/reports/cost-csv/0001.csv.gz", gzip.compress(broken, mtime=0), 10)
    _lay(folder / "acme-oci/reports/cost-csv/0002.csv.gz", gzip.compress(good, mtime=0), 10)
    _lay(folder / "acme-oci/reports/cost-csv/0003.csv.gz", gzip.compress(again, mtime=0), 11)
    _lay(folder / "acme-eu/FOCUS Reports/0001.csv", b"\xef\xbb\xbf" + report(_focus_rows()), 10)
    _lay(folder / "acme-gcp/all.json", gcp_rows.json_lines(*_gcp_rows()), 10)
    _lay(folder / "acme-gcp/some.csv", gcp_rows.flat_csv(*_gcp_rows()[2:]), 11)
    focus = {**test_gcp_focus.ROW, "SubAccountId": "another", "ConsumedUnit": "Straßen-Meter"}
    _lay(folder / "acme-gcp-focus/all.jsonl", test_gcp_focus.as_json(focus, focus), 10)
    month = folder / "acme-azure/20260901-20260930"
    _lay(month / "part_0.csv", azure_exports.as_csv(_azure_rows()), 10)
    newest = [azure_exports.newest(row) for row in _azure_rows()]
    _lay(month / "part_1.csv.gz", azure_exports.as_gzip(newest), 10)
    _lay(folder / "acme-azure-query/2026-09.json", json.dumps(_ANSWER).encode(), 11)
    day = date(2026, 9, 9)
    namespaces = ('"日本語"', "a/b~c", "kube-system", "we")
    told = [
        allocation(day, name, cores=f"0.{i}", gib="0.3", labels={"team": "we" * i, "Straße": "ß"})
        for i, name in enumerate(namespaces, 1)
    ]
    usage = answer(day, *told, idle(day, cpu="0.7", memory="0.1"))
    _lay(folder / "usage.json", usage.encode(), 10)
    (folder / "rules.yaml").write_text(_RULES, encoding="utf-8")


def _lay(path: Path, content: bytes, day: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    noon = datetime(2026, 9, day, 12, tzinfo=UTC).timestamp()
    os.utime(path, (noon, noon))


def settings(folder: Path, home: str, **engine: object) -> Settings:
    """The company's settings, with a home of its own below the folder."""
    sources = (
        Source(
            name="acme-oci", format="oci_cost_csv", location=f"file:{folder / 'acme-oci'}",
            corrections="replace",
        ),
        Source(name="acme-eu", format="oci_focus", location=f"file:{folder / 'acme-eu'}"),
        Source(name="acme-gcp", format="gcp_detailed", location=f"file:{folder / 'acme-gcp'}"),
        Source(
            name="acme-gcp-focus", format="gcp_focus", location=f"file:{folder / 'acme-gcp-focus'}"
        ),
        Source(name="acme-azure", format="azure_focus", location=f"file:{folder / 'acme-azure'}"),
        Source(
            name="acme-azure-query", format="azure_cost_query",
            location=f"file:{folder / 'acme-azure-query'}",
        ),
    )  # fmt: skip
    return Settings.model_validate(
        {
            "home": folder / home, "sources": sources, "rules": folder / "rules.yaml",
            "first_day": date(2026, 9, 1), "rate_max_age_days": 9000,
            "clusters": (Cluster(name="awkward", opencost=folder / "usage.json"),),
            "budgets": (Budget(name="all", amount=Decimal(10)),), **engine,
        }
    )  # fmt: skip
