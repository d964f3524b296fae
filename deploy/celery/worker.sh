#!/bin/sh
# A worker that takes runs, one at a time; more at a time: worker.sh --concurrency 2
# Needs DAGSTER_HOME, FINOPS_CONFIG and the environment of docs/scale.md.
#
# --max-tasks-per-child 1: each run in a process of its own, which reads finops.yaml and the rules as
#   they are now and gives its memory back.
# --disable-prefetch: a run that no process is free for stays in Redis, where another worker finds it.
exec celery -A dagster_celery.app worker --queues dagster --hostname "finops-$$@%h" \
  --concurrency 1 --max-tasks-per-child 1 --disable-prefetch --loglevel INFO "$@"
