"""The assets of Kubernetes clusters: what their workloads requested and used, by day."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from finops_pipeline.config import Cluster
from finops_pipeline.contracts.tables import tables
from finops_pipeline.ingest.usage import known_days
from finops_pipeline.orchestration.assets import RETRIES, check, spec, usage_key
from finops_pipeline.orchestration.partitions import RANGES, days_of
from finops_pipeline.orchestration.pipeline import Pipeline, usage_lock
from finops_pipeline.orchestration.reporting import Check, Day, Event, report, working_on


def cluster_assets(
    pipeline: Pipeline, days: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """The usage of each configured cluster.

    A failing one blocks no source: a day without usage is split otherwise until it is known, and
    each run asks for those that are missing.
    """
    return [_usage(pipeline, cluster, days) for cluster in pipeline.settings.clusters]


def _usage(
    pipeline: Pipeline, cluster: Cluster, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    asset_key = usage_key(cluster)

    @dg.multi_asset(
        name=f"cluster__{asset_key.path[-1]}",
        specs=[spec(asset_key, tables()["cluster_usage"], "ingest", days, [], {"kubernetes"})],
        check_specs=[check(asset_key, "known", "What ran on the cluster is known.", days, False)],
        backfill_policy=RANGES,
        retry_policy=RETRIES,
    )
    def cluster_usage(context: dg.AssetExecutionContext) -> Iterator[Event]:
        today = datetime.now(UTC).date()
        usage = pipeline.usage(cluster)
        with working_on(pipeline, usage_lock(cluster)):
            due = usage.due(today, pipeline.settings.first_day)
            loaded = usage.load(sorted({*due, *(d for d in days_of(context) if d < today)}))
            known = known_days(pipeline.home, cluster.name)
        for problem in loaded.problems:
            context.log.warning(problem)
        if loaded.problems and context.retry_number < RETRIES.max_retries:
            raise dg.Failure("\n".join(loaded.problems))
        found = [
            Day(day, {"new": day in loaded.days}, [Check("known", day in known, blocking=False)])
            for day in days_of(context)
        ]
        yield from report(context, {asset_key: found})

    return cluster_usage
