"""A made company with bills in its providers' own file layouts, as small or as large as wanted.

`finops demo`, tests and benchmarks use it. It has its own model of what a bill is and imports
nothing of the pipeline: what it says is true can check the pipeline.
"""

from finops_pipeline.demo.company import Company, make_company
from finops_pipeline.demo.tenancy import make_tenancy
from finops_pipeline.demo.truth import (
    Anomaly,
    DayTruth,
    FileTruth,
    OwnerTruth,
    Truth,
    read_truth,
)

__all__ = [
    "Anomaly",
    "Company",
    "DayTruth",
    "FileTruth",
    "OwnerTruth",
    "Truth",
    "make_company",
    "make_tenancy",
    "read_truth",
]
