"""The look-up tables that ship with the package are complete, unambiguous and well formed.

What the tables mean stands in the README.md beside them; how the code reads them is tested where
it is read.
"""

import csv
import json
import re
from importlib import resources
from pathlib import Path

import pytest
from currency_converter import CurrencyConverter
from oci import regions_definitions

PACKAGE = resources.files("finops_pipeline")
FOCUS_FACTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "focus"

COLUMNS = ("contracts", "focus_1_2_columns.csv")
SERVICES = ("contracts", "focus_1_2_services.csv")
CURRENCIES = ("contracts", "currencies.csv")
OCI_SERVICES = ("normalize", "oci_services.csv")
OCI_REGIONS = ("normalize", "oci_regions.csv")
OCI_UNITS = ("normalize", "oci_units.csv")
AWS_SERVICES = ("normalize", "aws_services.csv")
AWS_REGIONS = ("normalize", "aws_regions.csv")
AZURE_SERVICES = ("normalize", "azure_services.csv")
AZURE_REGIONS = ("normalize", "azure_regions.csv")
AZURE_UNITS = ("normalize", "azure_units.csv")
GCP_SERVICES = ("normalize", "gcp_services.csv")
GCP_REGIONS = ("normalize", "gcp_regions.csv")
GCP_UNITS = ("normalize", "gcp_units.csv")


def as_name(text: str) -> str:
    return re.sub(r"[ _-]+", "_", text.strip().casefold())


def as_unit(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d)", "", " ".join(text.casefold().split()))


# How each table is matched: its key columns, and what is ignored in them.
KEYS = [
    (COLUMNS, ["column"], str),
    (SERVICES, ["category", "subcategory"], str),
    (CURRENCIES, ["code"], str),
    (OCI_SERVICES, ["service"], as_name),
    (OCI_REGIONS, ["region_id"], str.casefold),
    (OCI_REGIONS, ["region_key"], str.casefold),
    (OCI_REGIONS, ["region_name"], str.casefold),
    (OCI_UNITS, ["unit"], as_unit),
    (AWS_SERVICES, ["service"], as_name),
    (AWS_REGIONS, ["region_id"], str.casefold),
    (AWS_REGIONS, ["region_name"], str.casefold),
    (AZURE_SERVICES, ["service"], as_name),
    (AZURE_REGIONS, ["region_id"], str.casefold),
    (AZURE_REGIONS, ["region_key"], str.casefold),
    (AZURE_REGIONS, ["region_name"], str.casefold),
    (AZURE_UNITS, ["unit"], as_unit),
    (GCP_SERVICES, ["service"], as_name),
    (GCP_REGIONS, ["region_id"], str.casefold),
    (GCP_UNITS, ["unit"], as_unit),
]
TABLES = [
    COLUMNS, SERVICES, CURRENCIES, OCI_SERVICES, OCI_REGIONS, OCI_UNITS,
    AWS_SERVICES, AWS_REGIONS, AZURE_SERVICES, AZURE_REGIONS, AZURE_UNITS,
    GCP_SERVICES, GCP_REGIONS, GCP_UNITS,
]  # fmt: skip


def text(table: tuple[str, str]) -> str:
    folder, name = table
    return (PACKAGE / folder / "data" / name).read_bytes().decode("utf-8")


def rows(table: tuple[str, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(text(table).splitlines()))


def facts(name: str) -> list[dict[str, str]]:
    if not FOCUS_FACTS.is_dir():
        pytest.skip("the specification's tables are not at hand")
    with (FOCUS_FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table[1])
def test_file_is_plain(table: tuple[str, str]) -> None:
    content = text(table)
    assert "\r" not in content
    assert content.endswith("\n")
    lines = list(csv.reader(content.splitlines()))
    assert {len(line) for line in lines} == {len(lines[0])}, "a row has too many or too few fields"
    assert all(cell == cell.strip() for line in lines for cell in line)


@pytest.mark.parametrize(("table", "columns", "ignoring"), KEYS)
def test_keys_are_unique_as_they_are_matched(table, columns, ignoring) -> None:
    keys = [tuple(ignoring(row[c]) for c in columns) for row in rows(table)]
    assert all(all(key) for key in keys), "an empty key"
    assert sorted(k for k in set(keys) if keys.count(k) > 1) == []


@pytest.mark.parametrize(
    ("table", "columns", "ignoring"),
    [key for key in KEYS if key[1] not in (["region_key"], ["region_name"])],
)
def test_rows_are_sorted_by_key(table, columns, ignoring) -> None:
    keys = [tuple(ignoring(row[c]) for c in columns) for row in rows(table)]
    assert keys == sorted(keys)


def test_focus_columns_are_those_of_the_specification() -> None:
    ours = {row["column"]: row for row in rows(COLUMNS)}
    theirs = {row["ColumnId"]: row for row in facts("focus_1_2_columns.csv")}
    assert set(ours) == set(theirs)
    for name, row in ours.items():
        fact = theirs[name]
        assert row["type"] == fact["DataType"], name
        assert row["level"] == fact["FeatureLevel"], name
        assert row["nullable"] == fact["AllowsNulls"].lower(), name
        assert row["allowed_values"] == fact["AllowedValues"], name
        assert row["minimum"] == ("0" if "non-negative" in fact["NumberRange"] else ""), name


def test_focus_columns_are_complete_without_the_specification() -> None:
    columns = rows(COLUMNS)
    assert len(columns) == 57
    assert {row["type"] for row in columns} == {"String", "Decimal", "Date/Time", "JSON"}
    assert {row["level"] for row in columns} == {"Mandatory", "Conditional", "Recommended"}
    assert sum(row["level"] == "Mandatory" for row in columns) == 21
    assert {row["nullable"] for row in columns} == {"true", "false"}
    assert [row["column"] for row in columns if row["minimum"]] == [
        "ContractedUnitPrice",
        "ListUnitPrice",
        "PricingCurrencyContractedUnitPrice",
        "PricingCurrencyListUnitPrice",
    ]


def test_every_focus_column_is_described_in_one_sentence() -> None:
    descriptions = [row["description"] for row in rows(COLUMNS)]
    assert all(re.fullmatch(r"[A-Z][^.]{10,118}\.", d) for d in descriptions)
    assert len(set(descriptions)) == len(descriptions)


def test_service_pairs_are_those_of_the_specification() -> None:
    ours = {(row["category"], row["subcategory"]) for row in rows(SERVICES)}
    theirs = facts("focus_1_2_service_subcategories.csv")
    assert ours == {(row["ServiceCategory"], row["ServiceSubcategory"]) for row in theirs}


def test_service_pairs_cover_the_category_list() -> None:
    pairs = rows(SERVICES)
    allowed = next(r for r in rows(COLUMNS) if r["column"] == "ServiceCategory")["allowed_values"]
    categories = {row["category"] for row in pairs}
    assert len(pairs) == 82
    assert categories == set(allowed.split("|"))
    others = {c for c in categories if {"category": c, "subcategory": f"Other ({c})"} in pairs}
    assert others == categories


def test_currency_codes_are_well_formed() -> None:
    currencies = rows(CURRENCIES)
    assert all(re.fullmatch("[A-Z]{3}", row["code"]) for row in currencies)
    assert {row["minor_unit"] for row in currencies} == {"", "0", "2", "3", "4"}
    assert {row["active"] for row in currencies} == {"yes", "no"}
    assert len({row["name"] for row in currencies}) == len(currencies)


def test_every_currency_with_a_reference_rate_is_known() -> None:
    known = {row["code"] for row in rows(CURRENCIES)}
    assert CurrencyConverter().currencies - known == set()


@pytest.mark.parametrize(
    ("code", "minor_unit", "active"),
    [
        ("USD", "2", "yes"),
        ("JPY", "0", "yes"),
        ("KWD", "3", "yes"),
        ("CLF", "4", "yes"),
        ("XAU", "", "yes"),
        ("HRK", "2", "no"),
        ("BGN", "2", "no"),
    ],
)
def test_currency(code: str, minor_unit: str, active: str) -> None:
    row = next(row for row in rows(CURRENCIES) if row["code"] == code)
    assert (row["minor_unit"], row["active"]) == (minor_unit, active)


@pytest.mark.parametrize(
    "table", [OCI_SERVICES, AZURE_SERVICES, GCP_SERVICES], ids=lambda table: table[1]
)
def test_services_have_a_valid_category(table: tuple[str, str]) -> None:
    valid = {(row["category"], row["subcategory"]) for row in rows(SERVICES)}
    services = rows(table)
    used = {(row["category"], row["subcategory"]) for row in services}
    assert used - valid == set()
    assert len(services) >= 150


@pytest.mark.parametrize(
    ("service", "category", "subcategory"),
    [
        ("COMPUTE", "Compute", "Virtual Machines"),
        ("Block Storage", "Storage", "Block Storage"),
        ("OBJECTSTORE", "Storage", "Object Storage"),
        ("NETWORK", "Networking", "Network Connectivity"),
        ("Virtual Cloud Network", "Networking", "Network Connectivity"),
        ("ORALB", "Networking", "Application Networking"),
        ("DATABASE", "Databases", "Relational Databases"),
        ("ADW", "Databases", "Data Warehouses"),
        ("Oracle NoSQL Database", "Databases", "NoSQL Databases"),
        ("TELEMETRY", "Management and Governance", "Observability"),
        ("Oracle Cloud VMware Solution", "Compute", "Virtual Machines"),
        ("Container Engine for Kubernetes", "Compute", "Containers"),
    ],
)
def test_oci_service(service: str, category: str, subcategory: str) -> None:
    found = {as_name(row["service"]): row for row in rows(OCI_SERVICES)}[as_name(service)]
    assert (found["category"], found["subcategory"]) == (category, subcategory)


def test_every_region_of_the_sdk_is_known_by_id_and_key() -> None:
    known = {row["region_id"]: row for row in rows(OCI_REGIONS)}
    ids = set(regions_definitions.REGIONS) | set(regions_definitions.REGION_REALMS)
    assert ids - set(known) == set()
    for key, region in regions_definitions.REGIONS_SHORT_NAMES.items():
        assert known[region]["region_key"].casefold() == key
    assert all(re.fullmatch(r"[A-Z].+ \(.+\)", row["region_name"]) for row in known.values())


def test_aws_services_have_a_valid_category() -> None:
    valid = {(row["category"], row["subcategory"]) for row in rows(SERVICES)}
    services = rows(AWS_SERVICES)
    assert {(row["category"], row["subcategory"]) for row in services} - valid == set()
    assert len(services) >= 400


@pytest.mark.parametrize(
    ("service", "category", "subcategory"),
    [  # as Cost Explorer prints them, which is not always how the product is called
        ("Amazon Elastic Compute Cloud - Compute", "Compute", "Virtual Machines"),
        ("EC2 - Other", "Compute", "Virtual Machines"),
        ("Amazon Elastic Container Service for Kubernetes", "Compute", "Containers"),
        ("AWS Lambda", "Compute", "Serverless Compute"),
        ("Amazon Simple Storage Service", "Storage", "Object Storage"),
        ("Amazon Relational Database Service", "Databases", "Relational Databases"),
        ("Amazon DynamoDB", "Databases", "NoSQL Databases"),
        ("AmazonCloudWatch", "Management and Governance", "Observability"),
        ("Amazon Virtual Private Cloud", "Networking", "Network Infrastructure"),
        ("AWS Support (Business)", "Management and Governance", "Support"),
        ("Tax", "Other", "Other (Other)"),
    ],
)
def test_aws_service(service: str, category: str, subcategory: str) -> None:
    found = {as_name(row["service"]): row for row in rows(AWS_SERVICES)}[as_name(service)]
    assert (found["category"], found["subcategory"]) == (category, subcategory)


def test_every_public_region_of_boto3_is_known_by_its_name() -> None:
    endpoints = json.loads((resources.files("botocore") / "data/endpoints.json").read_text())
    told = {
        region: found["description"]
        for partition in endpoints["partitions"]
        if partition["partition"] in ("aws", "aws-cn", "aws-us-gov", "aws-eusc")
        for region, found in partition["regions"].items()
    }
    ours = {row["region_id"]: row["region_name"] for row in rows(AWS_REGIONS)}
    assert len(told) > 30
    assert {key: ours.get(key) for key in told} == told
    assert set(ours) - set(told) == {"global"}


def is_focus_unit(unit: str) -> bool:
    """The unit format attribute of FOCUS 1.2, read from its text: no regular expression shared."""
    times = {"Second", "Minute", "Hour", "Day", "Month", "Year"}
    sizes = {p + i + u for p in "KMGTPE" for i in ("", "i") for u in "bB"} | {"b", "B"}

    def is_name(words: list[str]) -> bool:
        return all(w.isascii() and w.isalnum() and w[0].isalpha() for w in words)

    def is_plural(part: str) -> bool:
        words = part.split(" ")
        return is_name(words) and (words[-1] in sizes or words[-1].endswith("s"))

    def is_singular(part: str) -> bool:
        words = part.split(" ")
        return is_name(words) and (words[-1] == "Mbps" or not words[-1].endswith("s"))

    if "-" in unit:
        name, _, time = unit.partition("-")
        return is_singular(name) and time[-1:] == "s" and time[:-1] in times
    if "/" in unit:
        name, _, time = unit.partition("/")
        return is_plural(name) and time in times
    block, _, name = unit.partition(" ")
    return is_plural(name if block.isdigit() and block != "1" else unit)


@pytest.mark.parametrize(
    ("unit", "valid"),
    [
        ("OCPU-Hours", True),
        ("GB", True),
        ("10000 Requests", True),
        ("GB/Hour", True),
        ("GB-Hour", False),
        ("OCPUs-Hours", False),
        ("10,000 Requests", False),
        ("OCPU Per Hour", False),
        ("Gigabyte", False),
        ("GB Hours ", False),
        ("", False),
    ],
)
def test_unit_format(unit: str, valid: bool) -> None:
    assert is_focus_unit(unit) is valid


def test_every_oci_unit_is_in_focus_format() -> None:
    assert [row for row in rows(OCI_UNITS) if not is_focus_unit(row["focus_unit"])] == []


def test_a_unit_in_focus_format_is_left_alone() -> None:
    """A unit may be translated twice, as by a FOCUS report that Oracle already formatted."""
    units = {as_unit(row["unit"]): row["focus_unit"] for row in rows(OCI_UNITS)}
    for unit in set(units.values()):
        assert units.get(as_unit(unit), unit) == unit
