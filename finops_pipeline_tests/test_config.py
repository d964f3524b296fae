"""`finops.yaml`: what is right is kept exactly, what is wrong is told with place and cure."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finops_pipeline.cli import app
from finops_pipeline.config import ConfigError, load_settings
from finops_pipeline.orchestration.settings import checked_settings

SOURCE = "{name: acme, format: oci_cost_csv, location: 'file:in'}"

# What stands in the file, and what the message has to hold.
WRONG: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown key": ("colour: red", ("(top level)", "'colour'", "reporting_currency")),
    "unknown key of a source": (
        "sources: [{name: acme, format: oci_cost_csv, location: 'file:in', pass_phrase: s3cret}]",
        ("sources.0", "'pass_phrase'", "location"),
    ),
    "missing key": ("sources: [{name: a, format: oci_focus}]", ("sources.0.location", "required")),
    "scheme": (
        "sources: [{name: a, format: oci_focus, location: 's3://b'}]",
        ("sources.0.location", "file:<directory>", "oci://", "'s3://b'"),
    ),
    "bucket": (
        "sources: [{name: a, format: oci_focus, location: 'oci://bling'}]",
        ("sources.0.location", "oci://<namespace>/<bucket>", "'oci://bling'"),
    ),
    "format": (
        "sources: [{name: a, format: aws, location: 'file:x'}]",
        ("sources.0.format", "one of: oci_cost_csv, oci_focus", "'aws'"),
    ),
    "name": (
        "sources: [{name: Acme EU, format: oci_focus, location: 'file:x'}]",
        ("sources.0.name", "[a-z0-9]", "'Acme EU'"),
    ),
    "source twice": (f"sources: [{SOURCE}, {SOURCE}]", ("source", "twice", "acme")),
    "budget twice": (
        "budgets: [{name: b, amount: 1}, {name: b, amount: 2}]", ("budget", "twice", "b"),
    ),
    "currency": ("reporting_currency: DOLLAR", ("reporting_currency", "ISO 4217", "'DOLLAR'")),
    "no currency": ("reporting_currency: QQQ", ("reporting_currency", "ISO 4217", "'QQQ'")),
    "memory": ("memory_limit: lots", ("memory_limit", "'lots'")),
    "home": ("home: 'ftp://bucket/lake'", ("home", "folder", "s3://BUCKET/PREFIX")),
    "Spark in a bucket": (
        "engine: spark\nhome: 's3://bucket/lake'", ("engine: spark", "folder", "engine: duckdb"),
    ),
    "YAML": ("sources: [", ("not readable as YAML", "line 1")),
    "key twice": ("home: a\nhome: b", ("'home' stands here twice", "line 2")),
    "no mapping": ("- home", ("(top level)", "dictionary", "['home']")),
    "an empty list": ("[]", ("(top level)", "dictionary", "[]")),
    "first day": ("first_day: soon", ("first_day", "date", "'soon'")),
    "negative age": ("rate_max_age_days: -1", ("rate_max_age_days", "greater than", "-1")),
    "negative budget": (
        "budgets: [{name: b, amount: -5}]", ("budgets.0.amount", "greater than 0", "-5"),
    ),
    "budget too fine": (
        "budgets: [{name: b, amount: 0.1234567890123456789}]",
        ("budgets.0.amount", "18 decimal places", "0.1234567890123456789"),
    ),
    "budget too large": (
        "budgets: [{name: b, amount: 123456789012345678901}]", ("budgets.0.amount", "20 digits"),
    ),
    "budget of words": ("budgets: [{name: b, amount: much}]", ("budgets.0.amount", "'much'")),
    "budget of truth": ("budgets: [{name: b, amount: yes}]", ("budgets.0.amount", "True")),
    "no number": ("budgets: [{name: b, amount: .nan}]", ("'.nan' is not a decimal", "line 1")),
    "threshold zero": (
        "budgets: [{name: b, amount: 1, thresholds: [50, 0]}]",
        ("budgets.0.thresholds.1", "greater than 0"),
    ),
    "threshold negative": (
        "budgets: [{name: b, amount: 1, thresholds: [-80]}]",
        ("budgets.0.thresholds.0", "greater than 0", "-80"),
    ),
    "threshold too fine": (
        "budgets: [{name: b, amount: 1, thresholds: [0.1234567890123456789]}]",
        ("budgets.0.thresholds.0", "18 decimal places"),
    ),
    "filter": (
        "budgets: [{name: b, amount: 1, filters: {colour: red}}]",
        ("budgets.0.filters", "'colour' is unknown", "owner"),
    ),
    "filter value": (
        "budgets: [{name: b, amount: 1, filters: {month: May}}]", ("budgets.0.filters", "'May'"),
    ),
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "finops.yaml"


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_and_is_wrong_use(path: Path, case: str) -> None:
    text, expected = WRONG[case]
    path.write_text(text, encoding="utf-8")

    done = CliRunner().invoke(app, ["run", "--config", str(path)])

    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {path}: ") and not done.stdout
    for part in expected:
        assert part in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "No such file"), ("folder", "Is a directory"), (b"home: \xff", "not UTF-8 at byte 6")],
)
def test_what_cannot_be_read_is_wrong_use(
    path: Path, content: bytes | str | None, expected: str
) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    done = CliRunner().invoke(app, ["costs", "--config", str(path)])
    assert done.exit_code == 2
    assert str(path) in done.stderr and expected in done.stderr


def test_several_mistakes_are_told_at_once(path: Path) -> None:
    path.write_text("first_day: soon\nmemory_limit: lots\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert "first_day: " in str(caught.value) and "memory_limit: " in str(caught.value)


@pytest.mark.parametrize(
    "amount", ["0.1", "0.100000000000000001", "12345678901234567890.123456789012345678", "1_000.5"]
)
def test_decimals_keep_every_digit(path: Path, amount: str) -> None:
    path.write_text(
        f"budgets: [{{name: b, amount: {amount}, thresholds: [{amount}]}}]", encoding="utf-8"
    )
    (budget,) = load_settings(path).budgets
    assert budget.amount == Decimal(amount.replace("_", ""))
    assert budget.thresholds == (budget.amount,)


def test_an_empty_file_means_the_defaults(path: Path) -> None:
    path.write_text("# nothing yet\n", encoding="utf-8")
    settings = checked_settings(path)
    assert settings.reporting_currency == "USD" and settings.sources == ()


def test_paths_are_below_the_folder_of_the_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    path.write_text(
        "home: ../lake\nrules: r.yaml\nrates: ~/rates.csv\nsources:\n"
        "  - {name: a, format: oci_focus, location: 'file:in', config_file: oci/config}\n"
        "  - {name: b, format: oci_focus, location: 'file:~/in'}\n"
        "  - {name: c, format: oci_focus, location: 'oci://bling/ocid1.tenancy.oc1..a'}\n",
        encoding="utf-8",
    )
    settings = load_settings(path)
    assert settings.home == tmp_path.parent / "lake"
    assert (settings.rules, settings.rates) == (tmp_path / "r.yaml", tmp_path / "me" / "rates.csv")
    assert [s.location for s in settings.sources] == [
        f"file:{tmp_path / 'in'}",
        f"file:{tmp_path / 'me' / 'in'}",
        "oci://bling/ocid1.tenancy.oc1..a",
    ]
    assert settings.sources[0].config_file == tmp_path / "oci" / "config"
    assert settings.sources[1].config_file == tmp_path / "me" / ".oci" / "config"


def test_one_filter_value_is_a_list_of_one(path: Path) -> None:
    path.write_text("budgets: [{name: b, amount: 1, filters: {owner: web}}]", encoding="utf-8")
    assert checked_settings(path).budgets[0].filters == {"owner": ("web",)}
