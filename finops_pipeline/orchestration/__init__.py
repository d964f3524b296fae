"""All that knows Dagster: assets, partitions, checks, automation, resources."""
