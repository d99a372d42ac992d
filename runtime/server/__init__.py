"""Bundles behind HTTP: OpenAI's calls and a2d's own events, many requests at once. In the extra `serve`."""
