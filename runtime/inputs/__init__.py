"""Words and pictures to the rows of a prompt. Knows nothing of how they are decoded."""
