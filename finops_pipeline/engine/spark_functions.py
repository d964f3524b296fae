"""What DuckDB means by a function, on Spark: so that both engines give the same rows.

Plain expressions mean the same on both. Where they do not, the expression is rewritten here before
Ibis makes Spark's text of it: into Spark's own functions where these can say the same, else into a
function that asks DuckDB itself, inside Spark's workers, a batch of values at a time (`ASKED`):
which number, time or JSON a text holds is a grammar that nobody should write down twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, reduce
from importlib.resources import files
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.sql.compilers import pyspark

from finops_pipeline.contracts.forms import MONEY
from finops_pipeline.engine.functions import TIME_FORMATS, ZONED_FORMATS

# Our name of a function: DuckDB's expression of arguments a and b, how many, Spark's result type.
ASKED = {
    "duckdb_number": ("try_cast(a AS DECIMAL(38, 18))", 1, "decimal(38,18)"),
    "duckdb_day": ("try_cast(a AS DATE)", 1, "date"),
    "duckdb_time": (f"try_strptime(a, {TIME_FORMATS!r})", 1, "timestamp"),
    "duckdb_zoned_time": (f"try_strptime(a, {ZONED_FORMATS!r})", 1, "timestamp"),
    "duckdb_is_json": ("json_valid(a)", 1, "boolean"),
    "duckdb_json_member": ("json_extract_string(a, b)", 2, "string"),
}


def spark_text(expression: ir.Table) -> str:
    """Spark's text of an expression that means what it means on DuckDB."""
    rewritten = expression.op().replace(_rewritten).to_expr()
    tree = pyspark.compiler.to_sqlglot(rewritten).transform(_product)
    return str(tree.sql(dialect=pyspark.compiler.dialect))


def _rewritten(node: Any, changed: dict[str, Any] | None) -> Any:
    """A node of an expression as Spark must be told it; its arguments are told already."""
    if changed:
        node = node.__recreate__(changed)
    match node:
        case ops.ScalarUDF():
            return _FUNCTIONS.get(node.__func_name__, lambda node: node)(node)
        case ops.TryCast(arg=arg, to=to) if arg.dtype.is_string() and to == MONEY:
            return _asked("duckdb_number", to, arg)
        case ops.TryCast(arg=arg, to=to) if arg.dtype.is_string() and to.is_date():
            return _asked("duckdb_day", to, arg)
        case ops.Cast(arg=arg, to=to) if arg.dtype.is_timestamp() and to.is_string():
            return (node.to_expr() + "+00").op()  # DuckDB's text has the zone, which is UTC
        case ops.Strftime(arg=arg, format_str=ops.Literal(value=form)):
            return _formatted(arg, form)
        case ops.Uppercase(arg=arg):
            return _cased(node, arg, "upper")
        case ops.Lowercase(arg=arg):
            return _cased(node, arg, "lower")
        case ops.RegexSearch(arg=arg, pattern=ops.Literal(value=pattern)):
            return ops.RegexSearch(arg, java_pattern(pattern))
        case ops.RegexExtract(arg=arg, pattern=ops.Literal(value=pattern), index=index):
            return ops.RegexExtract(arg, java_pattern(pattern), index)
        case ops.RegexReplace(
            arg=arg, pattern=ops.Literal(value=pattern), replacement=ops.Literal(value=by)
        ):
            return ops.RegexReplace(arg, java_pattern(pattern), re.sub(r"\\(\d)", r"$\1", by))
        case ops.StringSplit(arg=arg, delimiter=ops.Literal(value=delimiter)):
            return ops.StringSplit(arg, re.escape(delimiter))  # Spark splits at a pattern
    return node


def _asked(name: str, result: Any, *arguments: ops.Node) -> ops.Node:
    return _builtin(name, len(arguments), result)(*(a.to_expr() for a in arguments)).op()


@cache
def _builtin(name: str, arguments: int, result: Any) -> Any:
    def one(a: Any) -> Any: ...

    def two(a: Any, b: Any) -> Any: ...

    signature = ((ibis.dtype("string"),) * arguments, result)
    return ibis.udf.scalar.builtin(one if arguments == 1 else two, name=name, signature=signature)


_struct_to_json: Any = ibis.udf.scalar.builtin(
    lambda a: ..., name="to_json", signature=(("struct<a: string>",), "string")
)


def _json_text(node: ops.ScalarUDF) -> ops.Node:
    """A text as JSON: Spark makes JSON of structures only, so the text is cut out of one."""
    text = node.args[0].to_expr()
    structure = _struct_to_json(ibis.struct({"a": text}))  # {"a":"…"}
    inside = structure.substr(5, structure.length() - 6)
    return ibis.ifelse(text.isnull(), ibis.null("string"), inside).op()


def _formatted(time: ops.Node, form: str) -> ops.Node:
    """A time as text: letters that stand for themselves are put between what Spark formats."""
    pieces = [piece for piece in re.split("([TZ])", form) if piece]
    texts = [
        ibis.literal(piece) if piece in "TZ" else ops.Strftime(time, piece).to_expr()
        for piece in pieces
    ]
    return reduce(lambda a, b: a + b, texts).op()


def _time(node: ops.ScalarUDF) -> ops.Node:
    text, formats = node.args
    zoned = list(formats.value) == ZONED_FORMATS
    return _asked("duckdb_zoned_time" if zoned else "duckdb_time", node.dtype, text)


# The functions of `functions.py` that Spark does not know by the same name.
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "try_strptime": _time,
    "json_valid": lambda node: _asked("duckdb_is_json", node.dtype, node.args[0]),
    "json_extract_string": lambda node: _asked("duckdb_json_member", node.dtype, *node.args),
    "to_json": _json_text,
}


def _product(node: sge.Expression) -> sge.Expression:
    """An exact product: Ibis can only name it, since it cannot type it (`functions.py`)."""
    if isinstance(node, sge.Anonymous) and node.name.lower() == "multiply":
        left, right = node.expressions
        return sge.Paren(this=sge.Mul(this=left, expression=right))
    return node


_octets: Any = ibis.udf.scalar.builtin(
    lambda a: ..., name="octet_length", signature=(("string",), "int64")
)
_PRIVATE = 0x10FF00  # private letters that stand in for those that are mapped otherwise


@cache
def _letters(case: str) -> tuple[str, str, str]:
    """Letters that DuckDB maps to another case than Spark; stand-ins; what DuckDB maps them to.

    `letter_case.json` was found by comparing every code point, which a test does again.
    """
    text = files("finops_pipeline").joinpath("engine/data/letter_case.json").read_text("utf-8")
    known = json.loads(text)[case]
    stand_ins = "".join(chr(_PRIVATE + i) for i in range(len(known)))
    return "".join(known), stand_ins, "".join(known.values())


def _cased(node: Any, arg: ops.Node, case: str) -> ops.Node:
    letters, stand_ins, mapped = _letters(case)
    text = arg.to_expr()
    hidden = type(node)(text.translate(letters, stand_ins).op()).to_expr()
    ascii_only = _octets(text) == text.length()
    return ibis.ifelse(ascii_only, node.to_expr(), hidden.translate(stand_ins, mapped)).op()


_JAVA = {
    "$": r"\z",  # Java's would also match before a line end at the end
    r"\b": r"(?:(?<=\w)(?!\w)|(?<!\w)(?=\w))",  # Java's knows letters beyond ASCII
    "(?i)": "(?iu)",
}


def java_pattern(pattern: str) -> str:
    """A regular expression of RE2, which DuckDB speaks, in the words of Java, which Spark does.

    `(?d)` has the dot match all but a newline, as in RE2.
    """
    token = r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?i\)|."
    return "(?d)" + "".join(_JAVA.get(t, t) for t in re.findall(token, pattern, re.DOTALL))
