"""Measures: score, latency, operations, the machine, duplicates."""
