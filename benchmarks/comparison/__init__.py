"""The parts of `benchmarks/compare.py`: tables, contestants, cells, report."""
