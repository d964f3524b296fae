"""What was made from an expression is found again by another process, and by nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pytest

from finops_pipeline.engine import kept
from finops_pipeline.engine.functions import json_member, share_product, small_product, text_hash
from finops_pipeline.engine.sql import Sql
from finops_pipeline.store.allocated import allocated_sql

ROWS = ibis.table({"a": "string", "b": "string", "n": "decimal(38, 18)", "m": "int64"}, name="rows")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is kept lies in a folder of the test's own."""
    monkeypatch.setattr(kept, "_folder", tmp_path / "compiled")
    return tmp_path / "compiled"


def unmakeable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be made any more."""

    def fail(*_: object, **__: object) -> str:
        raise AssertionError("it was made again")

    monkeypatch.setattr("ibis.to_sql", fail)
    monkeypatch.setattr("sqlglot.parse_one", fail)


def made(columns: tuple[str, ...] = ("a", "b"), key: str = "k") -> ir.Table:
    hashed = text_hash([ROWS[name] for name in columns])
    return ROWS.select("m", hashed=hashed, member=json_member(ROWS.a, key))


def test_what_another_process_made_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from pathlib import Path; from finops_pipeline.engine.kept import keep_in; "
        f"keep_in(Path({str(folder)!r})); "
        "from finops_pipeline.store.allocated import allocated_sql; allocated_sql().text"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = str(ibis.to_sql(allocated_sql().expression, dialect="duckdb"))
    unmakeable(monkeypatch)
    assert Sql(allocated_sql().expression).text == expected


def test_a_select_is_taken_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [("0", ["hashed", "m"]), ("17", ["member"])]
    first = Sql(made())
    expected = first.is_plain, first.only(["member", "m"]).text, first.apart(groups).text
    unmakeable(monkeypatch)
    again = Sql(made())
    assert (again.is_plain, again.only(["member", "m"]).text, again.apart(groups).text) == expected
    assert '"17 a"' in expected[2] and '"0 m"' in expected[2]


def test_a_text_that_looks_like_a_label_stays_as_it_is() -> None:
    odd = "label 0 of a"
    sql = Sql(ROWS.select("m", member=json_member(ROWS.a, odd)))
    asked = sql.apart([("3", ["member"])]).text
    assert odd in asked and '"3 a"' in asked


@pytest.mark.parametrize(
    "other",
    [
        lambda: made(columns=("b", "a")),
        lambda: made(key="l"),
        lambda: made().rename(hash="hashed"),
        lambda: made().filter(made().m > 1),
        lambda: made().view().filter(lambda t: t.m == 1),
    ],
)
def test_another_expression_is_another_structure(other: Callable[[], ir.Table]) -> None:
    assert kept.structure_of(made()) == kept.structure_of(made()) is not None
    assert kept.structure_of(other()) != kept.structure_of(made())


def test_values_and_functions_that_look_alike_are_told_apart() -> None:
    one = [ibis.literal(1), ibis.literal("1"), ibis.literal(1, "int64"), ibis.literal(True),
           ibis.literal(1.0), ibis.literal("1", "decimal(3, 1)"), ibis.null("int8")]  # fmt: skip
    products = [small_product(ROWS.n, ROWS.n), share_product(ROWS.n, ROWS.n)]
    structures = [kept.structure_of(ROWS.select(x=value)) for value in (*one, *products)]
    assert None not in structures
    assert len(set(structures)) == len(structures)


def test_other_versions_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.structure_of(made())
    monkeypatch.setattr(kept, "_versions", lambda: ("ibis 99", "sqlglot 99"))
    assert kept.structure_of(made()) != before


@pytest.mark.parametrize("damage", [b"", b"SELECT 1", b"\xff\n\xff"])
def test_a_damaged_file_is_made_again(folder: Path, damage: bytes) -> None:
    expected = Sql(made()).text
    (path,) = folder.iterdir()
    path.write_bytes(damage)
    assert Sql(made()).text == expected
    assert Sql(made()).text.encode() in path.read_bytes()


def test_rows_in_memory_and_single_questions_are_not_kept(folder: Path) -> None:
    rows = ibis.memtable({"a": [1, 2]})
    assert kept.structure_of(rows) is None
    assert "SELECT" in Sql(made(), lasting=False).text
    assert not folder.exists()


def test_it_does_not_grow_without_end(folder: Path) -> None:
    folder.mkdir()
    for number in range(kept._MOST):
        (folder / f"{number}-duckdb.txt").touch()
    text = Sql(made()).text
    assert len(list(folder.iterdir())) <= kept._MOST
    assert Sql(made()).text == text


def test_what_code_made_is_not_found_by_other_code(tmp_path: Path) -> None:
    """A copy of the package names the same the same, and with one byte more in it otherwise."""
    package = Path(kept.__file__).parent.parent
    copied = tmp_path / "other" / package.name
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))

    def named(value: str) -> str:
        script = f"from finops_pipeline.engine.kept import named; print(named({value!r}))"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True,
            check=True, env={**os.environ, "PYTHONPATH": str(copied.parent)},
        )  # fmt: skip
        return done.stdout.strip()

    first = named("a")
    assert first == kept.named("a") != named("b")
    for file in (copied / "normalize" / "mapping.py", copied / "normalize/data/oci_services.csv"):
        with file.open("a", encoding="utf-8") as more:
            more.write("\n")
        assert named("a") != first
        first = named("a")
