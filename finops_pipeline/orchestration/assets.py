"""The story of one source: reports, charges, owners, the cost lake.

`source_assets` makes the chain for one configured source. Each node opens what it needs, calls one
function of its stage, and reports what became of each day. Which figures that are is in
`figures.py`, how they are recorded in `reporting.py`, what the stages do in the stages.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import dagster as dg

from finops_pipeline.config import Cluster, Source
from finops_pipeline.contracts.formats import formats
from finops_pipeline.contracts.tables import Table, tables
from finops_pipeline.ingest.ledger import LedgerEntry
from finops_pipeline.ingest.location import AccessRefused, RemoteReport, priced_requests
from finops_pipeline.ingest.scopes import read_scopes, store_scopes
from finops_pipeline.orchestration import figures
from finops_pipeline.orchestration.findings import findings, tell
from finops_pipeline.orchestration.partitions import RANGES, SOURCE, days_of
from finops_pipeline.orchestration.pipeline import Pipeline
from finops_pipeline.orchestration.reporting import Day, Event, columns, report, working_on

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


def usage_key(cluster: Cluster) -> dg.AssetKey:
    """The asset key of a cluster's usage."""
    return dg.AssetKey(["cluster_usage", cluster.name.replace("-", "_")])


def _kind(source: Source) -> str:
    """The provider as Dagster's UI has a picture of it."""
    provider = formats()[source.format].provider
    return {"oci": "oracle", "gcp": "googlecloud"}.get(provider, provider)


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
        specs=[spec(asset_key, tables()["compartments"], "ingest", days, [], {_kind(source)})],
        backfill_policy=RANGES,
        op_tags={SOURCE: source.name},
        pool=source.slug,
        retry_policy=RETRIES,
    )
    def compartments(context: dg.AssetExecutionContext) -> Iterator[Event]:
        try:
            found = read_scopes(source)
        except AccessRefused as refusal:
            # Paths are wanted, not needed: charges are kept and owned by their tags.
            context.log.warning(str(refusal))
            found = []
        if found:
            with working_on(pipeline, source.name):
                store_scopes(pipeline.home.table("compartments"), source.name, found)
        metadata = {"compartments": len(found)}
        yield from report(context, {asset_key: [Day(d, metadata) for d in days_of(context)]})

    return compartments


def _raw_reports(
    pipeline: Pipeline, source: Source, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    asset_key = key(source, "raw_reports")

    def delivery_day(remote: RemoteReport) -> date:
        return pipeline.partition_of(remote.delivered_at.date())

    @dg.multi_asset(
        name=f"{source.slug}__raw_reports",
        specs=[spec(asset_key, tables()["reports"], "ingest", days, [], {_kind(source)})],
        check_specs=[
            check(asset_key, "readable", "Every report can be read as its format.", days, False)
        ],
        backfill_policy=RANGES,
        op_tags={SOURCE: source.name},
        pool=formats()[source.format].provider,  # its service is asked by so many at a time
        retry_policy=RETRIES,
    )
    def raw_reports(context: dg.AssetExecutionContext) -> Iterator[Event]:
        days_wanted = days_of(context)
        with working_on(pipeline, source.name), pipeline.engine() as engine:
            ingest = pipeline.ingest(source, engine)
            new = [r for r in ingest.new_reports() if delivery_day(r) in days_wanted]
            before = findings(pipeline, source)
            ingested = ingest.run(new)
            found_now = findings(pipeline, source)
            tell(pipeline, found_now)
        for said in (s for s in found_now if s not in before):
            context.log.warning(said)
        if ingested.failed and context.retry_number < RETRIES.max_retries:
            raise dg.Failure("\n".join(ingested.failed))
        known: dict[date, list[LedgerEntry]] = defaultdict(list)
        for entry in ingest.ledger.entries:
            known[pipeline.partition_of(entry.delivery_day)].append(entry)
        archived = {e.name for e in ingested.archived}
        failed: dict[date, list[str]] = defaultdict(list)
        left = (r for r in new if r.name not in archived)
        for remote, problem in zip(left, ingested.failed, strict=True):
            failed[delivery_day(remote)].append(problem)
        found = [figures.delivery(day, known[day], failed[day]) for day in days_wanted]
        if priced := priced_requests(ingest.location):
            told = {**found[-1].metadata, "priced requests": priced}
            found[-1] = dataclasses.replace(found[-1], metadata=told)
        yield from report(context, {asset_key: found})

    return raw_reports


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
        pool=source.slug,
        retry_policy=RETRIES,
    )
    def normalize(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with working_on(pipeline, source.name), pipeline.engine() as engine:
            normalizing = pipeline.normalize(source, engine)
            results = normalizing.run(pipeline.days_in(days_of(context), normalizing.days()))
        found = figures.by_partition(results, pipeline.partition_of)
        yield from report(
            context,
            {
                costs: [figures.charges(r) for r in found],
                rejected: [figures.rejections(r) for r in found],
            },
        )

    return normalize


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
                [costs, ownership, *map(usage_key, pipeline.settings.clusters)],
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
        pool=source.slug,
        retry_policy=RETRIES,
    )
    def allocate_and_store(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with working_on(pipeline, source.name), pipeline.engine() as engine:
            store = pipeline.store(source, engine)
            found = store.run(pipeline.days_in(days_of(context), store.stale_days()))
        results = [r for r in found if r.day == pipeline.partition_of(r.day)]
        rule_set = pipeline.rules.hash
        yield from report(
            context,
            {
                ownership: [Day(r.day, {"rule set": rule_set}) for r in results],
                shares: [Day(r.day, {"rule set": rule_set}) for r in results],
                stored: [figures.stored(r, rule_set) for r in results],
            },
        )

    return allocate_and_store
