"""Calibration of bundles that film: samples filmed by the real loop, and what their statistics make of the graphs."""
