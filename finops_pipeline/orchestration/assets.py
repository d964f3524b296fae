"""The story of one source: reports, charges, owners, the cost lake.

`source_assets` makes the chain for one configured source. Each node opens what it needs, calls one
function of its stage, and reports what became of each day; how that looks in the UI is in
`reporting.py`, what the stages do is in the stages.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg

from finops_pipeline.config import Source
from finops_pipeline.contracts.tables import Table, tables
from finops_pipeline.ingest.compartments import read_compartments, store_compartments
from finops_pipeline.ingest.location import AccessRefused
from finops_pipeline.normalize.run import DayResult
from finops_pipeline.orchestration.partitions import RANGES, SOURCE, days_of
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.orchestration.reporting import Check, Day, Event, columns, money, report
from finops_pipeline.store.run import StoredDay

RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
OWNERS = ["team:finops"]


def source_assets(
    pipeline: Pipeline, source: Source, days: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """The chain of assets of one source."""
    return [
        _compartments(pipeline, source, days),
        _raw_reports(pipeline, source, days),
        _normalize(pipeline, source, days),
        _allocate_and_store(pipeline, source, days),
    ]


def key(source: Source, name: str) -> dg.AssetKey:
    """The asset key of a source's table."""
    return dg.AssetKey([source.slug, name])


def spec(
    asset_key: dg.AssetKey,
    table: Table,
    group: str,
    days: dg.PartitionsDefinition[str],
    deps: list[dg.AssetKey],
    kinds: set[str],
    lineage: dict[str, list[tuple[dg.AssetKey, str]]] | None = None,
) -> dg.AssetSpec:
    """An asset that is a table of the lake: described by the table's own contract."""
    return dg.AssetSpec(
        asset_key,
        deps=deps,
        description=table.description,
        group_name=group,
        kinds=kinds,
        owners=OWNERS,
        partitions_def=days,
        metadata=columns(table, lineage),
    )


def check(
    asset_key: dg.AssetKey,
    name: str,
    description: str,
    days: dg.PartitionsDefinition[str],
    blocking: bool = True,
) -> dg.AssetCheckSpec:
    """A check of an asset, for each of its days."""
    return dg.AssetCheckSpec(
        name, asset=asset_key, description=description, blocking=blocking, partitions_def=days
    )


def _compartments(
    pipeline: Pipeline, source: Source, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    asset_key = key(source, "compartments")

    @dg.multi_asset(
        name=f"{source.slug}__compartments",
        specs=[spec(asset_key, tables()["compartments"], "ingest", days, [], {"oracle"})],
        backfill_policy=RANGES,
        op_tags={SOURCE: source.name},
        retry_policy=RETRIES,
    )
    def compartments(context: dg.AssetExecutionContext) -> Iterator[Event]:
        try:
            found = read_compartments(source)
        except AccessRefused as refusal:
            # Paths are wanted, not needed: charges are kept and owned by their tags.
            context.log.warning(str(refusal))
            found = []
        if found:
            with pipeline.working_on(source.name):
                store_compartments(pipeline.home.table("compartments"), source.name, found)
        metadata = {"compartments": len(found)}
        yield from report(context, {asset_key: [Day(d, metadata) for d in days_of(context)]})

    return compartments


def _raw_reports(
    pipeline: Pipeline, source: Source, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    asset_key = key(source, "raw_reports")

    @dg.multi_asset(
        name=f"{source.slug}__raw_reports",
        specs=[spec(asset_key, tables()["reports"], "ingest", days, [], {"oracle", "csv"})],
        check_specs=[
            check(asset_key, "readable", "Every report can be read as its format.", days, False)
        ],
        backfill_policy=RANGES,
        op_tags={SOURCE: source.name},
        retry_policy=RETRIES,
    )
    def raw_reports(context: dg.AssetExecutionContext) -> Iterator[Event]:
        wanted = set(days_of(context))
        with pipeline.working_on(source.name), pipeline.engine() as engine:
            ingest = pipeline.ingest(source, engine)
            new = [r for r in ingest.new_reports() if r.delivered_at.date() in wanted]
            ingested = ingest.run(new)
            ledger = ingest.ledger
        found = [_delivery(day, ledger.delivered_on(day)) for day in sorted(wanted)]
        if ingested.failed:
            raise dg.Failure("\n".join(ingested.failed), allow_retries=True)
        yield from report(context, {asset_key: found})

    return raw_reports


def _delivery(day: date, entries: list[Any]) -> Day:
    unreadable = [e for e in entries if e.status == "unreadable"]
    cost: dict[str, Decimal] = {}
    for entry in entries:
        for total in entry.totals:
            cost[total.currency] = cost.get(total.currency, Decimal(0)) + total.cost
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": sum(e.rows for e in entries),
        "reports": len(entries),
        "bytes": sum(e.size for e in entries),
        "unreadable reports": len(unreadable),
        **money("control total", cost),
    }
    readable = Check(
        "readable",
        not unreadable,
        {e.name: e.problem for e in unreadable[:5]},
        blocking=False,
        description="; ".join(f"{e.name}: {e.problem}" for e in unreadable[:5]),
    )
    return Day(day, metadata, [readable])


def _normalize(
    pipeline: Pipeline, source: Source, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    costs, rejected = key(source, "focus_costs"), key(source, "rejected_rows")
    upstream = [key(source, "raw_reports"), key(source, "compartments")]

    @dg.multi_asset(
        name=f"{source.slug}__normalize",
        specs=[
            spec(
                costs, tables()["focus_costs"], "normalize", days, upstream, {"deltalake", "duckdb"}
            ),
            spec(rejected, tables()["rejected_rows"], "normalize", days, upstream, {"deltalake"}),
        ],
        check_specs=[
            check(costs, "contract", "Every charge keeps the FOCUS contract.", days),
            check(
                costs, "conservation", "Delivered = stored + superseded + rejected, exactly.", days
            ),
            check(
                costs, "exchange_rates", "Every charge has an exchange rate.", days, blocking=False
            ),
            check(rejected, "none_rejected", "No row was rejected.", days, blocking=False),
        ],
        backfill_policy=RANGES,
        op_tags={SOURCE: source.name},
        retry_policy=RETRIES,
    )
    def normalize(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with pipeline.working_on(source.name), pipeline.engine() as engine:
            results = pipeline.normalize(source, engine).run(days_of(context))
        yield from report(
            context,
            {costs: [_charges(r) for r in results], rejected: [_rejections(r) for r in results]},
        )

    return normalize


def _charges(result: DayResult) -> Day:
    books = result.books
    metadata: dict[str, Any] = {"dagster/partition_row_count": result.rows}
    for side in ("delivered", "stored", "superseded", "rejected"):
        metadata[f"{side} rows"] = sum(b[f"{side}_rows"] for b in books)
        metadata |= money(f"{side} cost", {b["currency"]: b[f"{side}_cost"] for b in books})
    metadata["corrections"] = sum(b["corrections"] for b in books)
    metadata["corrections without original"] = sum(b["unmatched_corrections"] for b in books)
    unrated = {b["currency"]: b["charges_without_rate"] for b in books if b["charges_without_rate"]}
    balanced = all(b["balanced"] for b in books)
    checks = [
        Check(
            "contract",
            not result.violations,
            {f"{v.column} {v.check}": ", ".join(v.examples) for v in result.violations},
            description="; ".join(map(str, result.violations)),
        ),
        Check("conservation", balanced, description="; ".join(result.problems)),
        Check(
            "exchange_rates",
            not unrated,
            unrated,
            blocking=False,
            description="; ".join(
                f"{n} charges in {c} have no rate: add one to the rates file (`rates:` in "
                "finops.yaml) or update the currencyconverter package"
                for c, n in unrated.items()
            ),
        ),
    ]
    return Day(result.day, metadata, checks, result.problems)


def _rejections(result: DayResult) -> Day:
    cost = {b["currency"]: b["rejected_cost"] for b in result.books if b["rejected_rows"]}
    none = Check(
        "none_rejected",
        result.rejected == 0,
        {"rejected rows": result.rejected},
        blocking=False,
        description="see the table rejected_rows" if result.rejected else "",
    )
    metadata = {"dagster/partition_row_count": result.rejected, **money("rejected cost", cost)}
    return Day(result.day, metadata, [none])


def _allocate_and_store(
    pipeline: Pipeline, source: Source, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    costs = key(source, "focus_costs")
    ownership, shares, stored = (
        key(source, name) for name in ("ownership", "shares", "allocated_costs")
    )
    same_column = {c.name for c in tables()["focus_costs"].columns}
    lineage = {
        c.name: [(costs, c.name)]
        for c in tables()["allocated_costs"].columns
        if c.name in same_column
    }
    lineage["x_BusinessUnit"] = [(ownership, "owner"), (shares, "owner")]
    lineage["x_Share"] = [(shares, "share")]

    @dg.multi_asset(
        name=f"{source.slug}__allocate_and_store",
        specs=[
            spec(
                ownership, tables()["ownership"], "allocate", days, [costs], {"deltalake", "python"}
            ),
            spec(
                shares,
                tables()["shares"],
                "allocate",
                days,
                [costs, ownership],
                {"deltalake", "python"},
            ),
            spec(
                stored,
                tables()["allocated_costs"],
                "store",
                days,
                [costs, ownership, shares],
                {"deltalake", "duckdb"},
                lineage,
            ),
        ],
        check_specs=[
            check(stored, "contract", "Every figure keeps the contract.", days),
            check(stored, "conservation", "The parts sum to the charges, exactly.", days),
        ],
        backfill_policy=RANGES,
        op_tags={SOURCE: source.name},
        retry_policy=RETRIES,
    )
    def allocate_and_store(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with pipeline.working_on(source.name), pipeline.engine() as engine:
            results = pipeline.store(source, engine).run(days_of(context))
        rule_set = {"rule set": pipeline.rules.hash}
        yield from report(
            context,
            {
                ownership: [Day(r.day, rule_set) for r in results],
                shares: [Day(r.day, rule_set) for r in results],
                stored: [_stored(r, rule_set) for r in results],
            },
        )

    return allocate_and_store


def _stored(result: StoredDay, rule_set: dict[str, str]) -> Day:
    metadata = {
        "dagster/partition_row_count": result.rows,
        **money("effective cost", result.cost),
        **money("unallocated cost", result.unallocated),
        **rule_set,
    }
    contract = Check(
        "contract", not result.violations, description="; ".join(map(str, result.violations))
    )
    conserved = not (set(result.problems) - set(map(str, result.violations)))
    conservation = Check("conservation", conserved, description="; ".join(result.problems))
    return Day(result.day, metadata, [contract, conservation], result.problems)
