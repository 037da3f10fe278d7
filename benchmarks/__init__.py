"""Measurements: ratios between targets in one interleaved run. Nothing imports this."""
