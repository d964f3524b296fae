"""Acme's bills from AWS, Azure and Google Cloud, each in its provider's own file layout.

What is bought and by whom stands in tables in `data/clouds/`; `usage.py` makes charges from them,
one module a provider delivers them as that provider does, `account.py` keeps the truth.
"""

from finops_pipeline.demo.clouds.tenancy import BUCKET, make_cloud

__all__ = ["BUCKET", "make_cloud"]
