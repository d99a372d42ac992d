"""Answers of a given shape: templates, choices and JSON schemas, held to exactly. Knows tokens, no engines."""
