"""The lake: Delta tables whose Parquet files the engine writes, and the raw archive."""
