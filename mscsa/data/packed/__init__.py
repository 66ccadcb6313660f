"""Images with one class each that are packed into few large files: tar shards, Parquet, Arrow."""
