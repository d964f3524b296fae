"""What the figures set in motion: monthly budgets, and the events that tell of them, once.

`budgets.py` computes, `schema.py` says how a status is stored, `events.py` puts a crossing into
words, `outbox.py` remembers what was said to whom, `sinks.py` says it.
Nothing here knows Dagster or reads the lake: the caller brings the spend and stores the status.
"""
