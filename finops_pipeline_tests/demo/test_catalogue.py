"""The tables in `data/` fit together, and the demo stands apart from the pipeline it checks."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import finops_pipeline.demo
from finops_pipeline.demo.catalogue import Sku, catalogue, profile
from finops_pipeline.demo.money import amount, number_text

GOODS = catalogue()


@pytest.mark.parametrize("sku", GOODS.skus, ids=lambda s: s.sku)
def test_costs_and_corrections_fit_18_digits(sku: Sku) -> None:
    for currency in ("USD", "EUR"):
        exponent = sku.price(currency).as_tuple().exponent
        assert isinstance(exponent, int)
        # Two more digits come from a correction of a correction.
        assert sku.digits - exponent <= 16
    assert sku.rhythm in GOODS.rhythms


def test_names_refer_to_what_exists() -> None:
    skus, kinds = {s.sku for s in GOODS.skus}, {k.name for k in GOODS.kinds}
    seats, keys = {s.name for s in GOODS.seats}, {k.key for k in GOODS.tag_keys}
    for kind in GOODS.kinds:
        assert set(kind.skus) <= skus
        assert kind.hours in GOODS.hours
    for seat in GOODS.seats:
        assert {*seat.kinds, *seat.without} <= kinds
        assert seat.becomes is None or seat.becomes in seats
        assert seat.tags.keys() <= keys
    for rhythm in GOODS.rhythms.values():
        assert len(rhythm.day) == 24
    for name in ("acme-oci", "acme-eu"):
        assert profile(name).subscriptions[-1].path == "root"


def test_the_demo_imports_nothing_of_the_pipeline() -> None:
    for path in Path(finops_pipeline.demo.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("finops"):
                assert (node.module or "").startswith("finops_pipeline.demo")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18, max_value=10**9))
def test_a_number_as_text_is_the_same_number(value: Decimal) -> None:
    assert Decimal(number_text(value)) == value


@given(st.lists(st.integers(-(10**24), 10**24)))
def test_sums_of_parts_are_exact(units: list[int]) -> None:
    parts = [divmod(unit, 10**9) for unit in units]
    total = amount(sum(p[0] for p in parts), sum(p[1] for p in parts))
    assert total == Decimal(sum(units)).scaleb(-18)
