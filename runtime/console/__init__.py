"""Progress and one-line texts for a terminal. Knows nothing of the work that is shown."""
