"""How long a test waits for another process: no test asserts a time, and a busy machine is no error."""

PATIENCE = 400
"""Seconds; pytest's own limit for a test, which is longer, ends what hangs."""
