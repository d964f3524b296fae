"""What is known of clusters, as the lake has it, and what their cost is split by on a day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cache, lru_cache

from finops_pipeline.allocate.ownership import Decider
from finops_pipeline.allocate.shares import Clusters
from finops_pipeline.allocate.subject import Subject
from finops_pipeline.allocate.terms import UNALLOCATED
from finops_pipeline.allocate.workloads import Quantity, Usage, Weighed, Workload, weigh
from finops_pipeline.lake.delta import LakeFile
from finops_pipeline.lake.home import Home

_KEPT = 8  # days of a cluster in memory: pools are split day by day


class ClusterUsage:
    """The usage that the lake had when this was made: the same for all of a run."""

    def __init__(self, home: Home) -> None:
        self._table = home.table("cluster_usage")
        self._files: dict[tuple[str, str], LakeFile] | None = None
        self._read = lru_cache(_KEPT)(self._usage)

    def fingerprint(self, clusters: Iterable[str], day: date) -> list[tuple[str, str]]:
        """What is known of those clusters on a day, by name; nothing of those that nobody knows."""
        known = self._known()
        text = day.isoformat()
        named = ((name, known.get((name, text))) for name in sorted(clusters))
        return [(name, file.fingerprint) for name, file in named if file is not None]

    def weighing(self, decider: Decider, day: date) -> Clusters:
        """The parts of a cluster by its usage of a day; none where there is none."""
        of_day = decider.calendar.on(day)

        def owner_of(subject: Subject) -> tuple[str, str]:
            decision = decider.decide(subject, day, workload=True)
            return decision.owner or UNALLOCATED, f"{decision.rule}: {decision.evidence}"

        @cache  # a cluster is asked for once for each part that it keeps to
        def weighed(cluster: str) -> Weighed:
            file = self._known().get((cluster, day.isoformat()))
            if file is None:
                return Weighed()
            return weigh(of_day.clusters[cluster], self._read(file), of_day.owners, owner_of)

        return weighed

    def _known(self) -> dict[tuple[str, str], LakeFile]:
        if self._files is None:
            self._files = {(f.partition[0], f.partition[1]): f for f in self._table.files()}
        return self._files

    def _usage(self, file: LakeFile) -> Usage:
        rows = self._table.read(file).to_pylist()
        workloads = tuple(
            Workload(
                row["namespace"],
                row["workload"],
                row["labels"],
                Quantity(row["cpu_request"], row["cpu_usage"], row["cpu_greater"]),
                Quantity(row["memory_request"], row["memory_usage"], row["memory_greater"]),
            )
            for row in rows
        )
        first = rows[0] if rows else {"cpu_capacity": None, "memory_capacity": None}
        return Usage(workloads, first["cpu_capacity"], first["memory_capacity"])
