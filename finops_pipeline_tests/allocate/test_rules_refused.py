"""What a rules file may not say, and in which words it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from finops_pipeline.allocate.load import load_rules
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
    return f"{{name: {name}, match: {{{match}}}, drivers: {driver}}}"


UNKNOWN = "must be one of owners (a, b), or be added there, not 'c'"
ONE_OF = (
    "ProviderName, BillingAccountId, SubAccountId, ServiceName, ChargeCategory, ResourceId, "
    "CommitmentDiscountId, scope"
)
DRIVER = (
    "Value error, must be cost, requests, even, last known, {cost: direct}, {usage: unit}, "
    "{weights: table} or {fixed: {owner: weight}}; the first three of the latter may have `same`, "
    "not "
)
REFUSALS = {
    "unknown owner of an alias": (
        "owners: [a, b]\ntags: [{key: t, aliases: {x: c}}]",
        f"tags.0.aliases.x: {UNKNOWN}",
    ),
    "unknown owner of a scope": (
        "owners: [a, b]\nscopes: [{path: r, owner: a}, {path: s, owner: c}]",
        f"scopes.1.owner: {UNKNOWN}",
    ),
    "an owner whose name no folder can have": (
        f"owners: [{'a' * 240}, {'Ж' * 40}, {'Ж' * 41}]",
        "owners.2.name: is too long for the name of a folder: there is room for 240 letters a to "
        "z or digits, of which other characters take 3 a byte of UTF-8; shorten it, not "
        f"'{'Ж' * 41}'",
    ),
    "unknown owner of a weight": (
        pools(pool(driver="{fixed: {a: 1, b: 1}}")),
        "pools.0.drivers.0.fixed.b: must be an owner or a pool (a, p), or be added, not 'b'",
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
        "owners.2.name: stands already at owners.0.name; keep one of the two, not 'A'",
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
        "owners.0.name: is reserved for cost without an owner; use another name, not 'Unallocated'",
    ),
    "reserved pool": (
        pools(pool(name="unallocated")),
        "pools.0.name: is reserved for cost without an owner; use another name, not 'unallocated'",
    ),
    "negative weight": (
        pools(pool(driver="{fixed: {a: -0.5}}")),
        "pools.0.drivers.0.fixed.a: Input should be greater than or equal to 0, "
        "not Decimal('-0.5')",
    ),
    "weights of zero": (
        pools(pool(driver="{fixed: {a: 0}}")),
        "pools.0.drivers.0: Value error, at least one fixed weight must be greater than zero, "
        "not {'fixed': {'a': 0}}",
    ),
    "weight that is not a number": (
        pools(pool(driver="{fixed: {a: yes}}")),
        "pools.0.drivers.0.fixed.a: Value error, must be a number, not True",
    ),
    "weight of infinity": (
        pools(pool(driver="{fixed: {a: Infinity}}")),
        "pools.0.drivers.0.fixed.a: Input should be a finite number, not 'Infinity'",
    ),
    "weight too fine": (
        pools(pool(driver="{fixed: {a: 1e-19}}")),
        "pools.0.drivers.0.fixed.a: Decimal input should have no more than 18 decimal places, "
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
        f"pools.0.match: Value error, knows no column 'Service'; expected {ONE_OF} or tag:KEY, "
        "not {'Service': 'N'}",
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
    "blank": ("owners: [' ']", "owners.0.name: Value error, must not be blank, not ' '"),
    "space around": (
        "owners: ['a ']",
        "owners.0.name: Value error, must not begin or end with space, not 'a '",
    ),
    "other driver": (pools(pool(driver="costs")), f"pools.0.drivers.0: {DRIVER}'costs'"),
    "two drivers": (
        pools(pool(driver="{usage: GB, fixed: {a: 1}}")),
        f"pools.0.drivers.0: {DRIVER}{{'usage': 'GB', 'fixed': {{'a': 1}}}}",
    ),
    "driver of nothing": (
        pools(pool(driver="{usage: null}")),
        f"pools.0.drivers.0: {DRIVER}{{'usage': None}}",
    ),
    "driver without a value": (pools(pool(driver="{}")), f"pools.0.drivers.0: {DRIVER}{{}}"),
    "same of fixed weights": (
        pools(pool(driver="{fixed: {a: 1}, same: ResourceId}")),
        f"pools.0.drivers.0: {DRIVER}{{'fixed': {{'a': 1}}, 'same': 'ResourceId'}}",
    ),
    "no drivers": (
        pools(pool(driver="[]")),
        "pools.0.drivers: Value should have at least 1 item after validation, not 0, not []",
    ),
    "an end before the beginning": (
        "owners: [{name: a, from: 2025-02-01, to: 2025-01-31}]",
        "owners.0: Value error, ends on 2025-01-31, before it begins on 2025-02-01, not {'name': "
        "'a', 'from': datetime.date(2025, 2, 1), 'to': datetime.date(2025, 1, 31)}",
    ),
    "a parent that is no owner": (
        "owners: [a, {name: b, parent: c}]",
        f"owners.1.parent: {UNKNOWN}",
    ),
    "a hierarchy that goes round": (
        "owners: [{name: a, parent: b}, {name: b, parent: c}, {name: c, parent: a}]",
        "owners.0.parent: is part of itself: a → b → c → a, not 'b'",
    ),
    "a pool called as an owner": (
        pools(pool(name="A")),
        "pools.0.name: is an owner already (owners.0.name); use another name, not 'A'",
    ),
    "pools that feed each other": (
        pools(
            "{name: p, match: {ServiceName: N}, drivers: cost, recipients: [a, q]}, "
            "{name: q, match: {ServiceName: M}, drivers: cost, recipients: [r]}, "
            "{name: r, match: {ServiceName: O}, drivers: {fixed: {p: 1}}, recipients: [p, a]}"
        ),
        "pools.0.recipients: the pool feeds itself: p → q → r → p, not 'q'",
    ),
    "a weight of a pool that takes no part": (
        pools(
            "{name: p, match: {ServiceName: N}, drivers: {fixed: {a: 1, q: 1}}}, "
            "{name: q, match: {ServiceName: M}, drivers: cost}"
        ),
        "pools.0.drivers.0.fixed.q: is a pool: name it among recipients too, not 'q'",
    ),
    "a pool that feeds itself": (
        pools("{name: p, match: {ServiceName: N}, drivers: even, recipients: [p, a]}"),
        "pools.0.recipients: the pool feeds itself: p → p, not 'p'",
    ),
    "a pool that feeds one that keeps to its own": (
        pools(
            "{name: p, match: {ServiceName: N}, drivers: cost, recipients: [q]}, "
            "{name: q, match: {ServiceName: M}, drivers: {cost: direct, same: SubAccountId}}"
        ),
        "pools.0.recipients: a pool with a driver that has `same` takes no cost of another pool, "
        "which is the same as nothing; name owners, or another pool, not 'q'",
    ),
    "a recipient that is nobody": (
        pools("{name: p, match: {ServiceName: N}, drivers: even, recipients: [a, z]}"),
        "pools.0.recipients.1: must be an owner or a pool (a, p), or be added, not 'z'",
    ),
    "below nobody": (
        pools("{name: p, match: {ServiceName: N}, drivers: even, recipients: [{below: z}]}"),
        "pools.0.recipients.0.below: must be one of owners (a), or be added there, not 'z'",
    ),
    "a table that is not there": (
        pools(pool(driver="{weights: heads}")),
        "pools.0.drivers.0.weights: must be one of weights (none yet), not 'heads'",
    ),
    "a weight of nobody": (
        "owners: [a]\nweights: {heads: [{date: 2025-01-01, owner: z, weight: 1}]}",
        "weights.heads.0.owner: must be an owner or a pool (a), or be added, not 'z'",
    ),
    "a pattern that looks back": (
        "owners: [a]\ntags: [{key: t, patterns: [{match: '(x)\\1', owner: a}]}]",
        "tags.0.patterns.0.match: Value error, must be a regular expression of RE2: invalid escape "
        "sequence: \\1, not '(x)\\\\1'",
    ),
    "a pattern too long": (
        f"owners: [a]\ntags: [{{key: t, patterns: [{{match: {'x' * 501}, owner: a}}]}}]",
        "tags.0.patterns.0.match: Value error, must have at most 500 characters, "
        f"not '{'x' * 501}'",
    ),
    "a pattern too large": (
        "owners: [a]\ntags: [{key: t, patterns: [{match: '((a{100}){100}){100}', owner: a}]}]",
        "tags.0.patterns.0.match: Value error, must be a regular expression of RE2: invalid "
        "repetition size: {100}, not '((a{100}){100}){100}'",
    ),
    "a value that is an alias and invalid": (
        "owners: [a]\ntags: [{key: t, aliases: {x: a}, invalid: [n/a, X]}]",
        "tags.0.invalid.1: is an alias too; keep one of the two, not 'X'",
    ),
    "two owners of one spelling": (
        "owners: [data-lake, data lake]\ntags: [{key: t, compare: spelling}]",
        "tags.0.compare: reads the owners 'data-lake' and 'data lake' as the same; rename one, "
        "not 'spelling'",
    ),
    "a scope that says nothing": (
        "scopes: [{path: r}]",
        "scopes.0: Value error, must have an owner, or tags, not {'path': 'r'}",
    ),
    "a key of two rules": (
        "tags: [{key: [s, t]}, {key: [u, t], providers: AWS}, {key: t, to: 2024-12-31}]",
        "tags.2.key: stands already at tags.0.key; keep one of the two, not 't'",
    ),
    "a place twice": (
        "owners: [a]\nplaces: [{name: p, match: {SubAccountId: '1'}, owner: a}, "
        "{name: P, match: {SubAccountId: '2'}, owner: a}]",
        "places.1.name: stands already at places.0.name; keep one of the two, not 'P'",
    ),
    "missing": (pools("{name: p, match: {ServiceName: N}}"), "pools.0.drivers: Field required"),
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
        "owners.1.name",
        "scopes.0.owner",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tags: [{key: t, aliases: {x: a, x: b}}]", "the key 'x' stands here twice; remove one"),
        ("owners: [a]\nowners: [b]", "the key 'owners' stands here twice; remove one"),
        ("owners: [.inf]", "'.inf' is not a decimal number"),
        ("owners: [{name: a, to: 2025-02-30}]", "'2025-02-30' is not a date: day is out of range"),
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
