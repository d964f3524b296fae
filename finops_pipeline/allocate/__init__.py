"""Who pays: the rules of a company, the decision for each charge, the exact shares of a pool.

`rules.py` reads `rules.yaml`, `ownership.py` decides whose a charge is, `shares.py` splits what is
shared. Nothing here knows tables, DuckDB or Dagster; money itself is split where the charges are,
with the shares computed here. `docs/allocation.md` is the guide.
"""
