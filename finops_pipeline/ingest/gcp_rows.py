"""Rows of GCP's exports as charges: credits on rows of their own, lists as plain text, an identity.

A row of the detailed export carries its credits in a list. FOCUS 1.2 wants discounts taken off the
row that they pertain to ("Discount Handling") and credits as charges of their own ("Charge
Category"): so a row becomes one charge, its cost net of discounts, and one more for each promotion
or free tier. It is done where reports are read, so that the control totals and the mapping see the
same rows; `data/gcp_credits.csv` says which credit is which.

Rows have no identifier: `content` is a hash of the fields that tell charges apart, as values, so
that CSV, JSON and Parquet of one row agree. Which of equal rows are one is told in
`normalize/deduplicate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from finops_pipeline.contracts.raw import Header
from finops_pipeline.contracts.tables import read_facts
from finops_pipeline.engine.coded import Coded, combined
from finops_pipeline.engine.functions import TIME_FORMATS, ZONED_FORMATS
from finops_pipeline.ingest.gcp_lists import all_tags, canonical_list, scope_path
from finops_pipeline.ingest.rows import ROW, WITHIN
from finops_pipeline.ingest.structured import open_engine

_SPLIT = (
    "net cost", "credit type", "credit name", "commitment type", "commitment id",
    "commitment name", "problem",
)  # fmt: skip
_PLAIN = ("all tags", "scope path", "content")
# The columns that are made, by format; they follow those of the file.
MADE: Mapping[str, tuple[str, ...]] = {"gcp_detailed": (*_SPLIT, *_PLAIN), "gcp_focus": _PLAIN}

_TAGS = {
    "gcp_detailed": ("labels", "system_labels", "tags", "project.labels"),
    "gcp_focus": ("x_Labels", "x_SystemLabels", "x_Tags", "x_ProjectLabels"),
}
_PATH = {
    "gcp_detailed": ("project.ancestors", "project.name", "project.id"),
    "gcp_focus": ("x_Project.Ancestors", "x_Project.Name", "SubAccountId"),
}
_TOGETHER = 20_000  # rows
_EMPTY = ("", "[]", "null")
_ITEM = '{"type":"VARCHAR","name":"VARCHAR","full_name":"VARCHAR","id":"VARCHAR"}'
# The digits as they are written: read as JSON they would become binary floats.
_AMOUNT = r'"amount"\s*:\s*"?([^",}\s]*)'
Read = Callable[[Mapping[str, int | None]], Iterator[pa.Table]]


@dataclass(frozen=True)
class GcpRows:
    """What makes charges of the rows of one report.

    `header` is that of the report with the made columns after those of the file; `names` are its
    column names, made ones included.
    """

    form: str
    header: Header
    names: tuple[str, ...]

    def read(self, columns: Mapping[str, int | None], read: Read) -> Iterator[pa.Table]:
        """The charges in the rows that `read` gives, with the same columns as they.

        A credit has the number of its row, plus its place in the list times `rows.WITHIN`.
        """
        width = len(self.names) - len(MADE[self.form])
        made = {n: self.names[p] for n, p in columns.items() if p is not None and p >= width}
        own = {n: p for n, p in columns.items() if n not in made}
        with closing(open_engine()) as connection:
            needed = self._needed(set(made.values()))
            inputs = {f"in {name}": p for name, p in needed.items()}
            for rows in _together(read(own | inputs)):
                done = self._made(connection, rows, set(made.values()))
                taken = {n: _coded(done.column(made.get(n, n))) for n in columns}
                yield pa.table({**taken, ROW: done.column(ROW)})

    def _needed(self, made: set[str]) -> dict[str, int | None]:
        """The columns of the file that these are made from, by their place in it."""
        names: list[str] = []
        if self.form == "gcp_detailed":
            names += ["cost", "credits"]
        if "all tags" in made:
            names += _TAGS[self.form]
        if "scope path" in made:
            names += _PATH[self.form]
        if "content" in made:
            names += [name for name, _ in _identity(self.form)]
        return {name: self._place(name) for name in names}

    def _place(self, name: str) -> int | None:
        if (known := self.header.position(name)) is not None:
            return known
        spelled = {n.strip().lower(): i for i, n in reversed(list(enumerate(self.names)))}
        found = spelled.get(name.lower())
        return spelled.get(name.lower().replace(".", "_")) if found is None else found

    def _made(self, connection: Any, rows: pa.Table, made: set[str]) -> pa.Table:
        if "all tags" in made:
            rows = _listed(rows, "all tags", _TAGS[self.form], all_tags)
        if "scope path" in made:
            rows = _listed(rows, "scope path", _PATH[self.form], scope_path)
        if "content" in made:
            rows = rows.append_column("content", _content(connection, rows, self.form))
        return _with_credits(connection, rows) if self.form == "gcp_detailed" else rows


def _together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, as many at a time as make it worth to plan queries for them."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= _TOGETHER:
            yield pa.concat_tables(waiting).unify_dictionaries()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries()


@cache
def _identity(form: str) -> tuple[tuple[str, str], ...]:
    rows = read_facts("contracts/data/gcp_identity.csv")
    return tuple((row["column"], row["kind"]) for row in rows if row["format"] == form)


def _listed(
    rows: pa.Table, made: str, inputs: Iterable[str], make: Callable[..., str | None]
) -> pa.Table:
    """The rows with a column that is made of others, once for each distinct combination."""
    found = [Coded.of(rows.column(f"in {name}")) for name in inputs]
    codes, firsts = combined(found)
    texts = (column.at(firsts).plain().to_pylist() for column in found)
    values = pa.array([make(*given) for given in zip(*texts, strict=True)], pa.string())
    return rows.append_column(made, values.take(pa.array(codes)))


def _content(connection: Any, rows: pa.Table, form: str) -> pa.Array:
    """For each row the hash of the fields that tell charges apart, empty ones left out."""
    fields, texts = {}, []
    for i, (name, kind) in enumerate(_identity(form)):
        column = rows.column(f"in {name}")
        text = f"f{i}"
        if kind in ("list", "time"):  # which are few, and dear to work out
            column = _by_values(connection, column, kind)
        else:
            text = _value(kind, text)
        fields[f"f{i}"] = column
        texts.append(f"'{name}=' || {text}")
    connection.register("given", pa.table(fields))
    query = f"SELECT md5(concat_ws(chr(31), {', '.join(texts)})) AS content FROM given"
    return connection.sql(query).to_arrow_table().column("content").combine_chunks()


def _by_values(connection: Any, column: pa.ChunkedArray, kind: str) -> pa.Array:
    """A column of lists or times as the text of their values."""
    coded = Coded.of(column)
    if kind == "list":
        values = pa.array([canonical_list(v) for v in coded.values.to_pylist()], pa.string())
    else:
        connection.register(
            "times", pa.table({"x": coded.values, "place": range(len(coded.values))})
        )
        query = f"SELECT {_value(kind, 'x')} AS value FROM times ORDER BY place"
        values = connection.sql(query).to_arrow_table().column("value").combine_chunks()
    return values.take(pa.array(coded.codes))


def _number(text: str) -> str:
    """SQL of the number that a text is, null when it is none: as `parse_number` has it."""
    readable = f"length({text}) <= 40 OR NOT regexp_matches({text}, '[eE]')"
    return (
        f"CASE WHEN NOT contains({text}, '_') AND ({readable}) "
        f"THEN try_cast({text} AS DECIMAL(38, 18)) END"
    )


def _value(kind: str, text: str) -> str:
    """SQL of the text that a value of a kind has, however a file writes it."""
    if kind == "number":
        return f"coalesce(CAST({_number(text)} AS VARCHAR), {text})"
    if kind == "time":
        ways = ", ".join(f"try_strptime({text}, {f})" for f in (TIME_FORMATS, ZONED_FORMATS))
        return f"coalesce(CAST(epoch_us(coalesce({ways})) AS VARCHAR), {text})"
    if kind == "credits":
        amounts = f"regexp_extract_all({text}, '{_AMOUNT}', 1)"
        numbers = f"list_sort(list_transform({amounts}, lambda x: {_number('x')}))"
        return f"nullif(CAST({numbers} AS VARCHAR), '[]')"
    return f"nullif(trim({text}), '')"


def _with_credits(connection: Any, rows: pa.Table) -> pa.Table:
    """The rows, their cost net of discounts, and the credits among them as rows after them."""
    credits = Coded.of(rows.column("in credits"))
    has = np.array([v is not None and v.strip() not in _EMPTY for v in credits.values.to_pylist()])
    (places,) = np.nonzero(has[credits.codes])
    own = rows.append_column("net cost", rows.column("in cost"))
    for name in _SPLIT[1:]:
        own = own.append_column(name, pa.nulls(len(rows), pa.string()))
    if not len(places):
        return own
    concerned = rows.select(["in cost", "in credits"]).take(pa.array(places))
    connection.register("credited", concerned.append_column("place", pa.array(places)))
    connection.execute(_SINGLE)
    netted = connection.sql(_NETTED).to_arrow_table()
    at = netted.column("place").to_numpy()
    for name in ("net cost", "commitment type", "commitment id", "commitment name", "problem"):
        index = own.column_names.index(name)
        own = own.set_column(index, name, _replaced(own.column(name), at, netted.column(name)))
    split = connection.sql(_CREDITS).to_arrow_table()
    if not split.num_rows:
        return own
    return pa.concat_tables([_plain(own), _plain(_as_rows(rows, split))])


def _replaced(column: pa.ChunkedArray, at: Any, values: pa.ChunkedArray) -> pa.Array:
    """A column of text with other values at some places."""
    both = pa.concat_arrays([_text(column), _text(values)])
    taken = np.arange(len(column))
    taken[at] = len(column) + np.arange(len(at))
    return both.take(pa.array(taken))


def _coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as a dictionary, as `read_rows` gives it."""
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _text(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.string())


def _as_rows(rows: pa.Table, split: pa.Table) -> pa.Table:
    """Credits as rows: each like the row that it is of, but for cost, number and identity."""
    credit = rows.take(split.column("place"))
    number = credit.column(ROW).to_numpy() + split.column("nth").to_numpy() * WITHIN
    credit = credit.set_column(credit.column_names.index(ROW), ROW, pa.array(number))
    if "content" in credit.column_names:
        joined = zip(
            credit.column("content").to_pylist(), split.column("identity").to_pylist(), strict=True
        )
        identities = pa.array([f"{content}-{own}" for content, own in joined], pa.string())
        index = credit.column_names.index("content")
        credit = credit.set_column(index, "content", identities)
    for name in _SPLIT:
        given = split.column(name) if name in split.column_names else None
        credit = credit.append_column(
            name, pa.nulls(len(credit), pa.string()) if given is None else _text(given)
        )
    return credit


def _plain(rows: pa.Table) -> pa.Table:
    """The rows with text that is one chunk, not coded: what tables must have to become one."""
    return pa.table(
        {
            name: column if name == ROW else _text(column)
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        }
    )


@cache
def _words(column: str, word: str) -> str:
    """The credit types of which a fact holds, as SQL has a list of them."""
    facts = read_facts("contracts/data/gcp_credits.csv")
    return ", ".join(f"'{row['type']}'" for row in facts if row[column] == word)


_READ_SINGLE = f"""
    SELECT place, "in cost" AS cost, TRY(from_json("in credits", '[{_ITEM}]')) AS items,
        regexp_extract_all("in credits", '{_AMOUNT}', 1) AS amounts
    FROM credited"""
# Exports of before 2020 give no type: then the name tells a discount.
_SINGLE = f"""CREATE OR REPLACE TABLE single AS
    WITH listed AS ({_READ_SINGLE}), apart AS (
        SELECT place, cost, items IS NULL OR len(items) <> len(amounts) AS broken,
            unnest(range(1, greatest(len(items), len(amounts), 1) + 1)) AS nth,
            unnest(CASE WHEN len(items) > 0 THEN items ELSE [NULL] END) AS item,
            unnest(CASE WHEN len(amounts) > 0 THEN amounts ELSE [NULL] END) AS amount
        FROM listed
    ), typed AS (
        SELECT *, {_number("cost")} AS cost_value, {_number("amount")} AS value,
            upper(trim(item.type)) AS kind, lower(coalesce(item.name, '')) AS named
        FROM apart
    )
    SELECT *, broken OR value IS NULL OR abs(value) >= 1000000000000 AS bad,
        CASE WHEN kind IS NULL THEN regexp_matches(named, 'discount|sustained|committed')
            ELSE kind IN ({_words("becomes", "discount")}) END AS discount,
        CASE WHEN kind IN ({_words("commitment", "Usage")}) THEN 'Usage'
            WHEN kind IN ({_words("commitment", "Spend")}) THEN 'Spend' END AS committed
    FROM typed"""
_BY_SIZE = "(value, item.id, item.full_name)"
_NETTED = f"""
    SELECT place,
        CASE WHEN bool_or(bad) OR any_value(cost_value) IS NULL OR NOT bool_or(discount)
                OR abs(any_value(cost_value)) >= 1000000000000
            THEN any_value(cost)
            ELSE CAST(any_value(cost_value) + sum(value) FILTER (discount) AS VARCHAR)
        END AS "net cost",
        arg_min(committed, {_BY_SIZE}) FILTER (committed IS NOT NULL) AS "commitment type",
        arg_min(coalesce(item.id, item.full_name), {_BY_SIZE})
            FILTER (committed IS NOT NULL) AS "commitment id",
        arg_min(coalesce(item.name, item.full_name), {_BY_SIZE})
            FILTER (committed IS NOT NULL) AS "commitment name",
        CASE WHEN bool_or(bad) THEN 'credits' END AS problem
    FROM single GROUP BY place ORDER BY place"""
_CREDITS = """
    SELECT place, nth, amount AS "net cost", coalesce(kind, 'CREDIT') AS "credit type",
        coalesce(item.full_name, item.name) AS "credit name",
        md5(concat_ws(chr(31), kind, item.id, item.name, CAST(value AS VARCHAR))) AS identity
    FROM single
    WHERE NOT discount AND place NOT IN (SELECT place FROM single WHERE bad)
    ORDER BY place, nth"""
