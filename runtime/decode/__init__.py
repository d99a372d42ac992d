"""The decode loop and its parts: rows, blocks, cache, rules. Knows tokens and confidences; no text, no files."""
