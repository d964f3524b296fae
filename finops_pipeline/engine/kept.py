"""What takes long to make from an expression, kept on disk from one process to the next.

Ibis and sqlglot take half a second for the expressions of a whole run, and every process of a
pipeline makes the same ones. What is kept is found by the structure of the expression and the
versions of both, so changed code finds nothing and makes its own. A damaged file is made again.
What would cost as much to take apart as to make is found by the hash of the package's own code.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir

_MOST = 300  # files; a pipeline of a few sources has some forty
_PLAIN = (str, bytes, int, float, bool, Decimal, date, timedelta, Enum, dt.DataType, ops.Namespace)

_folder: Path | None = None


def keep_in(folder: Path) -> None:
    """Let this process keep there what it makes from now on; nothing is kept before."""
    global _folder
    _folder = folder


def kept(kind: str, structure: str | None, make: Callable[[], str]) -> str:
    """The text of this kind that was made from this structure; made now if it was not.

    Nothing is kept of what has no structure to be found by.
    """
    if _folder is None or structure is None:
        return make()
    path = _folder / f"{structure}-{kind}.txt"
    found = _read(path)
    if found is None:
        found = make()
        _write(path, found)
    return found


def named(*given: object) -> str:
    """A hash of what something is made from that no expression tells: values, and our own code."""
    told = [*_versions(), _code(), repr(given)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:40]


def structure_of(expression: ir.Table) -> str | None:
    """A hash of all that an expression says and of what turns it into text.

    None where it holds anything but the plain values known here, such as rows in memory.
    """
    try:
        told = _told(expression.op())
    except TypeError:
        return None
    return hashlib.sha256("\n".join([*_versions(), *told]).encode()).hexdigest()[:40]


def _told(root: ops.Node) -> list[str]:
    """Every node once, each by the numbers of those it is made from."""
    numbers: dict[ops.Node, int] = {}
    lines: list[str] = []

    def told(value: Any) -> str:
        if isinstance(value, ops.Node):
            if value not in numbers:
                line = f"{_kind(value)}({', '.join(map(told, value.__args__))})"
                numbers[value] = len(numbers)
                lines.append(line)
            return f"#{numbers[value]}"
        if isinstance(value, tuple):
            return f"[{', '.join(map(told, value))}]"
        if hasattr(value, "items"):
            return f"{{{', '.join(f'{name!r}: {told(v)}' for name, v in value.items())}}}"
        if value is None or isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}"
        raise TypeError(type(value))

    told(root)
    return lines


def _kind(node: ops.Node) -> str:
    name = f"{type(node).__module__}.{type(node).__qualname__}"
    if isinstance(node, ops.ScalarUDF | ops.AggUDF):
        name += f" {node.__udf_namespace__!r} {node.__func_name__} {node.dtype!r} {node.__config__}"
    return name


@cache
def _versions() -> tuple[str, str]:
    return f"ibis {version('ibis-framework')}", f"sqlglot {version('sqlglot')}"


@cache
def _code() -> str:
    """A hash of this package: its modules, and its tables of facts."""
    package = Path(__file__).parent.parent
    files = sorted(p for p in package.rglob("*") if p.suffix in (".py", ".csv"))
    found = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        found.update(f"{path.relative_to(package)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def _read(path: Path) -> str | None:
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    return text.decode() if hashlib.sha256(text).hexdigest().encode() == digest else None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.unfinished")
    try:
        unfinished.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    files = sorted(path.parent.glob("*.txt"))
    for other in files if len(files) > _MOST else ():
        other.unlink(missing_ok=True)
