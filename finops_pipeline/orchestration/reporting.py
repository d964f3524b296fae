"""How results become visible in Dagster: per day, with figures, and only the bad days red.

Assets hand over what became of each day. A range run that broke on some days records the others
as materialized and fails for the broken ones alone. What was computed is elsewhere (the stages).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg

from finops_pipeline.config import ConfigError
from finops_pipeline.contracts.tables import Table
from finops_pipeline.ingest.totals import EXACT
from finops_pipeline.orchestration.pipeline import Pipeline

Event = dg.MaterializeResult[Any] | dg.AssetCheckResult


@contextmanager
def working_on(pipeline: Pipeline, name: str) -> Iterator[None]:
    """Hold a source for one run. Settings that are wrong fail it at once: no retry mends them."""
    try:
        with pipeline.working_on(name):
            yield
    except ConfigError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@dataclass(frozen=True)
class Check:
    """The outcome of one check on one day. A failed blocking check makes the day a broken one."""

    name: str
    passed: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    blocking: bool = True
    description: str = ""


@dataclass(frozen=True)
class Day:
    """What became of one day of one asset."""

    day: date
    metadata: Mapping[str, Any]
    checks: Sequence[Check] = ()
    problems: Sequence[str] = ()


def columns(
    table: Table, upstream: Mapping[str, Sequence[tuple[dg.AssetKey, str]]] | None = None
) -> dict[str, Any]:
    """Definition metadata of a table: its columns with their meaning, and where they come from."""
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    c.name,
                    c.type,
                    c.description,
                    constraints=dg.TableColumnConstraints(nullable=c.nullable),
                )
                for c in table.columns
            ]
        )
    }
    if upstream:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in deps]
                for column, deps in upstream.items()
            }
        )
    return metadata


def money(name: str, amounts: Mapping[str, Decimal], plot: bool = False) -> dict[str, Any]:
    """Amounts by currency as metadata: exact as text, and if wanted as a number for a plot."""
    found: dict[str, Any] = {}
    for currency, amount in sorted(amounts.items()):
        found[f"{name} {currency}"] = dg.MetadataValue.text(format(amount.normalize(EXACT), "f"))
        if plot:  # the UI plots only floats; no figure is ever computed from it
            found[f"{name} {currency} (plot)"] = dg.MetadataValue.float(float(amount))
    return found


def report(
    context: dg.AssetExecutionContext,
    days_by_asset: Mapping[dg.AssetKey, Sequence[Day]],
) -> Iterator[Event]:
    """Yield what a node owes Dagster for its days.

    Raises dagster.Failure naming the broken days, after the others were recorded.
    """
    broken = _broken(days_by_asset)
    for key, days in days_by_asset.items():
        # Dagster files the result of a run of one partition under it, of a range under none.
        if broken or not context.has_partition_key:
            for day in days:
                _record_checks(context, key, day)
    if broken:
        for key, days in days_by_asset.items():
            for day in days:
                if day.day not in broken:
                    context.log_event(
                        dg.AssetMaterialization(
                            key, partition=day.day.isoformat(), metadata=dict(day.metadata)
                        )
                    )
        raise dg.Failure(
            description="\n".join(p for problems in broken.values() for p in problems),
            metadata={"broken days": dg.MetadataValue.text(", ".join(map(str, broken)))},
            allow_retries=False,
        )
    for key, days in days_by_asset.items():
        for day in days:
            context.add_asset_metadata(
                dict(day.metadata), asset_key=key, partition_key=day.day.isoformat()
            )
        yield dg.MaterializeResult(asset_key=key, check_results=_outcomes(key, days))


def _broken(days_by_asset: Mapping[dg.AssetKey, Sequence[Day]]) -> dict[date, list[str]]:
    broken: dict[date, list[str]] = {}
    for days in days_by_asset.values():
        for day in days:
            problems = list(day.problems)
            problems += [
                f"{day.day}: check {c.name} failed: {c.description}"
                for c in day.checks
                if c.blocking and not c.passed and not day.problems
            ]
            if problems:
                broken.setdefault(day.day, []).extend(problems)
    return dict(sorted(broken.items()))


def _record_checks(context: dg.AssetExecutionContext, key: dg.AssetKey, day: Day) -> None:
    for check in day.checks:
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=check.name,
                passed=check.passed,
                metadata=_as_text(check),
                severity=_severity(check),
                description=check.description or None,
                blocking=check.blocking,
                partition=day.day.isoformat(),
            )
        )


def _severity(check: Check) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN


def _as_text(check: Check) -> dict[str, dg.MetadataValue]:
    return {k: dg.MetadataValue.text(str(v)) for k, v in check.metadata.items()}


def _outcomes(key: dg.AssetKey, days: Sequence[Day]) -> list[dg.AssetCheckResult]:
    """One result a check for the run: that of its only day, or a summary beside those of the days.

    Dagster asks for it in either case, and keeps that of a range for no day in particular.
    """
    by_name: dict[str, list[Check]] = {}
    for day in days:
        for check in day.checks:
            by_name.setdefault(check.name, []).append(check)
    return [_outcome(key, checks) for checks in by_name.values()]


def _outcome(key: dg.AssetKey, checks: Sequence[Check]) -> dg.AssetCheckResult:
    failed = [c for c in checks if not c.passed]
    telling = failed[0] if failed else checks[0]
    single = len(checks) == 1
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=telling.name,
        passed=not failed,
        severity=_severity(telling),
        metadata=_as_text(telling) if single else {"failed days": len(failed)},
        description=telling.description or (None if single else f"{len(checks)} days"),
    )
