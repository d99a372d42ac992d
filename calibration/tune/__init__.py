"""Accuracy against time over steps and thresholds, on somebody's data."""
