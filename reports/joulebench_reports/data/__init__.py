"""For machines: JSON, JSON lines, CSV, Parquet, Perfetto."""
