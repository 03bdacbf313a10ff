"""A table of operators and shapes, each measured against the peers that are installed: ``python -m benchmarks.ops``."""
