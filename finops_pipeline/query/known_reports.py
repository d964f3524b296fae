"""What the ledgers say of reports that took the place of others, as a table to join with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from finops_pipeline.ingest.ledger import Ledger


def known_reports(ledgers: Iterable[Ledger]) -> pa.Table:
    """Every report with what stands in its place, and whether it took another's.

    Of a delivery scope that is its manifest: `cause_id` is what brought a report's charges.
    """
    rows = []
    for ledger in ledgers:
        live = {e.name: e.report_id for e in ledger.live()}
        several = {e.name for e in ledger.replaced()}
        manifests = {m.delivery_scope: m.report_id for m in ledger.manifests()}
        told = Counter(e.delivery_scope for e in ledger.entries if e.members is not None)
        for e in ledger.entries:
            manifest = manifests.get(e.delivery_scope) if e.delivery_scope else None
            again = e.name in several and live.get(e.name) == e.report_id
            rows.append(
                {
                    "known_id": e.report_id,
                    "newest_id": manifest or live.get(e.name),
                    "cause_id": manifest or e.report_id,
                    "rewrites": told[e.delivery_scope] > 1 if manifest else again,
                }
            )
    names = [(name, pa.string()) for name in ("known_id", "newest_id", "cause_id")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*names, ("rewrites", pa.bool_())]))
