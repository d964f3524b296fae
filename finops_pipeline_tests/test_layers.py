"""The direction of imports (architecture): a stage never knows a later one, nor Dagster."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import finops_pipeline

ROOT = Path(finops_pipeline.__file__).parent
BASE = {"config", "contracts", "durable", "engine", "exact_yaml", "lake"}
STAGES = ("ingest", "normalize", "allocate", "store", "actuate")
# What each part may import besides itself.
ALLOWED: dict[str, set[str]] = {
    "durable": set(),
    "process": set(),
    "exact_yaml": set(),
    "contracts": set(),  # and `engine` for its type alone, see below
    "config": {"contracts", "exact_yaml"},
    "engine": {"config", "contracts", "durable"},
    "lake": {"contracts", "durable"},
    "ingest": BASE,
    "normalize": BASE | {"ingest"},
    "allocate": BASE | {"ingest", "normalize"},
    "store": BASE | {"ingest", "normalize", "allocate"},
    "query": BASE | {"ingest", "normalize", "allocate", "store"},
    "actuate": BASE | {*STAGES, "query"},
    "serve": BASE | {"query"},
    "demo": set(),  # it must not agree with the pipeline by sharing its code
    "console": set(),
    "orchestration": BASE | {*STAGES, "query"},
    "definitions": {"orchestration", "process"},
    "cli": BASE
    | {*STAGES, "query", "serve", "demo", "orchestration", "console"}
    | {"process", "cli_costs", "cli_options", "cli_rules", "cli_serve", "cli_showback"},
    "cli_costs": BASE | {*STAGES, "query", "orchestration", "console", "cli_options"},
    "cli_options": BASE | {"orchestration", "console"},
    "cli_showback": BASE | {*STAGES, "query", "orchestration", "console", "cli_options"},
    "cli_serve": BASE | {"serve", "allocate", "orchestration", "console", "cli_options"},
    "cli_rules": BASE | {*STAGES, "query", "orchestration", "console", "cli_options"},
}


def part_of(path: Path) -> str:
    """The folder or module of the package that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """The modules that a file imports, wherever in it, but not for types alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names}
        else:
            found |= imported(node)
    return found


FILES = {
    p.relative_to(ROOT).as_posix(): p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT
} | {p.name: p for p in ROOT.glob("*.py") if p.name != "__init__.py"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_run_one_way(name: str) -> None:
    part = part_of(FILES[name])
    assert part in ALLOWED, f"{part} is new: say in this test what it may import"
    names = imported(ast.parse(FILES[name].read_text(encoding="utf-8")))
    ours = {n.split(".")[1] for n in names if n.startswith("finops_pipeline.")}
    assert ours - {part} <= ALLOWED[part]


@pytest.mark.parametrize("name", sorted(n for n in FILES if "/" in n))
def test_only_orchestration_knows_dagster(name: str) -> None:
    names = imported(ast.parse(FILES[name].read_text(encoding="utf-8")))
    knows = {n for n in names if n.split(".")[0].startswith("dagster")}
    assert not knows or name.startswith("orchestration/")
