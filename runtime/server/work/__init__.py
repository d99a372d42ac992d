"""Answers and films at work: turns on one thread, uploads, counts. Knows nothing of HTTP."""
