"""What a rules file may not say, and in which words it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from finops_pipeline.allocate.rules import load_rules
from finops_pipeline.config import ConfigError


def refusal(folder: Path, text: str | bytes) -> str:
    """What is said of a wrong file, without the path it begins with."""
    path = folder / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    start = f"{path}: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def pools(text: str) -> str:
    """A rules file with the owner `a` and these pools."""
    return f"owners: [a]\npools: [{text}]"


def pool(match: str = "ServiceName: N", driver: str = "cost", name: str = "p") -> str:
    """A pool of such a file."""
    return f"{{name: {name}, match: {{{match}}}, driver: {driver}}}"


UNKNOWN = "must be one of owners (a, b), or be added there, not 'c'"
ONE_OF = "'ProviderName', 'SubAccountId', 'ServiceName', 'ResourceId' or 'scope'"
DRIVER = "Value error, must be cost, {usage: unit} or {fixed: {owner: weight}}, not "
REFUSALS = {
    "unknown owner of an alias": (
        "owners: [a, b]\ntags: [{key: t, aliases: {x: c}}]",
        f"tags.0.aliases.x: {UNKNOWN}",
    ),
    "unknown owner of a scope": (
        "owners: [a, b]\nscopes: [{path: r, owner: a}, {path: s, owner: c}]",
        f"scopes.1.owner: {UNKNOWN}",
    ),
    "unknown owner of a weight": (
        pools(pool(driver="{fixed: {a: 1, b: 1}}")),
        "pools.0.driver.fixed.b: must be one of owners (a), or be added there, not 'b'",
    ),
    "no owners at all": (
        "scopes: [{path: r, owner: a}]",
        "scopes.0.owner: must be one of owners (none yet), or be added there, not 'a'",
    ),
    "cost cannot be given to unallocated": (
        "owners: [a]\nscopes: [{path: r, owner: unallocated}]",
        "scopes.0.owner: must be one of owners (a), or be added there, not 'unallocated'",
    ),
    "owner twice": (
        "owners: [a, b, A]",
        "owners.2: stands already at owners.0; keep one of the two, not 'A'",
    ),
    "pool twice": (
        pools(f"{pool()}, {pool()}"),
        "pools.1.name: stands already at pools.0.name; keep one of the two, not 'p'",
    ),
    "tag twice": (
        "tags: [{key: t}, {key: t}]",
        "tags.1.key: stands already at tags.0.key; keep one of the two, not 't'",
    ),
    "path twice": (
        "owners: [a]\nscopes: [{path: r/s, owner: a}, {path: r/s/, owner: a}]",
        "scopes.1.path: stands already at scopes.0.path; keep one of the two, not 'r/s'",
    ),
    "alias twice": (
        "owners: [a, b]\ntags: [{key: t, aliases: {x: a, X: b}}]",
        "tags.0.aliases.X: stands already at tags.0.aliases.x; keep one of the two, not 'X'",
    ),
    "alias that is another owner": (
        "owners: [a, b]\ntags: [{key: t, aliases: {B: a}}]",
        "tags.0.aliases.B: names another owner itself; remove the alias, not 'B'",
    ),
    "reserved owner": (
        "owners: [Unallocated]",
        "owners.0: is reserved for cost without an owner; use another name, not 'Unallocated'",
    ),
    "reserved pool": (
        pools(pool(name="unallocated")),
        "pools.0.name: is reserved for cost without an owner; use another name, not 'unallocated'",
    ),
    "negative weight": (
        pools(pool(driver="{fixed: {a: -0.5}}")),
        "pools.0.driver.fixed.a: Input should be greater than or equal to 0, not Decimal('-0.5')",
    ),
    "weights of zero": (
        pools(pool(driver="{fixed: {a: 0}}")),
        "pools.0.driver: Value error, at least one fixed weight must be greater than zero, "
        "not {'fixed': {'a': 0}}",
    ),
    "weight that is not a number": (
        pools(pool(driver="{fixed: {a: yes}}")),
        "pools.0.driver.fixed.a: Value error, must be a number, not True",
    ),
    "weight of infinity": (
        pools(pool(driver="{fixed: {a: Infinity}}")),
        "pools.0.driver.fixed.a: Input should be a finite number, not 'Infinity'",
    ),
    "weight too fine": (
        pools(pool(driver="{fixed: {a: 1e-19}}")),
        "pools.0.driver.fixed.a: Decimal input should have no more than 18 decimal places, "
        "not '1e-19'",
    ),
    "empty match": (
        pools(pool(match="")),
        "pools.0.match: Value error, must name at least one column, or it would take every "
        "charge, not {}",
    ),
    "match of nothing": (
        pools(pool(match="ServiceName: []")),
        "pools.0.match.ServiceName: Value error, must list at least one value, not []",
    ),
    "unknown column": (
        pools(pool(match="Service: N")),
        f"pools.0.match.Service.[key]: Input should be {ONE_OF}, not 'Service'",
    ),
    "number for text": (
        pools(pool(match="SubAccountId: 4711")),
        "pools.0.match.SubAccountId.0: Value error, must be text; put it in quotes, not 4711",
    ),
    "scope without a name": (
        pools(pool(match="scope: /")),
        "pools.0.match: Value error, must name a scope, such as root/payments, not {'scope': '/'}",
    ),
    "path without a name": (
        "owners: [a]\nscopes: [{path: /, owner: a}]",
        "scopes.0.path: Value error, must name a scope, such as root/payments, not '/'",
    ),
    "alias that YAML reads as false": (
        "owners: [a]\ntags: [{key: t, aliases: {no: a}}]",
        "tags.0.aliases.0.[key]: Value error, must be text; put it in quotes, not False",
    ),
    "blank": ("owners: [' ']", "owners.0: Value error, must not be blank, not ' '"),
    "space around": (
        "owners: ['a ']",
        "owners.0: Value error, must not begin or end with space, not 'a '",
    ),
    "other driver": (pools(pool(driver="costs")), f"pools.0.driver: {DRIVER}'costs'"),
    "two drivers": (
        pools(pool(driver="{usage: GB, fixed: {a: 1}}")),
        f"pools.0.driver: {DRIVER}{{'usage': 'GB', 'fixed': {{'a': 1}}}}",
    ),
    "driver of nothing": (
        pools(pool(driver="{usage: null}")),
        f"pools.0.driver: {DRIVER}{{'usage': None}}",
    ),
    "driver without a value": (pools(pool(driver="{}")), f"pools.0.driver: {DRIVER}{{}}"),
    "missing": (pools("{name: p, match: {ServiceName: N}}"), "pools.0.driver: Field required"),
    "unknown key": ("owner: [a]", "owner: Extra inputs are not permitted, not ['a']"),
    "not a mapping": (
        "[a]",
        "(top level): Input should be a valid dictionary or instance of Rules, not ['a']",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_wrong_is_said_with_its_place_and_value(
    tmp_path: Path, text: str, message: str
) -> None:
    assert refusal(tmp_path, text) == message


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = "owners: [a, a]\nscopes: [{path: r, owner: b}]"
    assert [line.split(":")[0] for line in refusal(tmp_path, text).splitlines()] == [
        "owners.1",
        "scopes.0.owner",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tags: [{key: t, aliases: {x: a, x: b}}]", "the key 'x' stands here twice; remove one"),
        ("owners: [a]\nowners: [b]", "the key 'owners' stands here twice; remove one"),
        ("owners: [.inf]", "'.inf' is not a decimal number"),
        ("owners: [a", "expected ',' or ']'"),
        ("? [a]\n: b", "a key must be plain text"),
        ("owners: !!python/name:os.system", "could not determine a constructor"),
    ],
)
def test_what_is_not_sound_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    said = refusal(tmp_path, text)
    assert said.startswith("not readable as YAML: ")
    assert message in said
    assert "line " in said


def test_a_file_that_cannot_be_read_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file.*allocation"):
        load_rules(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"Is a directory"):
        load_rules(tmp_path)
    assert refusal(tmp_path, b"owners: [\xff]") == "not UTF-8 at byte 9; save it as UTF-8"
