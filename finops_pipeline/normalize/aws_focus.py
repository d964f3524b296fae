"""AWS Data Exports of FOCUS 1.0 and 1.2 "with AWS columns" to FOCUS 1.2.

AWS delivers nearly all of FOCUS. What it may leave empty, by its own list ("FOCUS 1.2 with AWS
columns conformance gaps"), is filled where FOCUS says with what and left empty where it does not:
names of publisher and invoice issuer are those of the provider, a missing category is the
service's. Unit prices, units and SKUs stay empty: nothing in the row tells them.
"""

from __future__ import annotations

import ibis.expr.types as ir

from finops_pipeline.normalize import focus

NUMBERS = focus.NUMBERS
keys = focus.keys
rules = focus.rules
kind = focus.kind


def columns(row: ir.Table) -> dict[str, ir.Value]:
    """The FOCUS columns, and our x_ columns."""
    return focus.columns(row, "AWS")
