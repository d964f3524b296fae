"""One cloud's bill of any size in its provider's own layout, and the truth about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from finops_pipeline.demo.chance import generator
from finops_pipeline.demo.clouds.account import CloudAccount
from finops_pipeline.demo.clouds.aws import AwsTree
from finops_pipeline.demo.clouds.azure import AzureTree
from finops_pipeline.demo.clouds.gcp import GcpTree
from finops_pipeline.demo.clouds.goods import Provider, cloud
from finops_pipeline.demo.clouds.lines import LineMaker
from finops_pipeline.demo.clouds.usage import CloudUsage, months
from finops_pipeline.demo.truth import FileTruth, Truth

Progress = Callable[[int, int], None]
BUCKET = "bucket"
_TREES: dict[Provider, type[AwsTree] | type[AzureTree] | type[GcpTree]] = {
    "aws": AwsTree, "azure": AzureTree, "gcp": GcpTree,
}  # fmt: skip


def make_cloud(
    out: Path,
    provider: Provider,
    *,
    days: int,
    rows: int,
    seed: int = 7,
    first_day: date = date(2026, 8, 1),
    progress: Progress | None = None,
    split_rows: int = 500_000,
) -> Truth:
    """Make a bill's bucket below `out`; the same arguments make the same bytes.

    `rows` is about how many rows stand in the end, and at least some ten a day: one of everything.
    Snapshots and repeated rows come on top. Beside the bucket stands `truth.json`.
    Raises FileExistsError where `out` already holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: a bill is made in a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    goods = cloud(provider)
    lines = LineMaker(goods, days, seed).lines(rows)
    usage = CloudUsage(lines, goods, first_day, seed)
    account = CloudAccount(lines, first_day, goods.currency)
    rng = generator(seed, goods.display_name, "deliveries")
    tree = _TREES[provider](out / BUCKET, goods, usage, account, rng, split_rows)
    files: list[FileTruth] = []
    for made in tree.deliver(months(first_day, days)):
        files += made
        if progress is not None:
            progress(account.rows, max(rows, account.rows))
    truth = Truth(
        tenancy=goods.display_name,
        seed=seed,
        corrections="add",
        first_day=first_day,
        last_day=first_day + timedelta(days=days - 1),
        rows=account.rows,
        days=tuple(account.days()),
        owners=tuple(account.owners()),
        anomalies=(),
        files=tuple(files),
    )
    truth.write(out / "truth.json")
    return truth
